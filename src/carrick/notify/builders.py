"""The notifications there are, each built from a connection by one function.

Bodies have the names of the wire contract; they are written here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from carrick.model.connection import Connection, EndUser
from carrick.model.environment import Environment
from carrick.notify.notification import Notification

_LONGEST_DESCRIPTION = 2_000


@dataclass(frozen=True)
class Fault:
    """What went wrong, as the app is told it."""

    type: str
    description: str


@dataclass(frozen=True)
class ConnectionFacts:
    """What a notification says about a connection, whether or not there is a row of it."""

    environment: Environment
    integration_id: str
    connection_id: str
    provider: str
    auth_mode: str
    row_id: int | None = None
    tags: Mapping[str, str] | None = None
    end_user: EndUser | None = None
    webhook_url_override: str | None = field(default=None, repr=False)


def facts_of(environment: Environment, connection: Connection, auth_mode: str) -> ConnectionFacts:
    """Return what notifications say about a connection."""
    return ConnectionFacts(
        environment=environment,
        integration_id=connection.integration_id,
        connection_id=connection.connection_id,
        provider=connection.provider,
        auth_mode=str(auth_mode),
        row_id=connection.row_id,
        tags=connection.tags,
        end_user=connection.end_user,
        webhook_url_override=connection.webhook_url_override,
    )


def connection_created(facts: ConnectionFacts) -> Notification:
    """Tell that a connection was made."""
    return _auth(facts, "connection_create", "creation", gate="on_auth_creation")


def creation_failed(facts: ConnectionFacts, fault: Fault) -> Notification:
    """Tell that a connection was not made, for a reason nobody expected."""
    return _auth(facts, "connection_create", "creation", fault, gate="on_auth_creation")


def connection_overridden(facts: ConnectionFacts, fault: Fault | None = None) -> Notification:
    """Tell that a connection was connected again, or with a fault that this was refused."""
    return _auth(facts, "connection_override", "override", fault)


def refresh_failed(facts: ConnectionFacts, fault: Fault) -> Notification:
    """Tell that a connection's credentials could not be refreshed."""
    return _auth(facts, "connection_refresh", "refresh", fault, gate="on_auth_refresh_error")


def connection_deleted(facts: ConnectionFacts) -> Notification:
    """Tell that a connection was deleted; only environments that ask for it are told."""
    return _auth(
        facts,
        "connection_delete",
        "deletion",
        gate="on_connection_deletion",
        on_by_default=False,
    )


def setup_failed(
    facts: ConnectionFacts, *, function: str, operation_id: str, fault: Fault
) -> Notification:
    """Tell that a post-connection-creation function failed for good; the connection stays."""
    return _lifecycle(facts, "setup_failed", function, operation_id, fault)


def cleanup_parked(
    facts: ConnectionFacts, *, function: str, operation_id: str, fault: Fault
) -> Notification:
    """Tell that a pre-connection-deletion function waits for a person."""
    return _lifecycle(facts, "cleanup_parked", function, operation_id, fault)


def _auth(
    facts: ConnectionFacts,
    kind: str,
    operation: str,
    fault: Fault | None = None,
    *,
    gate: str | None = None,
    on_by_default: bool = True,
) -> Notification:
    body = {
        **_said_of(facts, fault),
        "type": "auth",
        "operation": operation,
        "authMode": facts.auth_mode,
    }
    return _notification(facts, kind, body, gate, on_by_default)


def _lifecycle(
    facts: ConnectionFacts, operation: str, function: str, operation_id: str, fault: Fault
) -> Notification:
    body = {
        **_said_of(facts, fault),
        "type": "lifecycle",
        "operation": operation,
        "function": function,
        "operationId": operation_id,
    }
    return _notification(facts, operation, body, f"on_{operation}", on_by_default=True)


def _notification(
    facts: ConnectionFacts,
    kind: str,
    body: Mapping[str, Any],
    gate: str | None,
    on_by_default: bool,
) -> Notification:
    return Notification(
        environment=facts.environment,
        kind=kind,
        body=body,
        connection_row_id=facts.row_id,
        webhook_url_override=facts.webhook_url_override,
        gate=gate,
        on_by_default=on_by_default,
    )


def _said_of(facts: ConnectionFacts, fault: Fault | None) -> dict[str, Any]:
    said: dict[str, Any] = {
        "from": "nango",
        "connectionId": facts.connection_id,
        "providerConfigKey": facts.integration_id,
        "provider": facts.provider,
        "environment": facts.environment.name,
        "success": fault is None,
    }
    if facts.tags is not None:
        said["tags"] = dict(facts.tags)
    if facts.end_user is not None:
        said["endUser"] = _end_user(facts.end_user)
    if fault is not None:
        description = fault.description[:_LONGEST_DESCRIPTION]
        said["error"] = {"type": fault.type, "description": description}
    return said


def _end_user(end_user: EndUser) -> dict[str, Any]:
    said: dict[str, Any] = {"endUserId": end_user.id, "tags": dict(end_user.tags)}
    if end_user.email:
        said["endUserEmail"] = end_user.email
    if end_user.organization_id:
        said["organizationId"] = end_user.organization_id
    return said
