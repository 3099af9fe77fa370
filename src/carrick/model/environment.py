"""Environments and what stands in them: integrations, keys, connect sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from carrick.model.connection import EndUser


@dataclass(frozen=True)
class Environment:
    """An isolated set of integrations, connections and keys."""

    row_id: int
    uuid: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


class IntegrationState(StrEnum):
    """Whether an integration is in use, waits for its last cleanup, or is a tombstone."""

    ACTIVE = "active"
    DELETING = "deleting"
    GONE = "gone"


@dataclass(frozen=True)
class Integration:
    """An environment's configured use of one provider."""

    row_id: int
    environment_id: int
    integration_id: str
    provider: str
    display_name: str | None
    state: IntegrationState
    #: Wire-named secrets (`client_id`, `client_secret`, `scopes`, ...); never in a repr.
    credentials: Mapping[str, Any] | None = field(repr=False)
    integration_config: Mapping[str, str] = field(default_factory=dict, repr=False)
    custom: Mapping[str, str] = field(default_factory=dict, repr=False)
    override_hosts: tuple[str, ...] = ()
    on_refused_reconnect: Literal["auth_error", "keep"] = "auth_error"
    #: Setups and cleanups that a node runs at a time, and begins in a minute; 0 is no limit.
    function_concurrency: int = 0
    functions_per_minute: int = 0
    forward_webhooks: bool = True
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True)
class ApiKey:
    """A server-side key of an environment, without the key."""

    row_id: int
    environment_id: int
    display_name: str
    scopes: tuple[str, ...]
    created_at: datetime


@dataclass(frozen=True)
class ConnectSession:
    """A short-lived permission for one end user to connect or reconnect."""

    row_id: int
    environment_id: int
    end_user: EndUser | None
    allowed_integrations: tuple[str, ...] | None
    integrations_config_defaults: Mapping[str, Any]
    overrides: Mapping[str, Any]
    tags: Mapping[str, str]
    webhook_url_override: str | None
    reconnect_row_id: int | None
    operation_id: str | None
    expires_at: datetime

    @property
    def brought_tags(self) -> Mapping[str, str] | None:
        """What replaces a connection's tags; `None` when the session says nothing of them."""
        return self.tags or None
