"""Fill `${...}` placeholders in a provider's templates.

One pass: what a value contains is never read as a template again. A placeholder that cannot be
filled stays as text, and `resolve` says which ones those were.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from carrick.providers import address
from carrick.providers.dates import format_moment, shift_moment
from carrick.providers.key_functions import ed25519_sign, fingerprint

_NOW = re.compile(r"now(?:([+-]\d+):([a-z]+))?(?::(.+))?", re.DOTALL)
_FUNCTION = re.compile(r"([A-Za-z][A-Za-z0-9]*)\((.*)\)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")


@dataclass(frozen=True)
class Placeholder:
    """One `${expression}` of a template."""

    expression: str

    @property
    def literal(self) -> str:
        """The placeholder as it was written."""
        return "${" + self.expression + "}"


Part = str | Placeholder


@dataclass(frozen=True)
class Resolved:
    """A filled template, and the expressions that no value was found for."""

    text: str
    missing: tuple[str, ...] = ()


class _Unresolved(Exception):
    """A placeholder has no value."""


def interpolate(template: str, values: Mapping[str, Any], *, encode: bool = False) -> str:
    """Fill a template; what cannot be filled stays as text.

    Args:
        template: Text with `${name}`, `${a.b}`, `${now:FORMAT}`, `${base64(...)}` and the like;
            `left || right` is `left` when all of it can be filled, else `right`.
        values: What names stand for; `now` (an aware datetime) and `random` are values too.
        encode: The template is a URL: what lands in its path or query is percent-encoded, what
            lands in its scheme, host or port is checked and inserted verbatim.

    Raises:
        InvalidConnectionConfig: With `encode`, a value does not fit its place in the URL.
    """
    return resolve(template, values, encode=encode).text


def resolve(template: str, values: Mapping[str, Any], *, encode: bool = False) -> Resolved:
    """Fill a template and tell what could not be filled; see `interpolate`."""
    *preferred, last = alternatives(template)
    for alternative in preferred:
        found = _fill(alternative, values, encode)
        if found.text and not found.missing:
            return found
    return _fill(last, values, encode)


@lru_cache(maxsize=4096)
def parse(template: str) -> tuple[Part, ...]:
    """Split a template into text and placeholders; an unfinished placeholder is text."""
    parts: list[Part] = []
    start = 0
    while (opening := template.find("${", start)) >= 0:
        closing = _closing(template, opening + 2)
        if closing < 0:
            break
        if opening > start:
            parts.append(template[start:opening])
        parts.append(Placeholder(template[opening + 2 : closing]))
        start = closing + 1
    if start < len(template):
        parts.append(template[start:])
    return tuple(parts)


@lru_cache(maxsize=4096)
def alternatives(template: str) -> tuple[str, ...]:
    """Split `left || right` outside placeholders; a template without any is returned whole."""
    parts = parse(template)
    if "||" not in template or all(isinstance(part, str) for part in parts):
        return (template,)
    found = [""]
    for part in parts:
        if isinstance(part, Placeholder):
            found[-1] += part.literal
            continue
        first, *others = part.split("||")
        found[-1] += first
        found.extend(others)
    return tuple(text.strip() for text in found)


@lru_cache(maxsize=4096)
def names(template: str) -> frozenset[str]:
    """Return the dotted names a template reads, those inside function arguments included."""
    found: set[str] = set()
    for part in parse(template):
        if isinstance(part, str):
            continue
        function = _FUNCTION.fullmatch(part.expression)
        if function:
            found |= names(function.group(2))
        elif _NAME.fullmatch(part.expression):
            found.add(part.expression)
    return frozenset(found)


def lookup(name: str, values: Mapping[str, Any]) -> Any:
    """Return the value at a dotted path, or `None`.

    A key may hold dots itself (`token_response_metadata` stores `a.b` under that whole name),
    so longer keys are tried before shorter ones.
    """
    if name in values:
        return values[name]
    pieces = name.split(".")
    for count in range(len(pieces) - 1, 0, -1):
        inner = values.get(".".join(pieces[:count]))
        if isinstance(inner, Mapping):
            found = lookup(".".join(pieces[count:]), inner)
            if found is not None:
                return found
    return None


def _closing(template: str, position: int) -> int:
    depth = 1
    for index in range(position, len(template)):
        if template[index] == "{":
            depth += 1
        elif template[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    return -1


def _fill(template: str, values: Mapping[str, Any], encode: bool) -> Resolved:
    parts = parse(template)
    places = address.places(parts_as_text(parts)) if encode else ()
    filled: list[str] = []
    missing: list[str] = []
    seen = 0
    for part in parts:
        if isinstance(part, str):
            filled.append(part)
            continue
        try:
            value = _evaluate(part.expression, values)
        except _Unresolved:
            missing.append(part.expression)
            filled.append(part.literal)
        else:
            filled.append(
                address.insert(value, places[seen], name=part.expression) if encode else value
            )
        seen += 1
    return Resolved("".join(filled), tuple(missing))


def parts_as_text(parts: tuple[Part, ...]) -> tuple[str | None, ...]:
    """Return a template's parts with `None` for every placeholder."""
    return tuple(part if isinstance(part, str) else None for part in parts)


def _evaluate(expression: str, values: Mapping[str, Any]) -> str:
    function = _FUNCTION.fullmatch(expression)
    if function:
        return _call(function.group(1), function.group(2), values)
    moment = values.get("now")
    is_time = _NOW.fullmatch(expression)
    if is_time and isinstance(moment, datetime):
        amount, unit, pattern = is_time.groups()
        moment = moment.astimezone(UTC)
        if amount:
            shifted = shift_moment(moment, int(amount), unit)
            if shifted is None:
                raise _Unresolved
            moment = shifted
        return format_moment(moment, pattern)
    return _as_text(lookup(expression, values))


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise _Unresolved


def _call(name: str, argument: str, values: Mapping[str, Any]) -> str:
    function = _FUNCTIONS.get(name)
    if function is None:
        raise _Unresolved
    arguments = [argument]
    if name in _TWO_ARGUMENTS:
        arguments = _split_last(argument)
    filled = [_fill(text, values, encode=False) for text in arguments]
    if any(text.missing for text in filled):
        raise _Unresolved
    try:
        return function(*(text.text.encode() for text in filled))
    except ValueError:  # a key that is none
        raise _Unresolved from None


def _split_last(argument: str) -> list[str]:
    """Split at the last comma that stands outside placeholders and brackets."""
    depth = 0
    for index in range(len(argument) - 1, -1, -1):
        if argument[index] in "})":
            depth += 1
        elif argument[index] in "{(":
            depth -= 1
        elif argument[index] == "," and depth == 0:
            return [argument[:index].strip(), argument[index + 1 :].strip()]
    raise _Unresolved


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sha256_base64(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def _hmac_sha1_hex(message: bytes, key: bytes) -> str:
    return hmac.new(key, message, hashlib.sha1).hexdigest()


_FUNCTIONS: Mapping[str, Callable[..., str]] = {
    "base64": _base64,
    "sha256Hex": _sha256_hex,
    "sha256Base64": _sha256_base64,
    "hmacSha1Hex": _hmac_sha1_hex,
    "ed25519Sign": ed25519_sign,
    "fingerprint": fingerprint,
}
_TWO_ARGUMENTS = frozenset({"hmacSha1Hex", "ed25519Sign"})
