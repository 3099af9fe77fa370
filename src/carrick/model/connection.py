"""A connection: the stored authorisation of one end user for one integration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from carrick.model.auth import Credentials


class ConnectionState(StrEnum):
    """Where a connection is in its life."""

    ACTIVE = "active"
    AUTH_ERROR = "auth_error"
    DELETING = "deleting"
    GONE = "gone"


class ErrorCause(StrEnum):
    """Why a connection is in auth error: only `refresh` may heal by refreshing."""

    REFRESH = "refresh"
    REFUSED = "refused"


class SetupState(StrEnum):
    """What became of the post-connection-creation functions."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class EndUser:
    """The customer's user who authorised."""

    id: str
    email: str | None = None
    display_name: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    organization_id: str | None = None
    organization_display_name: str | None = None


@dataclass(frozen=True)
class Connection:
    """A connection without its secrets: safe to log, to pass around, to show."""

    row_id: int
    environment_id: int
    integration_row_id: int
    integration_id: str
    provider: str
    connection_id: str
    state: ConnectionState
    generation: int
    connection_config: Mapping[str, Any]
    metadata: Mapping[str, Any] | None
    metadata_version: int
    tags: Mapping[str, str]
    end_user: EndUser | None
    account_id: str | None
    webhook_url_override: str | None
    setup: SetupState
    error_cause: ErrorCause | None
    error_operation_id: str | None
    refresh_attempts: int
    last_refresh_failure_at: datetime | None
    last_refresh_success_at: datetime | None
    credentials_expires_at: datetime | None
    last_fetched_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def is_usable(self) -> bool:
        """Whether an API caller may see it at all."""
        return self.state in (ConnectionState.ACTIVE, ConnectionState.AUTH_ERROR)


@dataclass(frozen=True)
class Candidate:
    """New credentials that no check has passed yet, used by nothing but the checks themselves."""

    credentials: Credentials
    connection_config: Mapping[str, Any]
    #: `None` means: keep what the connection has (or nothing, for a new one).
    metadata: Mapping[str, Any] | None = None
    tags: Mapping[str, str] | None = None
    end_user: EndUser | None = None
    webhook_url_override: str | None = None
    clear_webhook_url_override: bool = False
