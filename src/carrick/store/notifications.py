"""SQL of notifications: written with what they tell of, claimed by whoever sends them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
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
    literal,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.sql.expression import FromClause

from carrick.store.tables import notification_attempts, notifications
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
    integration_id: str | None
    connection_id: str | None
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
class Room:
    """How many more may be under way, and how many at one address with those that already are."""

    in_all: int
    at_each: int
    in_use: Mapping[str, int]
    #: Addresses whose last delivery failed: one at a time is enough to see them recover.
    ailing: Set[str] = frozenset()

    def is_left(self, url: str, taken: int) -> bool:
        """Whether an address that has so many may have another."""
        return taken < (1 if url in self.ailing else self.at_each)

    def full(self, taken: Mapping[str, int]) -> list[str]:
        """Return the addresses that have all they may have."""
        return [url for url, count in taken.items() if not self.is_left(url, count)]


@dataclass(frozen=True)
class Attempted:
    """What became of one attempt: delivered, failed for good, or waiting until `due_at`."""

    state: str
    attempt: int
    due_at: datetime
    last_answer: Mapping[str, Any]
    finished_at: datetime | None


@dataclass(frozen=True)
class Attempt:
    """One attempt at delivery, as it is kept."""

    notification_id: str
    number: int
    at: datetime
    duration_ms: int
    status: int | None
    error: str | None
    answer: str | None


@dataclass(frozen=True)
class NotificationFilter:
    """What a list of notifications is narrowed to; everything given must hold."""

    states: Sequence[str] = ()
    kinds: Sequence[str] = ()
    connection_id: str | None = None
    integration_id: str | None = None
    #: Cursor: only notifications older than this one.
    before: str | None = None
    limit: int = 100


def _read(row: Row[Any]) -> StoredNotification:
    return StoredNotification(
        id=row.id,
        environment_id=row.environment_id,
        connection_row_id=row.connection_row_id,
        integration_id=row.integration_id,
        connection_id=row.connection_id,
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


async def is_any_due(tx: Tx, now: datetime, room: Room) -> bool:
    """Whether a claim could find anything."""
    full = room.full(room.in_use)
    is_due = exists().where(*_is_claimable(notifications, now), notifications.c.url.not_in(full))
    return bool(await tx.scalar(select(is_due)))


async def claim(tx: Tx, by: Claim, room: Room) -> list[StoredNotification]:
    """Take due notifications; one waits for the earlier ones of its connection and address.

    No address gets more than its share, so one that is slow or dead keeps nobody from the others.
    """
    ids = await _choose(tx, by.now, room)
    if not ids:
        return []
    table = notifications
    statement = (
        select(table)
        .where(table.c.id.in_(ids), *_is_claimable(table, by.now))
        .order_by(table.c.due_at, table.c.sequence)
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


async def extend(tx: Tx, owner: str, ids: Collection[str], held_until: datetime) -> None:
    """Keep what is being sent from everybody else for longer."""
    table = notifications
    await tx.execute(
        update(table)
        .where(table.c.id.in_(ids), table.c.owner == owner)
        .values(held_until=held_until)
    )


async def _choose(tx: Tx, now: datetime, room: Room) -> list[str]:
    table = notifications
    taken = Counter(room.in_use)
    chosen: list[str] = []
    full = room.full(taken)
    while len(chosen) < room.in_all:
        statement = (
            select(table.c.id, table.c.url)
            .where(*_is_claimable(table, now), table.c.id.not_in(chosen))
            .where(table.c.url.not_in(full))
            .order_by(table.c.due_at, table.c.sequence)
            .limit(room.in_all)
        )
        found = await tx.rows(statement)
        for row in found:
            if len(chosen) < room.in_all and room.is_left(row.url, taken[row.url]):
                taken[row.url] += 1
                chosen.append(row.id)
        before, full = len(full), room.full(taken)
        if len(found) < room.in_all or len(full) == before:
            break  # that is all there is, or nothing hid anything
    return chosen


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


async def insert_attempt(tx: Tx, attempt: Attempt) -> None:
    """Keep one attempt."""
    await tx.execute(insert(notification_attempts).values(asdict(attempt)))


async def attempts_of(tx: Tx, notification_id: str) -> list[Attempt]:
    """Return the attempts at one notification in order."""
    table = notification_attempts
    statement = select(table).where(table.c.notification_id == notification_id)
    return [Attempt(**row._mapping) for row in await tx.rows(statement.order_by(table.c.number))]


async def get(
    tx: Tx, environment_id: int, notification_id: str, *, lock: bool = False
) -> StoredNotification | None:
    """Return a notification of an environment; `lock` keeps others from it until commit."""
    statement = select(notifications).where(
        notifications.c.id == notification_id, notifications.c.environment_id == environment_id
    )
    row = await tx.row(statement.with_for_update() if lock else statement)
    return _read(row) if row is not None else None


async def send_again(tx: Tx, notification_id: str) -> None:
    """Make a notification due now that is waiting or was given up."""
    await tx.execute(
        update(notifications)
        .where(notifications.c.id == notification_id)
        .values(state=WAITING, due_at=tx.now, finished_at=None)
    )


async def list_for(
    tx: Tx, environment_id: int, wanted: NotificationFilter
) -> list[StoredNotification]:
    """Return an environment's notifications, newest first."""
    table = notifications
    statement = select(table).where(table.c.environment_id == environment_id)
    if wanted.states:
        statement = statement.where(table.c.state.in_(wanted.states))
    if wanted.kinds:
        statement = statement.where(table.c.kind.in_(wanted.kinds))
    if wanted.connection_id is not None:
        statement = statement.where(table.c.connection_id == wanted.connection_id)
    if wanted.integration_id is not None:
        statement = statement.where(table.c.integration_id == wanted.integration_id)
    if wanted.before is not None:
        last = await get(tx, environment_id, wanted.before)
        if last is None:
            return []
        place = tuple_(table.c.created_at, table.c.sequence, table.c.id)
        statement = statement.where(
            table.c.created_at <= last.created_at,  # the one that an index can serve
            place < tuple_(*_values(table, last)),
        )
    statement = statement.order_by(
        table.c.created_at.desc(), table.c.sequence.desc(), table.c.id.desc()
    )
    return [_read(row) for row in await tx.rows(statement.limit(wanted.limit))]


def _values(table: Table, last: StoredNotification) -> tuple[ColumnElement[Any], ...]:
    return (
        literal(last.created_at, table.c.created_at.type),
        literal(last.sequence, table.c.sequence.type),
        literal(last.id, table.c.id.type),
    )
