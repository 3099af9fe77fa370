"""JSON as JavaScript would write it, keys sorted: a receiver that parses and serialises it again
gets the same text, and so the same signature.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

#: From here on JavaScript writes an integral number with an exponent.
_EXPONENT_FROM = 1e21


def stable_json(value: Any) -> str:
    """Return compact JSON with the keys of every object sorted."""
    return json.dumps(_sorted(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _sorted(value: Any) -> Any:
    if isinstance(value, str):
        # Half a surrogate pair is no text; it could not be sent.
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        items = sorted(((str(key), inner) for key, inner in value.items()), key=_utf16)
        return {_sorted(key): _sorted(inner) for key, inner in items}
    if isinstance(value, list | tuple):
        return [_sorted(inner) for inner in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXPONENT_FROM:
        return int(value)
    return value


def _utf16(item: tuple[str, Any]) -> bytes:
    # JavaScript compares texts by UTF-16 unit, Python by code point.
    return item[0].encode("utf-16-be", "surrogatepass")
