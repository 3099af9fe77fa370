"""JSON as JavaScript would write it, keys sorted: a receiver that parses and serialises it again
gets the same text, and so the same signature.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

#: From here on, and below here, JavaScript writes a number with an exponent.
_EXPONENT_FROM = 1e21
_EXPONENT_BELOW = 1e-6


def stable_json(value: Any) -> str:
    """Return compact JSON with the keys of every object sorted."""
    if isinstance(value, Mapping):
        items = sorted(((str(key), inner) for key, inner in value.items()), key=_utf16)
        return "{" + ",".join(f"{_text(key)}:{stable_json(inner)}" for key, inner in items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(stable_json, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value)


def _text(value: str) -> str:
    # Half a surrogate pair is no text; it could not be sent.
    whole = value.encode("utf-8", "replace").decode("utf-8")
    return json.dumps(whole, ensure_ascii=False)


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError("there is no such number in JSON")
    if value.is_integer() and abs(value) < _EXPONENT_FROM:
        return str(int(value))
    # Both languages write the fewest digits that give the number back; only the form differs.
    if _EXPONENT_BELOW <= abs(value) < _EXPONENT_FROM:
        return format(Decimal(repr(value)), "f")
    digits, _, exponent = repr(value).partition("e")
    return f"{digits}e{int(exponent):+d}"


def _utf16(item: tuple[str, Any]) -> bytes:
    # JavaScript compares texts by UTF-16 unit, Python by code point.
    return item[0].encode("utf-16-be", "surrogatepass")
