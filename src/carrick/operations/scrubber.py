"""Takes secrets out of what is written down.

Known secrets are found by their first characters, so a look costs the same whether ten are known
or ten thousand. Fields with a name that only secrets have are blanked whatever they hold.
"""

from __future__ import annotations

import base64
import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

SECRET = "[secret]"  # noqa: S105 - what is written in a secret's place
#: Shorter texts are not secrets but words; taking them out would make logs unreadable.
_SHORTEST = 6
#: Bytes of a secret that is looked for in base64.
_SHORTEST_ENCODED = 9
#: How much is remembered: the secrets used last, up to that many characters in all.
_MOST_CHARACTERS = 8 * 1024 * 1024
_DEEPEST = 32

_SECRET_NAMES = frozenset(
    {
        "access_token",
        "api_key",
        "apikey",
        "authorization",
        "client_secret",
        "cookie",
        "id_token",
        "password",
        "private_key",
        "proxy_authorization",
        "refresh_token",
        "secret",
        "secret_key",
        "set_cookie",
        "token",
        "x_api_key",
    }
)


class Scrubber:
    """Knows secrets and replaces them by `[secret]`."""

    def __init__(self) -> None:
        #: Every spelling of every secret, the one used last at the end.
        self._known: OrderedDict[str, None] = OrderedDict()
        self._by_start: dict[str, set[str]] = {}
        self._characters = 0

    def add(self, secrets: Iterable[str]) -> None:
        """Learn secrets. The ones that were not added again for longest are forgotten first."""
        for secret in secrets:
            if len(secret) < _SHORTEST:
                continue
            for spelling in _spellings(secret):
                if spelling in self._known:
                    self._known.move_to_end(spelling)
                else:
                    self._known[spelling] = None
                    self._by_start.setdefault(spelling[:_SHORTEST], set()).add(spelling)
                    self._characters += len(spelling)
        while self._characters > _MOST_CHARACTERS:
            self._forget_oldest()

    def scrub_text(self, text: str) -> str:
        """Return a text without the secrets that are in it."""
        if not self._by_start:
            return text
        parts: list[str] = []
        kept = at = 0
        last = len(text) - _SHORTEST
        while at <= last:
            candidates = self._by_start.get(text[at : at + _SHORTEST])
            found = _longest(text, at, candidates) if candidates else 0
            if found:
                parts += (text[kept:at], SECRET)
                at += found
                kept = at
            else:
                at += 1
        if not parts:
            return text
        parts.append(text[kept:])
        return "".join(parts)

    def scrub(self, value: Any) -> Any:
        """Return a JSON value without secrets, as a copy that nobody else holds."""
        return self._scrub(value, 0)

    def _scrub(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self.scrub_text(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if depth >= _DEEPEST:
            return "[too deep]"
        if isinstance(value, Mapping):
            return {
                self.scrub_text(str(name)): SECRET
                if isinstance(inner, str) and inner and _is_secret_name(str(name))
                else self._scrub(inner, depth + 1)
                for name, inner in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self._scrub(inner, depth + 1) for inner in value]
        return self.scrub_text(str(value))

    def _forget_oldest(self) -> None:
        spelling, _ = self._known.popitem(last=False)
        self._characters -= len(spelling)
        start = spelling[:_SHORTEST]
        rest = self._by_start[start]
        rest.discard(spelling)
        if not rest:
            del self._by_start[start]


def _is_secret_name(name: str) -> bool:
    return name.lower().replace("-", "_") in _SECRET_NAMES


def _spellings(secret: str) -> set[str]:
    """Return the forms in which a secret travels: plain, in a URL, in JSON, in a Basic header."""
    spellings = {secret, quote(secret, safe="", errors="replace"), json.dumps(secret)[1:-1]}
    encoded = secret.encode(errors="replace")
    if len(encoded) >= _SHORTEST_ENCODED:
        # Somewhere inside of what was encoded: `secret:`, `user:secret`.
        spellings.update(_inside_base64(encoded, before) for before in range(3))
    return spellings


def _inside_base64(encoded: bytes, before: int) -> str:
    """Return the characters that depend on the secret alone, with that many bytes before it."""
    whole = base64.b64encode(bytes(before) + encoded).decode()
    return whole[-(before * -8 // 6) : (before + len(encoded)) * 8 // 6]


def _longest(text: str, at: int, candidates: Iterable[str]) -> int:
    return max((len(one) for one in candidates if text.startswith(one, at)), default=0)
