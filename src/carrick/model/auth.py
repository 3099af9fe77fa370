"""Auth modes and the credentials they yield."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any


class AuthMode(StrEnum):
    """How a provider authenticates; the value is the wire name."""

    OAUTH2 = "OAUTH2"
    OAUTH2_CC = "OAUTH2_CC"
    OAUTH1 = "OAUTH1"
    API_KEY = "API_KEY"
    BASIC = "BASIC"
    NONE = "NONE"
    APP = "APP"
    CUSTOM = "CUSTOM"
    TBA = "TBA"
    JWT = "JWT"
    BILL = "BILL"
    TWO_STEP = "TWO_STEP"
    SIGNATURE = "SIGNATURE"
    AWS_SIGV4 = "AWS_SIGV4"
    INSTALL_PLUGIN = "INSTALL_PLUGIN"
    MCP_OAUTH2 = "MCP_OAUTH2"
    MCP_OAUTH2_GENERIC = "MCP_OAUTH2_GENERIC"


@dataclass(frozen=True)
class Credentials:
    """The secret part of a connection, typed by auth mode.

    `values` has the wire's field names (`access_token`, `apiKey`, `username`, `raw`, ...) and
    never appears in a repr. `expires_at` says when what is sent to the provider stops working.
    """

    auth_mode: AuthMode
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    expires_at: datetime | None = None

    def secrets(self) -> Iterator[str]:
        """Yield every string in the credentials that must not be written down anywhere."""
        return _strings(self.values)

    def with_values(self, **changes: Any) -> Credentials:
        """Return a copy with some fields changed."""
        return replace(self, values={**self.values, **changes})


#: Names in credentials that are not secret; scrubbing them would make logs unreadable.
_PUBLIC_NAMES = frozenset(
    {
        "type",
        "token_type",
        "scope",
        "expires_at",
        "expires_in",
        "username",
        "client_id",
        "region",
        "app_id",
        "installation_id",
        "key_id",
        "service",
        "role_arn",
        "organization_id",
    }
)
#: Shorter lines of a key say nothing about it.
_SHORTEST_LINE = 16


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if len(value) >= 6:
            yield value
        if "\n" in value:  # a key in PEM; what is printed is looked at line by line
            yield from (
                line
                for line in map(str.strip, value.splitlines())
                if len(line) >= _SHORTEST_LINE and not line.startswith("-----")
            )
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if name not in _PUBLIC_NAMES:
                yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)
