"""How an environment's name appears in settings, and what a key looks like."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

_UUID4 = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)
ENVIRONMENT_NAME = re.compile(r"[a-z0-9_-]{1,255}")
#: What an API key may be allowed: one thing, or with `:*` everything below it.
SCOPE = r"^(environment|account):(\*|[a-z_]+(:[a-z_]+)*(:\*)?)$"


def is_uuid4(text: str) -> bool:
    """Whether a text is a UUID v4, the shape of API keys and public keys."""
    return _UUID4.fullmatch(text) is not None


def setting_for(values: Mapping[str, T], environment: str) -> T | None:
    """Return an environment's entry in settings collected by environment name.

    A variable's name has no hyphens: `CARRICK_SECRET_KEY_MY_SHOP` is for `my-shop` as well.
    """
    if environment in values:
        return values[environment]
    return values.get(environment.replace("-", "_"))


def of_no_environment(values: Mapping[str, T], environments: Iterable[str]) -> list[str]:
    """Return the names in settings that no environment answers to, misspelt ones perhaps."""
    taken = {spelt for name in environments for spelt in (name, name.replace("-", "_"))}
    return sorted(values.keys() - taken)
