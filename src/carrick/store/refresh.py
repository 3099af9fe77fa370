"""SQL of refreshing: reading sealed credentials, the lease on who refreshes, and what came of it.

The lease is two columns of the connection's row. It keeps two nodes from asking a provider at the
same time. Whose result counts is decided where it is stored, by what it was based on.
Changes of state go through `carrick.connections`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, func, or_, select, update

from carrick.model.connection import ConnectionState, ErrorCause
from carrick.store.tables import connections
from carrick.store.unit import Tx

COLUMNS = tuple(
    connections.c[name]
    for name in (
        "id",
        "environment_id",
        "integration_row_id",
        "integration_id",
        "provider",
        "connection_id",
        "state",
        "error_cause",
        "generation",
        "credential_set",
        "auth_mode",
        "credentials",
        "connection_config",
        "refresh_attempts",
        "last_refresh_failure_at",
        "credentials_expires_at",
        "refresh_owner",
        "refresh_until",
        "refresh_unanswered_at",
        "last_fetched_at",
        "last_refresh_success_at",
        "created_at",
        "upkeep_at",
    )
)


@dataclass(frozen=True)
class RefreshRow:
    """What refreshing needs to know of a connection."""

    row_id: int
    environment_id: int
    integration_row_id: int
    integration_id: str
    provider: str
    connection_id: str
    state: ConnectionState
    error_cause: ErrorCause | None
    generation: int
    credential_set: str
    auth_mode: str
    credentials: bytes | None = field(repr=False)
    connection_config: Mapping[str, Any] = field(repr=False)
    refresh_attempts: int
    last_refresh_failure_at: datetime | None
    credentials_expires_at: datetime | None
    refresh_owner: str | None
    refresh_until: datetime | None
    #: Since when a refresh is out whose answer is not stored.
    refresh_unanswered_at: datetime | None
    last_fetched_at: datetime | None
    last_refresh_success_at: datetime | None
    created_at: datetime
    upkeep_at: datetime | None

    def is_held(self, now: datetime) -> bool:
        """Whether somebody is refreshing it at that moment."""
        return self.refresh_owner is not None and (
            self.refresh_until is not None and self.refresh_until > now
        )


_GET = select(*COLUMNS).where(connections.c.id == bindparam("row"))
_GET_LOCKED = _GET.with_for_update()


async def get(tx: Tx, row_id: int, *, lock: bool = False) -> RefreshRow | None:
    """Return a connection in whatever state; `lock` keeps others from changing it until commit."""
    row = await tx.row(_GET_LOCKED if lock else _GET, {"row": row_id})
    return read_row(row) if row is not None else None


async def take_lease(tx: Tx, row_id: int, owner: str, until: datetime) -> RefreshRow | None:
    """Take the lease if nobody has it, and return the row as it is then.

    The caller has it if the row names it as `refresh_owner`.
    """
    await tx.execute(
        update(connections)
        .where(
            connections.c.id == row_id,
            or_(
                connections.c.refresh_owner.is_(None),
                connections.c.refresh_owner == owner,
                connections.c.refresh_until.is_(None),
                connections.c.refresh_until <= tx.now,
            ),
        )
        .values(refresh_owner=owner, refresh_until=until)
    )
    return await get(tx, row_id)


async def extend_lease(tx: Tx, row_id: int, owner: str, until: datetime) -> bool:
    """Keep the lease for longer; `False` when somebody else has taken it."""
    statement = update(connections).where(
        connections.c.id == row_id, connections.c.refresh_owner == owner
    )
    return await tx.changed(statement.values(refresh_until=until)) == 1


async def mark_sent(tx: Tx, row_id: int, owner: str, until: datetime) -> bool:
    """Note that a refresh goes out now; `False` when somebody else has taken the lease.

    The lease is extended with it: it may have run out, and nobody has noticed yet. The mark stays
    until an answer is stored, so whoever finds it without a holder knows that the provider may have
    answered a process that is gone. The connection is due for a look from now on, which nobody
    takes while the lease is held.
    """
    statement = update(connections).where(
        connections.c.id == row_id, connections.c.refresh_owner == owner
    )
    unanswered_at = func.coalesce(connections.c.refresh_unanswered_at, tx.now)
    values = {
        "refresh_unanswered_at": unanswered_at,
        "refresh_until": until,
        "upkeep_at": tx.now,
    }
    return await tx.changed(statement.values(values)) == 1


async def release_lease(tx: Tx, row_id: int, owner: str) -> None:
    """Give the lease back, if it is still this owner's."""
    await tx.execute(
        update(connections)
        .where(connections.c.id == row_id, connections.c.refresh_owner == owner)
        .values(refresh_owner=None, refresh_until=None)
    )


async def store_refreshed(
    tx: Tx,
    row: RefreshRow,
    *,
    credentials: bytes,
    expires_at: datetime | None,
    connection_config: Mapping[str, Any],
    heals: bool,
    upkeep_at: datetime,
) -> None:
    """Store fresh credentials in a row that this transaction has locked.

    Args:
        tx: The transaction.
        row: The row as it is now.
        credentials: What was obtained, sealed.
        expires_at: When it expires.
        connection_config: All of it, with what the provider's answer added.
        heals: Whether earlier failures are over with it.
        upkeep_at: When to look after them next.
    """
    values: dict[str, Any] = {
        "credentials": credentials,
        "credentials_expires_at": expires_at,
        "last_refresh_success_at": tx.now,
        "refresh_unanswered_at": None,
        "upkeep_at": upkeep_at,
        "updated_at": tx.now,
    }
    if connection_config != row.connection_config:
        values["connection_config"] = dict(connection_config)
    if heals:
        values |= _HEALED
    await _change(tx, row, values)


async def store_failure(
    tx: Tx,
    row: RefreshRow,
    *,
    attempts: int,
    unanswered_at: datetime | None,
    upkeep_at: datetime,
) -> None:
    """Store that a refresh or a check failed in a row that this transaction has locked.

    Args:
        tx: The transaction.
        row: The row as it is now.
        attempts: Days with a failure, this one included.
        unanswered_at: Since when a refresh is out that may have been answered after all.
        upkeep_at: When to look after the credentials next.
    """
    values = {
        "refresh_attempts": attempts,
        "last_refresh_failure_at": tx.now,
        "refresh_unanswered_at": unanswered_at,
        "upkeep_at": upkeep_at,
        "updated_at": tx.now,
    }
    await _change(tx, row, values)


async def store_healed(tx: Tx, row: RefreshRow) -> None:
    """Store that earlier failures are over in a row that this transaction has locked."""
    await _change(tx, row, _HEALED)


_HEALED: dict[str, Any] = {
    "refresh_attempts": 0,
    "last_refresh_failure_at": None,
    "error_operation_id": None,
}


async def _change(tx: Tx, row: RefreshRow, values: Mapping[str, Any]) -> None:
    await tx.execute(update(connections).where(connections.c.id == row.row_id).values(**values))


def read_row(row: Row[Any]) -> RefreshRow:
    """Read `COLUMNS`."""
    return RefreshRow(
        row_id=row.id,
        environment_id=row.environment_id,
        integration_row_id=row.integration_row_id,
        integration_id=row.integration_id,
        provider=row.provider,
        connection_id=row.connection_id,
        state=ConnectionState(row.state),
        error_cause=ErrorCause(row.error_cause) if row.error_cause else None,
        generation=row.generation,
        credential_set=row.credential_set,
        auth_mode=row.auth_mode,
        credentials=row.credentials,
        connection_config=row.connection_config,
        refresh_attempts=row.refresh_attempts,
        last_refresh_failure_at=row.last_refresh_failure_at,
        credentials_expires_at=row.credentials_expires_at,
        refresh_owner=row.refresh_owner,
        refresh_until=row.refresh_until,
        refresh_unanswered_at=row.refresh_unanswered_at,
        last_fetched_at=row.last_fetched_at,
        last_refresh_success_at=row.last_refresh_success_at,
        created_at=row.created_at,
        upkeep_at=row.upkeep_at,
    )
