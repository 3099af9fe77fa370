"""Turning what authors hand over into plain JSON data, or saying where it cannot be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from carrick.sdk.errors import CarrickUsageError
from carrick.sdk.placeholder import Placeholder


def to_json(value: Any, what: str) -> str:
    """Return JSON text, the same for the same value.

    Raises:
        CarrickUsageError: The value holds something that JSON cannot say; `what` names it.
    """
    try:
        return json.dumps(
            value,
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":"),
            default=_spell,
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise CarrickUsageError(f"{what} cannot be written as JSON: {error}") from error


def to_plain(value: Any, what: str) -> Any:
    """Return a copy made of JSON's own types.

    Raises:
        CarrickUsageError: The value holds something that JSON cannot say.
    """
    return json.loads(to_json(value, what))


def to_loose(value: Any) -> Any:
    """Return a copy made of JSON's own types; what JSON cannot say becomes text."""
    try:
        return json.loads(json.dumps(value, ensure_ascii=False, default=_spell_anything))
    except (TypeError, ValueError, RecursionError):
        return _clip_repr(value)


def without_placeholders(value: Any) -> Any:
    """Return data with every placeholder of a dry run replaced by its text."""
    if isinstance(value, Placeholder):
        return str(value)
    if isinstance(value, Mapping):
        return {key: without_placeholders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_placeholders(item) for item in value]
    return value


def has_placeholder(value: Any) -> bool:
    """Return whether a placeholder hides in the data."""
    if isinstance(value, Mapping):
        return any(has_placeholder(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(has_placeholder(item) for item in value)
    return isinstance(value, Placeholder)


def _spell(value: Any) -> Any:
    if isinstance(value, Placeholder):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    dump = getattr(value, "model_dump", None)
    if dump is not None and not isinstance(value, type):
        return dump(mode="json", by_alias=True)
    raise TypeError(f"a {type(value).__name__} is not JSON; convert it first, e.g. with str(...)")


def _spell_anything(value: Any) -> Any:
    try:
        return _spell(value)
    except TypeError:
        return _clip_repr(value)


def _clip_repr(value: Any) -> str:
    try:
        return repr(value)[:1000]
    except Exception:  # an author's __repr__ may do anything; a log line must not fail for it
        return f"<{type(value).__name__}>"
