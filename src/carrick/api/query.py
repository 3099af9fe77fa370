"""Query strings with brackets: `tags[a]=b`, `include[]=x`, repeated keys.

Both official clients write them this way and no Python framework reads them natively.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

from carrick.errors import InvalidQuery

_MAX_FIELDS = 1000
_MAX_DEPTH = 5
_KEY = re.compile(r"([^\[\]]*)((?:\[[^\[\]]*\])*)")
_PART = re.compile(r"\[([^\[\]]*)\]")


def parse_query(raw: bytes) -> dict[str, Any]:
    """Return a query string as nested data: texts, lists for repeated keys, maps for brackets.

    Raises:
        InvalidQuery: It has more than 1000 fields.
    """
    try:
        fields = parse_qsl(
            raw.decode("latin-1"), keep_blank_values=True, max_num_fields=_MAX_FIELDS
        )
    except ValueError as error:
        raise InvalidQuery(f"A query string may have {_MAX_FIELDS} fields at most.") from error
    found: dict[str, Any] = {}
    for key, value in fields:
        _put(found, _path(key), value)
    return found


def _path(key: str) -> list[str]:
    """Split `a[b][c]` at its brackets; a key that is not written like that is taken as it is."""
    match = _KEY.fullmatch(key)
    if match is None or not match[1]:
        return [key]
    parts = _PART.findall(match[2])
    return [match[1], *parts] if len(parts) <= _MAX_DEPTH else [key]


def _put(into: dict[str, Any], path: list[str], value: str) -> None:
    name, rest = path[0], path[1:]
    if not rest or rest == [""]:
        into[name] = _together(into.get(name), value, as_list=bool(rest))
        return
    inner = into.get(name)
    if not isinstance(inner, dict):
        inner = {} if inner is None else {"": inner}
        into[name] = inner
    _put(inner, rest, value)


def _together(earlier: Any, value: str, *, as_list: bool) -> Any:
    if earlier is None:
        return [value] if as_list else value
    if isinstance(earlier, dict):
        return {**earlier, "": value}
    return [*earlier, value] if isinstance(earlier, list) else [earlier, value]


def texts(value: Any) -> dict[str, str]:
    """Return the entries of a bracketed map that are plain text; lists and maps are dropped."""
    if not isinstance(value, dict):
        return {}
    return {name: text for name, text in value.items() if isinstance(text, str)}
