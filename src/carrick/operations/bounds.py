"""How much one message may hold, and which characters every database takes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

LONGEST_MESSAGE = 10_000
MOST_FIELD_BYTES = 64 * 1024
_PREVIEW = 2_000


def bounded_text(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """Return a text the store takes: not too long, without NUL and halves of characters."""
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text.encode("utf-8", "replace").decode("utf-8")


class Bounded(NamedTuple):
    """Fields the store takes, and how many bytes they are as JSON."""

    fields: dict[str, Any]
    size: int


def bounded_fields(fields: Mapping[str, Any]) -> Bounded:
    """Return fields the store takes; those that are too large are replaced by their beginning."""
    clean: dict[str, Any] = _clean(fields)
    text = json.dumps(clean, ensure_ascii=False)
    size = len(text.encode())
    if size <= MOST_FIELD_BYTES:
        return Bounded(clean, size)
    beginning = {"truncated": True, "size_bytes": size, "beginning": text[:_PREVIEW]}
    return Bounded(beginning, _PREVIEW)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return bounded_text(value, MOST_FIELD_BYTES)
    if isinstance(value, Mapping):
        return {bounded_text(str(name)): _clean(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
