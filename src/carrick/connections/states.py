"""The states of a connection and the only ways between them.

Every change of state is `move`, inside the transaction that also writes what must follow from it.
A move bumps the generation, so a write that was based on the earlier state (a slow refresh, a
reconnect that lost to a delete) finds that out. Moves caused by refreshing keep the generation:
they change what is known about the same credentials, not the credentials' owner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from carrick.errors import InvalidConnection
from carrick.model.connection import Connection, ConnectionState, ErrorCause, SetupState
from carrick.store import connections as rows
from carrick.store import journal, run_state
from carrick.store.unit import Tx

_WAYS: dict[ConnectionState, frozenset[ConnectionState]] = {
    ConnectionState.ACTIVE: frozenset(
        {ConnectionState.ACTIVE, ConnectionState.AUTH_ERROR, ConnectionState.DELETING}
    ),
    ConnectionState.AUTH_ERROR: frozenset(
        {ConnectionState.ACTIVE, ConnectionState.AUTH_ERROR, ConnectionState.DELETING}
    ),
    ConnectionState.DELETING: frozenset({ConnectionState.GONE}),
    ConnectionState.GONE: frozenset(),
}


@dataclass(frozen=True)
class Promotion:
    """Everything an accepted candidate brings, sealed and ready to be written."""

    credential_set: str
    auth_mode: str
    credentials: bytes
    credentials_expires_at: Any
    connection_config: Mapping[str, Any]
    metadata: Mapping[str, Any] | None
    tags: Mapping[str, str] | None
    end_user_row_id: int | None
    account_id: str | None
    webhook_url_override: str | None
    setup: SetupState

    def columns(self) -> dict[str, Any]:
        """Return what is written whether the connection is new or not."""
        return {
            "credential_set": self.credential_set,
            "auth_mode": self.auth_mode,
            "credentials": self.credentials,
            "credentials_expires_at": self.credentials_expires_at,
            "connection_config": dict(self.connection_config),
        }


#: New credentials are looked after for the first time so long after they came.
_FIRST_UPKEEP = timedelta(minutes=30)
_HEALTHY: dict[str, Any] = {
    "error_cause": None,
    "error_operation_id": None,
    "refresh_attempts": 0,
    "last_refresh_failure_at": None,
    "refresh_owner": None,
    "refresh_until": None,
    "refresh_unanswered_at": None,
}


async def move(
    tx: Tx,
    connection: Connection,
    to: ConnectionState,
    *,
    same_generation: bool = False,
    **columns: Any,
) -> None:
    """Change a connection's state, and nothing else may.

    Raises:
        InvalidConnection: There is no such way, or somebody moved it since it was read.
    """
    if to not in _WAYS[connection.state]:
        raise InvalidConnection(f"A connection that is {connection.state} cannot become {to}.")
    generation = connection.generation + (0 if same_generation else 1)
    moved = await rows.change(
        tx,
        connection.row_id,
        {"state": to.value, "generation": generation, **columns},
        generation=connection.generation,
    )
    if not moved:
        raise InvalidConnection


async def create(
    tx: Tx,
    *,
    environment_id: int,
    integration_row_id: int,
    integration_id: str,
    provider: str,
    connection_id: str,
    promotion: Promotion,
) -> int:
    """Write a new, active connection.

    Raises:
        AlreadyExists: Somebody connected the same id meanwhile.
    """
    return await rows.insert_connection(
        tx,
        {
            "environment_id": environment_id,
            "integration_row_id": integration_row_id,
            "integration_id": integration_id,
            "provider": provider,
            "connection_id": connection_id,
            "state": ConnectionState.ACTIVE.value,
            "generation": 1,
            "metadata": dict(promotion.metadata) if promotion.metadata is not None else None,
            "tags": dict(promotion.tags or {}),
            "end_user_row_id": promotion.end_user_row_id,
            "account_id": promotion.account_id,
            "webhook_url_override": promotion.webhook_url_override,
            "setup": promotion.setup.value,
            "last_refresh_success_at": tx.now,
            "upkeep_at": tx.now + _FIRST_UPKEEP,
            "created_at": tx.now,
            "updated_at": tx.now,
            **promotion.columns(),
        },
    )


async def promote(tx: Tx, connection: Connection, promotion: Promotion) -> None:
    """Make an accepted candidate the connection's credentials and config.

    Metadata, tags and the end user stay unless the candidate brings new ones.
    """
    columns = {
        **promotion.columns(),
        **_HEALTHY,
        "last_refresh_success_at": tx.now,
        "upkeep_at": tx.now + _FIRST_UPKEEP,
    }
    if promotion.metadata is not None:
        columns["metadata"] = dict(promotion.metadata)
        columns["metadata_version"] = connection.metadata_version + 1
    if promotion.tags is not None:
        columns["tags"] = dict(promotion.tags)
    if promotion.end_user_row_id is not None:
        columns["end_user_row_id"] = promotion.end_user_row_id
    if promotion.account_id is not None:
        columns["account_id"] = promotion.account_id
    columns["webhook_url_override"] = promotion.webhook_url_override
    columns["setup"] = promotion.setup.value
    await move(tx, connection, ConnectionState.ACTIVE, **columns)


async def refuse(tx: Tx, connection: Connection, operation_id: str) -> None:
    """Mark a connection whose reconnect was refused; its old credentials stay for cleanup."""
    await move(
        tx,
        connection,
        ConnectionState.AUTH_ERROR,
        error_cause=ErrorCause.REFUSED.value,
        error_operation_id=operation_id,
    )


async def refresh_exhausted(tx: Tx, connection: Connection, operation_id: str) -> None:
    """Mark a connection whose refreshes were used up."""
    await move(
        tx,
        connection,
        ConnectionState.AUTH_ERROR,
        same_generation=True,
        error_cause=ErrorCause.REFRESH.value,
        error_operation_id=operation_id,
    )


async def refresh_healed(tx: Tx, connection: Connection) -> None:
    """Bring a connection back whose refresh worked again."""
    await move(
        tx,
        connection,
        ConnectionState.ACTIVE,
        same_generation=True,
        error_cause=None,
        error_operation_id=None,
    )


async def begin_deletion(tx: Tx, connection: Connection) -> None:
    """Take a connection out of every caller's sight; its id is free again."""
    await move(tx, connection, ConnectionState.DELETING, deleted_at=tx.now)


async def finish_deletion(tx: Tx, connection: Connection) -> None:
    """Erase everything a connection held; the row stays as a tombstone."""
    await move(
        tx,
        connection,
        ConnectionState.GONE,
        credentials=None,
        connection_config={},
        metadata=None,
        tags={},
        end_user_row_id=None,
        account_id=None,
        webhook_url_override=None,
    )
    await journal.erase_answers(tx, connection.row_id)
    await run_state.clear_checkpoint(tx, connection.row_id)
