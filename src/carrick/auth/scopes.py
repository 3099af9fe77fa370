"""What a token is good for, compared with what was asked for (RFC 6749 §3.3, §5.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from carrick.errors import ProviderAnswerInvalid

_SEPARATORS = re.compile(r"[,\s+]+")
#: They ask for a kind of token rather than for access, and many servers leave them out.
_NO_ACCESS = frozenset({"openid", "offline", "offline_access", "refresh_token"})
_SHOWN = 10


def demand_granted(asked: Sequence[str] | str, granted: Any) -> None:
    """Refuse a token that is for nothing of what was asked for.

    Users and servers may leave scopes out, and servers spell them in their own way
    (`https://api.example.com/auth/files.read` for `files.read`), so a token passes with any one
    of them. An answer without `scope` says that everything was granted.

    Raises:
        ProviderAnswerInvalid: None of the scopes was granted.
    """
    wanted = {scope for scope in _split(asked) if scope not in _NO_ACCESS}
    found = set(_split(granted)) if isinstance(granted, str | list) else set()
    if not wanted or not found:
        return
    if any(_covers(one, scope) for scope in wanted for one in found):
        return
    raise ProviderAnswerInvalid(
        f"The provider granted other scopes ({_listed(found)}) than were asked for "
        f"({_listed(wanted)})."
    )


def _split(scopes: Any) -> list[str]:
    parts = _SEPARATORS.split(scopes) if isinstance(scopes, str) else [str(one) for one in scopes]
    return [part.lower() for part in parts if part]


def _covers(granted: str, scope: str) -> bool:
    """Whether they are the same scope, one written longer, or the broader of a family."""
    if granted == scope:
        return True
    longer, shorter = sorted((granted, scope), key=len, reverse=True)
    rest = longer.removesuffix(shorter)
    if rest != longer:
        return rest[-1] in "/.:"
    return longer.startswith(shorter) and longer[len(shorter)] in "/.:_-!"


def _listed(scopes: Iterable[str]) -> str:
    names = sorted(scopes)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:100] for name in names[:_SHOWN]) + more
