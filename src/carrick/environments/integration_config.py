"""An integration's own inputs, as the provider's definition asks for them.

Which fields count depends on the values of others (`visible_when`), so the values are settled
first and judged afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from carrick.errors import InvalidBody
from carrick.model.provider import FieldSpec, Provider


def resolve_integration_config(
    provider: Provider, given: Mapping[str, str], stored: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the values an integration ends up with.

    Args:
        provider: Whose definition says what is asked for.
        given: What the developer sent.
        stored: What an integration that is changed already has; a field that was not sent keeps
            its value. `None` for a new one, whose fields start at their defaults.

    Raises:
        InvalidBody: A field is unknown, missing or wrong; `issues` names each.
    """
    specs = provider.integration_config
    issues = [
        _issue("unrecognized_keys", f'Unrecognized key: "{name}"', name)
        for name in given
        if name not in specs
    ]
    values = _settle(specs, given, stored)
    settled: dict[str, str] = {}
    for name, spec in specs.items():
        if not _is_asked_for(provider, name, values):
            continue
        value = values.get(name)
        if value is None or value == "":
            if not spec.optional:
                issues.append(_issue("invalid_type", f"{_title(spec)} is required", name))
            continue
        issues.extend(_faults(spec, value))
        settled[name] = value
    if issues:
        raise InvalidBody(str(issues[0]["message"]), issues=issues)
    return settled


def _settle(
    specs: Mapping[str, FieldSpec], given: Mapping[str, str], stored: Mapping[str, str] | None
) -> dict[str, str]:
    if stored is not None:
        return {**stored, **given}
    defaults = {
        name: spec.default_value for name, spec in specs.items() if spec.default_value is not None
    }
    return {**defaults, **given}


def _is_asked_for(provider: Provider, name: str, values: Mapping[str, str]) -> bool:
    condition = _condition(provider, name)
    if condition is None:
        return True
    wanted = condition.get("equals")
    actual = values.get(str(condition.get("field")))
    return actual in wanted if isinstance(wanted, list) else actual == wanted


def _condition(provider: Provider, name: str) -> Mapping[str, Any] | None:
    fields = provider.definition.get("integration_config")
    entry = fields.get(name) if isinstance(fields, Mapping) else None
    condition = entry.get("visible_when") if isinstance(entry, Mapping) else None
    return condition if isinstance(condition, Mapping) else None


def _faults(spec: FieldSpec, value: str) -> list[dict[str, Any]]:
    title = _title(spec)
    if spec.enum and value not in spec.enum:
        message = f"{title} must be one of: {', '.join(spec.enum)}"
        return [_issue("invalid_value", message, spec.name)]
    if spec.pattern is not None and re.search(spec.pattern, value) is None:
        return [_issue("invalid_format", f"{title} does not fit {spec.pattern}", spec.name)]
    if spec.format == "uri" and not _is_web_address(value):
        return [_issue("invalid_format", f"{title} must be an http or https URL", spec.name)]
    return []


def _is_web_address(value: str) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _title(spec: FieldSpec) -> str:
    return spec.title or spec.name


def _issue(code: str, message: str, name: str) -> dict[str, Any]:
    return {"code": code, "message": message, "path": ["integration_config", name]}
