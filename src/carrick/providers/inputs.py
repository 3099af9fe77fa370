"""Enforce what a provider's definition says about `connection_config`.

These values decide which server is called, so nothing here trusts the form that sent them.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from carrick.errors import InvalidConnectionConfig, MissingConnectionConfig
from carrick.model.provider import FieldSpec, Provider
from carrick.providers.address import Place, check, fault_of_url, is_host, places
from carrick.providers.definition import url_templates
from carrick.providers.interpolate import Placeholder, alternatives, parse, parts_as_text

_MAX_VALUE_LENGTH = 8192
_MAX_MATCHED_LENGTH = 1024
_MAX_KEYS = 100
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_PREFIX = "connectionConfig."


def check_connection_config(
    provider: Provider,
    config: Mapping[str, Any],
    *,
    from_browser: bool,
    preset: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the values to store: checked, completed with defaults, without decoration.

    Args:
        provider: Whose definition holds.
        config: What was sent.
        from_browser: Sent by an end user: only declared, not automated text fields are taken.
        preset: What the server itself sets (a connect session's defaults). It wins over `config`
            and may set every key.

    Raises:
        InvalidConnectionConfig: A value or key may not be set; `issues` names each one.
        MissingConnectionConfig: A required value is absent.
    """
    preset = preset or {}
    if len(config) + len(preset) > _MAX_KEYS:
        raise InvalidConnectionConfig(f"connection_config may hold {_MAX_KEYS} keys at most")
    if from_browser:
        _refuse_foreign_keys(provider, config, preset)
    values = {
        name: value
        for name, value in {**config, **preset}.items()
        if value is not None and not (value == "" and name in provider.connection_config)
    }
    for name, spec in provider.connection_config.items():
        if name in values:
            values[name] = _checked(spec, values[name])
        elif spec.default_value is not None:
            values[name] = spec.default_value
    _refuse_missing(provider, values)
    check_addresses(provider, values)
    return values


def check_found(provider: Provider, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a provider told about an account, held to the field specs like any input.

    Raises:
        InvalidConnectionConfig: A value does not fit its spec.
    """
    specs = provider.connection_config
    return {
        name: _checked(specs[name], value) if name in specs else value
        for name, value in found.items()
    }


def check_addresses(provider: Provider, connection_config: Mapping[str, Any]) -> None:
    """Refuse values that may not stand where the provider's URL templates put them.

    Raises:
        InvalidConnectionConfig: The message names the value and what it must be.
    """
    for name, place in _address_places(provider):
        value = connection_config.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise _invalid(name, "must be text")
        check(str(value), place, name=f"connection_config.{name}")


def _address_places(provider: Provider) -> Iterator[tuple[str, Place]]:
    """Yield each value of connection_config that stands in a URL, with its place there."""
    for _, template in url_templates(provider.definition):
        for alternative in alternatives(template):
            parts = parse(alternative)
            names = [part.expression for part in parts if isinstance(part, Placeholder)]
            for name, place in zip(names, places(parts_as_text(parts)), strict=True):
                if name.startswith(_PREFIX):
                    yield name.removeprefix(_PREFIX), place


def _refuse_foreign_keys(
    provider: Provider, config: Mapping[str, Any], preset: Mapping[str, Any]
) -> None:
    for name, value in config.items():
        spec = provider.connection_config.get(name)
        if name in preset:
            continue
        if spec is None:
            known = [
                each for each, spec in provider.connection_config.items() if not spec.automated
            ]
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise _invalid(name, f"is not a value {provider.name} asks for; {takes}")
        if spec.automated:
            raise _invalid(name, "is set by the server and cannot be sent")
        if not isinstance(value, str):
            raise _invalid(name, "must be text")


def _refuse_missing(provider: Provider, values: Mapping[str, Any]) -> None:
    missing = [
        name
        for name, spec in provider.connection_config.items()
        if name not in values and not spec.optional and not spec.automated
    ]
    if missing:
        raise MissingConnectionConfig(
            f"{provider.display_name} needs {', '.join(missing)} in connection_config",
            issues=[
                {"code": "custom", "message": "is required", "path": ["connection_config", name]}
                for name in missing
            ],
        )


def _checked(spec: FieldSpec, value: Any) -> Any:
    if isinstance(value, bool | int | float):
        value = str(value).lower() if isinstance(value, bool) else str(value)
    if not isinstance(value, str):
        if spec.automated:
            return value  # a provider's own answer, not an input
        raise _invalid(spec.name, "must be text")
    if len(value) > _MAX_VALUE_LENGTH:
        raise _invalid(spec.name, f"is longer than {_MAX_VALUE_LENGTH} characters")
    text = _without_decoration(spec, value)
    fault = _fault(spec, text)
    if fault:
        raise _invalid(spec.name, fault)
    return text


def _without_decoration(spec: FieldSpec, value: str) -> str:
    """Drop prefix and suffix, which are shown around the input and typed by some people."""
    text = value.strip()
    if spec.prefix and spec.format != "uri":
        text = text.removeprefix(spec.prefix)
    if spec.suffix and text != spec.suffix:
        text = text.removesuffix(spec.suffix)
    return text


def _fault(spec: FieldSpec, text: str) -> str | None:
    if text == "":
        return "must not be empty"
    if _CONTROL.search(text):
        return "must not hold control characters"
    if spec.enum and text not in spec.enum:
        return f"must be one of {', '.join(spec.enum)}"
    if spec.pattern:
        matches = len(text) <= _MAX_MATCHED_LENGTH and re.search(spec.pattern, text, re.ASCII)
        if not matches:
            return f"does not match {spec.pattern}"
    return _fault_of_format(spec.format, text) if spec.format else None


def _fault_of_format(name: str, text: str) -> str | None:
    if name == "hostname":
        return None if is_host(text) else "must be a host name, without scheme, port or path"
    if name == "uri":
        return fault_of_url(text)
    if name == "email":
        return None if _EMAIL.fullmatch(text) else "must be an e-mail address"
    try:
        uuid.UUID(text)
    except ValueError:
        return "must be a UUID"
    return None


def _invalid(name: str, fault: str) -> InvalidConnectionConfig:
    return InvalidConnectionConfig(
        f"connection_config.{name} {fault}",
        issues=[{"code": "custom", "message": fault, "path": ["connection_config", name]}],
    )
