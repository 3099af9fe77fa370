"""SQL of notifications: written with what they tell of, claimed by whoever sends them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Table,
    and_,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.sql.expression import FromClause

from carrick.store.tables import notifications
from carrick.store.unit import Tx

WAITING = "waiting"
DELIVERED = "delivered"
FAILED = "failed"


@dataclass(frozen=True)
class StoredNotification:
    """A notification for one address, and how far it got."""

    id: str
    environment_id: int
    connection_row_id: int | None
    kind: str
    url: str
    body: str
    state: str
    attempt: int
    due_at: datetime
    last_answer: Mapping[str, Any] | None
    sequence: int
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class Claim:
    """Who takes due notifications, and until when nobody else may."""

    owner: str
    now: datetime
    held_until: datetime


@dataclass(frozen=True)
class Attempted:
    """What became of one attempt: delivered, failed for good, or waiting until `due_at`."""

    state: str
    attempt: int
    due_at: datetime
    last_answer: Mapping[str, Any]
    finished_at: datetime | None


def _read(row: Row[Any]) -> StoredNotification:
    return StoredNotification(
        id=row.id,
        environment_id=row.environment_id,
        connection_row_id=row.connection_row_id,
        kind=row.kind,
        url=row.url,
        body=row.body,
        state=row.state,
        attempt=row.attempt,
        due_at=row.due_at,
        last_answer=row.last_answer,
        sequence=row.sequence,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


def _is_waiting(table: FromClause) -> ColumnElement[bool]:
    # A literal, so that the partial index serves a prepared statement as well.
    return table.c.state == literal_column("'waiting'")


async def insert_notification(tx: Tx, values: Mapping[str, Any]) -> None:
    """Store a notification that is due now, behind the earlier ones of its connection."""
    sequence: Any = 0
    if values["connection_row_id"] is not None:
        sequence = (
            select(func.coalesce(func.max(notifications.c.sequence), 0) + 1)
            .where(notifications.c.connection_row_id == values["connection_row_id"])
            .scalar_subquery()
        )
    await tx.execute(
        insert(notifications).values(
            {
                **values,
                "state": WAITING,
                "attempt": 0,
                "due_at": tx.now,
                "sequence": sequence,
                "created_at": tx.now,
            }
        )
    )


async def is_any_due(tx: Tx, now: datetime) -> bool:
    """Whether a claim could find anything."""
    statement = select(exists().where(*_is_claimable(notifications, now)))
    return bool(await tx.scalar(statement))


async def claim(tx: Tx, by: Claim, limit: int) -> list[StoredNotification]:
    """Take due notifications; one waits for the earlier ones of its connection and address."""
    table = notifications
    statement = (
        select(table)
        .where(*_is_claimable(table, by.now))
        .order_by(table.c.due_at, table.c.sequence)
        .limit(limit)
        .with_for_update(skip_locked=True, of=table)
    )
    rows = await tx.rows(statement)
    if rows:
        await tx.execute(
            update(table)
            .where(table.c.id.in_([row.id for row in rows]))
            .values(owner=by.owner, held_until=by.held_until)
        )
    return [_read(row) for row in rows]


def _is_claimable(table: Table, now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        _is_waiting(table),
        table.c.due_at <= now,
        or_(table.c.held_until.is_(None), table.c.held_until <= now),
        ~_has_earlier(table),
    )


def _has_earlier(table: Table) -> ColumnElement[bool]:
    earlier = table.alias("earlier")
    return exists().where(
        earlier.c.connection_row_id == table.c.connection_row_id,
        earlier.c.sequence < table.c.sequence,
        earlier.c.url == table.c.url,
        _is_waiting(earlier),
    )


async def next_due(tx: Tx, now: datetime) -> datetime | None:
    """Return when the next notification becomes due, after now."""
    statement = select(func.min(notifications.c.due_at)).where(
        _is_waiting(notifications), notifications.c.due_at > now
    )
    due: datetime | None = await tx.scalar(statement)
    return due


async def conclude(tx: Tx, notification_id: str, owner: str, result: Attempted) -> bool:
    """Write what became of an attempt and let go; whether the claim was still ours."""
    table = notifications
    statement = (
        update(table)
        .where(and_(table.c.id == notification_id, table.c.owner == owner))
        .values(
            state=result.state,
            attempt=result.attempt,
            due_at=result.due_at,
            last_answer=dict(result.last_answer),
            finished_at=result.finished_at,
            owner=None,
            held_until=None,
        )
    )
    return await tx.changed(statement) > 0


async def release_all(tx: Tx) -> None:
    """Void every claim: for a store that one process uses, at its start."""
    table = notifications
    await tx.execute(
        update(table)
        .where(_is_waiting(table), table.c.owner.is_not(None))
        .values(owner=None, held_until=None)
    )


async def list_for(
    tx: Tx, environment_id: int, *, states: Sequence[str], limit: int
) -> list[StoredNotification]:
    """Return an environment's notifications, newest first."""
    table = notifications
    statement = select(table).where(table.c.environment_id == environment_id)
    if states:
        statement = statement.where(table.c.state.in_(states))
    statement = statement.order_by(table.c.created_at.desc(), table.c.sequence.desc())
    return [_read(row) for row in await tx.rows(statement.limit(limit))]
