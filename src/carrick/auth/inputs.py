"""Check the fields of a credentials form or import; every fault is reported, not only the first."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from carrick.auth.expiry import read_moment
from carrick.errors import InvalidBody
from carrick.model.provider import FieldSpec

Issue = dict[str, Any]
Path = tuple[str, ...]

#: The longest value of a field that a provider definition describes; keys in PEM fit.
_LONGEST = 16_384
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_HOSTNAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*")


@dataclass(frozen=True)
class Text:
    """One text field of an input."""

    name: str
    longest: int
    shortest: int = 1
    optional: bool = False


def read_texts(
    body: Mapping[str, Any],
    fields: Sequence[Text],
    *,
    at: Path = (),
    also: Sequence[str] = (),
    strict: bool = True,
    specs: Mapping[str, FieldSpec] | None = None,
) -> dict[str, str]:
    """Return the text fields of a body.

    Args:
        body: What was sent. `type` names the auth mode and is passed over.
        fields: What may be in it.
        at: Where the body stands in the whole request, for the faults' paths.
        also: Names of other fields, which somebody else reads.
        strict: Whether an unknown field is a fault.
        specs: What the provider definition says about the fields.

    Raises:
        InvalidBody: With every fault in `issues`.
    """
    issues: list[Issue] = []
    found: dict[str, str] = {}
    for field in fields:
        value = body.get(field.name)
        if value is None and field.optional:
            continue
        fault = _fault(value, field) or _spec_fault(value, (specs or {}).get(field.name))
        if fault is None:
            found[field.name] = value  # type: ignore[assignment]  # a text, or there is a fault
        else:
            issues.append({**fault, "path": [*at, field.name]})
    known = {"type", *also, *(field.name for field in fields)}
    unknown = [str(name) for name in body if name not in known]
    if unknown and strict:
        named = ", ".join(f'"{name[:50]}"' for name in unknown[:5])
        word = "key" if len(unknown) == 1 else "keys"
        issues.append(issue("unrecognized_keys", f"Unrecognized {word}: {named}", at))
    if issues:
        raise InvalidBody(issues=issues)
    return found


def read_declared(
    body: Mapping[str, Any],
    specs: Mapping[str, FieldSpec],
    *,
    at: Path = (),
    also: Sequence[str] = (),
    given: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Return the fields that a provider definition describes, completed with its defaults.

    Args:
        body: What was sent.
        specs: What the definition describes.
        at: Where the body stands in the whole request.
        also: Names of other fields, which somebody else reads.
        given: What the integration brings itself, and nobody has to send.

    Raises:
        InvalidBody: With every fault in `issues`.
    """
    provided = given or {}
    asked = [spec for spec in specs.values() if not spec.automated]
    body = {name: _undecorated(value, specs.get(name)) for name, value in body.items()}
    left_out = {spec.name for spec in asked if body.get(spec.name) in (None, "")}
    fields = [Text(spec.name, _LONGEST, optional=_is_optional(spec, provided)) for spec in asked]
    sent = {name: value for name, value in body.items() if name not in left_out}
    found = read_texts(sent, fields, at=at, also=also, specs=specs)
    defaults = {
        spec.name: spec.default_value
        for spec in asked
        if spec.name in left_out and spec.default_value is not None
    }
    return {**defaults, **found}


def read_expires_at(body: Mapping[str, Any], *, at: Path = ()) -> datetime | None:
    """Return `expires_at` of an import: ISO text, or milliseconds since 1970.

    Raises:
        InvalidBody: It is neither.
    """
    value = body.get("expires_at")
    if value is None:
        return None
    moment = read_moment(value)
    if moment is None:
        raise InvalidBody(issues=[issue("invalid_date", "Invalid date", (*at, "expires_at"))])
    return moment.astimezone(UTC)


def issue(code: str, message: str, path: Sequence[str]) -> Issue:
    """Describe one fault of an input."""
    return {"code": code, "message": message, "path": list(path)}


def _fault(value: Any, field: Text) -> Issue | None:
    if not isinstance(value, str):
        kind = "undefined" if value is None else _javascript_name(value)
        message = f"Invalid input: expected string, received {kind}"
        return {"code": "invalid_type", "message": message}
    if len(value) < field.shortest:
        message = f"Too small: expected string to have >={field.shortest} characters"
        return {"code": "too_small", "message": message}
    if len(value) > field.longest:
        message = f"Too big: expected string to have <={field.longest} characters"
        return {"code": "too_big", "message": message}
    return None


def _spec_fault(value: Any, spec: FieldSpec | None) -> Issue | None:
    if spec is None or not isinstance(value, str) or (value == "" and spec.optional):
        return None
    title = spec.title or spec.name
    if spec.pattern is not None and re.search(spec.pattern, value, re.ASCII) is None:
        return {"code": "custom", "message": f"{title} does not have the expected form"}
    if spec.enum and value not in spec.enum:
        return {"code": "custom", "message": f"{title} must be one of {', '.join(spec.enum)}"}
    if spec.format is not None and not _is_of_format(spec.format, value):
        return {"code": "custom", "message": f"{title} must be a valid {spec.format}"}
    return None


def _is_of_format(name: str, text: str) -> bool:
    if name == "email":
        return _EMAIL.fullmatch(text) is not None
    if name == "hostname":
        return _HOSTNAME.fullmatch(text) is not None
    try:
        if name == "uuid":
            return bool(uuid.UUID(text))
        parts = urlsplit(text)
    except ValueError:
        return False
    return name != "uri" or (parts.scheme in ("http", "https") and bool(parts.hostname))


def _undecorated(value: Any, spec: FieldSpec | None) -> Any:
    """Drop prefix and suffix, which are shown around an input and typed by some people."""
    if spec is None or spec.format == "uri" or not isinstance(value, str):
        return value
    return value.removeprefix(spec.prefix or "").removesuffix(spec.suffix or "")


def _javascript_name(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "array" if isinstance(value, list) else "object"


def _is_optional(spec: FieldSpec, given: Mapping[str, Any]) -> bool:
    """Whether nobody has to send a field."""
    return spec.optional or spec.default_value is not None or bool(given.get(spec.name))
