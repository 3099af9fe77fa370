"""Faults of an input in the wire's words: zod's codes and sentences, paths of strings.

The official clients look at `errors` only to show it, but people and tests read it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from carrick.model.auth import AuthMode

Issue = dict[str, Any]

_EXPECTED = {
    "string_type": "string",
    "string_sub_type": "string",
    "int_type": "number",
    "int_parsing": "number",
    "int_from_float": "int",
    "float_type": "number",
    "float_parsing": "number",
    "bool_type": "boolean",
    "bool_parsing": "boolean",
    "dict_type": "record",
    "dict_attributes_type": "object",
    "model_type": "object",
    "model_attributes_type": "object",
    "typed_dict_type": "object",
    "list_type": "array",
    "tuple_type": "array",
    "none_required": "undefined",
}
_LIMITS = {
    "string_too_short": ("too_small", "min_length", "string to have >={} characters"),
    "string_too_long": ("too_big", "max_length", "string to have <={} characters"),
    "too_short": ("too_small", "min_length", "array to have >={} items"),
    "too_long": ("too_big", "max_length", "array to have <={} items"),
    "greater_than_equal": ("too_small", "ge", "number to be >={}"),
    "less_than_equal": ("too_big", "le", "number to be <={}"),
}
_AUTH_MODES = frozenset(AuthMode)
_JSON_NAMES = {"integer": "number", "object": "object", "array": "array"}


def issues_of(
    errors: Iterable[Mapping[str, Any]], model: Any = None, *, skip: int = 0
) -> list[Issue]:
    """Translate pydantic's errors.

    Args:
        errors: What `ValidationError.errors()` gives.
        model: The type that was asked for; it names what is expected where a key is missing.
        skip: How many leading elements of each location to drop (FastAPI's `body`).
    """
    found: list[Issue] = []
    unknown: dict[tuple[str, ...], list[str]] = {}
    for error in errors:
        path = _path(error["loc"][skip:])
        if error["type"] == "extra_forbidden":
            unknown.setdefault(path[:-1], []).append(path[-1])
        else:
            found.append(_issue(error, path, model))
    for parent, names in unknown.items():
        listed = ", ".join(f'"{name}"' for name in names)
        key = "key" if len(names) == 1 else "keys"
        found.append(_made("unrecognized_keys", f"Unrecognized {key}: {listed}", parent))
    return found


def issue(message: str, path: Sequence[str | int], code: str = "custom") -> Issue:
    """Return one fault found by a rule of our own."""
    return _made(code, message, _path(path))


def summary(issues: Sequence[Mapping[str, Any]]) -> str | None:
    """Return one sentence that names the first faults, or `None` when there are none."""
    lines = []
    for each in issues[:3]:
        where = ".".join(str(part) for part in each.get("path", ()))
        lines.append(f"{where}: {each['message']}" if where else str(each["message"]))
    if len(issues) > 3:
        lines.append(f"and {len(issues) - 3} more")
    return "; ".join(lines) or None


def _made(code: str, message: str, path: Sequence[str]) -> Issue:
    return {"code": code, "message": message, "path": list(path)}


def _path(location: Sequence[Any]) -> tuple[str, ...]:
    # Pydantic marks keys and the chosen member of a union in the location; callers wrote neither.
    return tuple(
        str(part)
        for before, part in zip((None, *location), location, strict=False)
        if part != "[key]" and not (before == "credentials" and part in _AUTH_MODES)
    )


def _issue(error: Mapping[str, Any], path: tuple[str, ...], model: Any) -> Issue:
    kind = str(error["type"])
    if kind == "missing":
        return _expected(_kind_at(model, path), "undefined", path)
    if error["loc"] and error["loc"][-1] == "[key]":
        return _made("invalid_key", "Invalid key in record", path)
    if kind in _EXPECTED:
        return _expected(_EXPECTED[kind], _name(error.get("input")), path)
    return _of_limit(kind, error, path) or _of_choice(kind, error, path)


def _expected(kind: str, received: str, path: tuple[str, ...]) -> Issue:
    return _made("invalid_type", f"Invalid input: expected {kind}, received {received}", path)


def _of_limit(kind: str, error: Mapping[str, Any], path: tuple[str, ...]) -> Issue | None:
    if kind not in _LIMITS:
        return None
    code, limit, sentence = _LIMITS[kind]
    word = "small" if code == "too_small" else "big"
    what = sentence.format(error["ctx"][limit])
    return _made(code, f"Too {word}: expected {what}", path)


def _of_choice(kind: str, error: Mapping[str, Any], path: tuple[str, ...]) -> Issue:
    if kind == "string_pattern_mismatch":
        pattern = error["ctx"]["pattern"]
        return _made("invalid_format", f"Invalid string: must match pattern /{pattern}/", path)
    if kind in ("literal_error", "enum"):
        choices = str(error["ctx"]["expected"]).replace(" or ", ", ").replace("'", '"')
        if ", " not in choices:
            return _made("invalid_value", f"Invalid input: expected {choices}", path)
        listed = choices.replace(", ", "|")
        return _made("invalid_value", f"Invalid option: expected one of {listed}", path)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _made("invalid_union", "Invalid input", path)
    message = str(error["msg"])
    return _made("custom", message.removeprefix("Value error, "), path)


def _name(value: Any) -> str:
    names: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "boolean"),
        ((int, float), "number"),
        ((str, bytes), "string"),
        (list, "array"),
        (Mapping, "object"),
    )
    if value is None:
        return "null"
    return next((name for kind, name in names if isinstance(value, kind)), "undefined")


def _kind_at(model: Any, path: tuple[str, ...]) -> str:
    """Return zod's name of the type that a model has at a path, `nonoptional` when unclear."""
    if model is None:
        return "nonoptional"
    root = _schema(model)
    here: Mapping[str, Any] = root
    for part in path:
        found = next(_below(root, here, part), None)
        if found is None:
            return "nonoptional"
        here = found
    kind = _resolved(root, here).get("type", "nonoptional")
    return _JSON_NAMES.get(kind, kind) if isinstance(kind, str) else "nonoptional"


def _below(root: Mapping[str, Any], here: Mapping[str, Any], part: str) -> Iterator[Any]:
    here = _resolved(root, here)
    for each in (here, *here.get("anyOf", ()), *here.get("oneOf", ())):
        inner = _resolved(root, each)
        if part in inner.get("properties", {}):
            yield inner["properties"][part]
        elif isinstance(inner.get("additionalProperties"), Mapping):
            yield inner["additionalProperties"]
        elif part.isdigit() and isinstance(inner.get("items"), Mapping):
            yield inner["items"]


def _resolved(root: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    found: Mapping[str, Any] = root["$defs"][reference.rsplit("/", 1)[-1]]
    return found


@lru_cache(maxsize=256)
def _schema(model: Any) -> Mapping[str, Any]:
    return TypeAdapter(model).json_schema()
