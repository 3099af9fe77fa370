"""SQL of forgetting: what nobody will ask for again, a bounded number of rows at a time."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Select, Table, delete, or_, select

from carrick.model.connection import ConnectionState, SetupState
from carrick.store.connections import USABLE
from carrick.store.events import UNFINISHED, EventState
from carrick.store.tables import (
    connections,
    journal_entries,
    lifecycle_events,
    notification_attempts,
    notifications,
    oauth_states,
    operation_messages,
    operations,
)
from carrick.store.unit import Tx

#: Rows that one unit removes at most, so that nobody else's writes wait long.
BATCH = 500


async def forget_operations(tx: Tx, before: datetime) -> int:
    """Forget operations that ended before a moment, with their messages.

    What somebody can still run again, or a broken connection points at, is kept: parked cleanups
    and, while their connection shows it, failed setups.
    """
    held = select(lifecycle_events.c.operation_id).where(
        lifecycle_events.c.state.in_((*UNFINISHED, EventState.PARKED.value))
    )
    failed = (
        select(lifecycle_events.c.operation_id)
        .join(connections, connections.c.id == lifecycle_events.c.connection_row_id)
        .where(
            lifecycle_events.c.state == EventState.FAILED.value,
            connections.c.setup == SetupState.FAILED.value,
            connections.c.state.in_(USABLE),
        )
    )
    shown = select(connections.c.error_operation_id).where(
        connections.c.error_operation_id.is_not(None)
    )
    old = (
        select(operations.c.id)
        .where(
            operations.c.ended_at < before,
            operations.c.id.not_in(held),
            operations.c.id.not_in(failed),
            operations.c.id.not_in(shown),
        )
        .limit(BATCH)
    )
    ids = [row.id for row in await tx.rows(old)]
    if ids:
        await tx.execute(
            delete(operation_messages).where(operation_messages.c.operation_id.in_(ids))
        )
        await tx.execute(delete(operations).where(operations.c.id.in_(ids)))
    return len(ids)


async def forget_notifications(tx: Tx, before: datetime) -> int:
    """Forget notifications whose delivery ended, either way, before a moment."""
    old = select(notifications.c.id).where(notifications.c.finished_at < before).limit(BATCH)
    ids = [row.id for row in await tx.rows(old)]
    if ids:
        attempts = notification_attempts
        await tx.execute(delete(attempts).where(attempts.c.notification_id.in_(ids)))
        await tx.execute(delete(notifications).where(notifications.c.id.in_(ids)))
    return len(ids)


async def forget_journal(tx: Tx, before: datetime) -> int:
    """Forget writes of candidates that became nothing, and of connections that are gone."""
    gone = select(connections.c.id).where(connections.c.state == ConnectionState.GONE.value)
    return await _forget(
        tx,
        journal_entries,
        select(journal_entries.c.id).where(
            journal_entries.c.updated_at < before,
            or_(
                journal_entries.c.connection_row_id.is_(None),
                journal_entries.c.connection_row_id.in_(gone),
            ),
        ),
    )


async def forget_oauth_states(tx: Tx, before: datetime) -> int:
    """Forget flows that went to a provider and could have come back until a moment."""
    old = select(oauth_states.c.hash).where(oauth_states.c.expires_at < before).limit(BATCH)
    hashes = [row.hash for row in await tx.rows(old)]
    if hashes:
        await tx.execute(delete(oauth_states).where(oauth_states.c.hash.in_(hashes)))
    return len(hashes)


async def _forget(tx: Tx, table: Table, old: Select[tuple[int]]) -> int:
    ids = [row[0] for row in await tx.rows(old.limit(BATCH))]
    if ids:
        await tx.execute(delete(table).where(table.c.id.in_(ids)))
    return len(ids)
