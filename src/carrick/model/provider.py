"""A provider: the catalogue's entry for one external API. Read only, data from end to end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from carrick.model.auth import AuthMode


@dataclass(frozen=True)
class FieldSpec:
    """One input a provider asks for, of the end user or of the developer."""

    name: str
    title: str = ""
    description: str = ""
    pattern: str | None = None
    format: str | None = None
    enum: tuple[str, ...] = ()
    default_value: str | None = None
    optional: bool = False
    automated: bool = False
    hidden: bool = False
    secret: bool = False
    prefix: str | None = None
    suffix: str | None = None


@dataclass(frozen=True)
class Provider:
    """A provider definition with its aliases resolved.

    `definition` is the whole entry as it was written (what `GET /providers/:name` shows and what
    auth modes read their own keys from); the other fields are what more than one room needs.
    """

    name: str
    display_name: str
    auth_mode: AuthMode
    definition: Mapping[str, Any] = field(repr=False)
    connection_config: Mapping[str, FieldSpec] = field(default_factory=dict, repr=False)
    credentials: Mapping[str, FieldSpec] = field(default_factory=dict, repr=False)
    integration_config: Mapping[str, FieldSpec] = field(default_factory=dict, repr=False)
    assertion_option: Mapping[str, FieldSpec] = field(default_factory=dict, repr=False)

    @property
    def proxy(self) -> Mapping[str, Any]:
        """The `proxy` part of the definition; empty when it has none."""
        value = self.definition.get("proxy")
        return value if isinstance(value, Mapping) else {}
