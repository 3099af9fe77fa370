"""SQL of lifecycle events: one row per event and function, the mailbox of each connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, bindparam, exists, func, insert, literal_column, or_, select, update

from carrick.model.event import Event, Occasion
from carrick.store.mailboxes import Mailbox
from carrick.store.tables import connections, lifecycle_events
from carrick.store.unit import Tx


class EventState(StrEnum):
    """Where one event of one function is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    PARKED = "parked"
    SUPERSEDED = "superseded"


UNFINISHED = (EventState.WAITING.value, EventState.RUNNING.value)


@dataclass(frozen=True)
class NewEvent:
    """An event about to be written."""

    event: Event
    function: str
    occasion: Occasion
    run_id: str
    operation_id: str
    previous: bytes | None = None


@dataclass(frozen=True)
class EventRow:
    """An event as it stands."""

    id: int
    environment_id: int
    integration_row_id: int
    connection_row_id: int
    event: Event
    function: str
    occasion: Occasion
    position: int
    state: EventState
    run_id: str
    #: Failures of the function's own so far; the attempt under way is this plus one.
    attempt: int
    interruptions: int
    last_chance: bool
    due_at: datetime
    first_started_at: datetime | None
    previous: bytes | None
    error_kind: str | None
    error_message: str | None
    operation_id: str
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None

    @property
    def is_unfinished(self) -> bool:
        """Whether it still has to run."""
        return self.state.value in UNFINISHED


_COLUMNS = [
    lifecycle_events.c[name]
    for name in EventRow.__dataclass_fields__  # the row class names its columns
]


_LAST_POSITION = select(func.max(lifecycle_events.c.position)).where(
    lifecycle_events.c.connection_row_id == bindparam("connection")
)
_APPEND = insert(lifecycle_events).returning(*_COLUMNS)
_GET = select(*_COLUMNS).where(lifecycle_events.c.id == bindparam("event_row"))
_CHANGE = update(lifecycle_events).where(lifecycle_events.c.id == bindparam("event_row"))
_HEAD = (
    select(*_COLUMNS)
    .where(
        lifecycle_events.c.connection_row_id == bindparam("connection"),
        lifecycle_events.c.state.in_([literal_column(f"'{state}'") for state in UNFINISHED]),
    )
    .order_by(lifecycle_events.c.position, lifecycle_events.c.id)
    .limit(1)
)


def _read(row: Row[Any]) -> EventRow:
    values = dict(row._mapping)
    values["event"] = Event(values["event"])
    values["occasion"] = Occasion(values["occasion"])
    values["state"] = EventState(values["state"])
    return EventRow(**values)


async def write(
    tx: Tx,
    *,
    environment_id: int,
    integration_row_id: int,
    connection_row_id: int,
    events: Sequence[NewEvent],
) -> list[EventRow]:
    """Append events to a connection's mailbox, due now, in the order given.

    The caller holds the connection's row (it changed its state in this transaction), so positions
    cannot collide.
    """
    last = await tx.scalar(_LAST_POSITION, {"connection": connection_row_id})
    position = int(last or 0)
    written = []
    for new in events:
        position += 1
        values = {
            "environment_id": environment_id,
            "integration_row_id": integration_row_id,
            "connection_row_id": connection_row_id,
            "event": new.event.value,
            "function": new.function,
            "occasion": new.occasion.value,
            "position": position,
            "state": EventState.WAITING.value,
            "run_id": new.run_id,
            "due_at": tx.now,
            "previous": new.previous,
            "operation_id": new.operation_id,
            "created_at": tx.now,
            "updated_at": tx.now,
        }
        row = await tx.row(_APPEND, values)
        assert row is not None
        written.append(_read(row))
    return written


async def get(tx: Tx, event_id: int) -> EventRow | None:
    """Return one event."""
    row = await tx.row(_GET, {"event_row": event_id})
    return _read(row) if row is not None else None


async def by_operation(tx: Tx, environment_id: int, operation_id: str) -> EventRow | None:
    """Return the event an operation tells of."""
    row = await tx.row(
        select(*_COLUMNS).where(
            lifecycle_events.c.environment_id == environment_id,
            lifecycle_events.c.operation_id == operation_id,
        )
    )
    return _read(row) if row is not None else None


async def head(tx: Tx, connection_row_id: int) -> EventRow | None:
    """Return the first event of a mailbox that is not finished."""
    row = await tx.row(_HEAD, {"connection": connection_row_id})
    return _read(row) if row is not None else None


async def of_connection(
    tx: Tx, connection_row_id: int, event: Event | None = None
) -> list[EventRow]:
    """Return a connection's events in order."""
    statement = select(*_COLUMNS).where(lifecycle_events.c.connection_row_id == connection_row_id)
    if event is not None:
        statement = statement.where(lifecycle_events.c.event == event.value)
    statement = statement.order_by(lifecycle_events.c.position, lifecycle_events.c.id)
    return [_read(row) for row in await tx.rows(statement)]


async def change(tx: Tx, event_id: int, **values: Any) -> None:
    """Write columns of one event."""
    await tx.execute(_CHANGE, {"event_row": event_id, "updated_at": tx.now, **values})


async def due_mailboxes(tx: Tx, most: int) -> list[Mailbox]:
    """Return mailboxes whose first unfinished event is due and that nobody holds.

    Args:
        tx: The transaction.
        most: How many of each integration, the longest due first.
    """
    earlier = lifecycle_events.alias("earlier")
    place = func.row_number().over(
        partition_by=lifecycle_events.c.integration_row_id, order_by=lifecycle_events.c.due_at
    )
    found = (
        select(
            lifecycle_events.c.connection_row_id,
            lifecycle_events.c.integration_row_id,
            place.label("place"),
        )
        .join(connections, connections.c.id == lifecycle_events.c.connection_row_id)
        .where(
            lifecycle_events.c.state.in_(UNFINISHED),
            lifecycle_events.c.due_at <= tx.now,
            or_(connections.c.mailbox_owner.is_(None), connections.c.mailbox_until < tx.now),
            ~exists().where(
                earlier.c.connection_row_id == lifecycle_events.c.connection_row_id,
                earlier.c.position < lifecycle_events.c.position,
                earlier.c.state.in_(UNFINISHED),
            ),
        )
        .subquery()
    )
    statement = select(found).where(found.c.place <= most).order_by(found.c.place)
    return [
        Mailbox(row.connection_row_id, row.integration_row_id) for row in await tx.rows(statement)
    ]


@dataclass(frozen=True)
class CleanupRow:
    """A cleanup that is not done, with the connection it belongs to."""

    event: EventRow
    connection_id: str
    integration_id: str


async def unfinished_cleanups(
    tx: Tx,
    environment_id: int,
    *,
    limit: int,
    after: int | None = None,
    only_parked: bool = False,
    only_id: int | None = None,
) -> list[CleanupRow]:
    """Return cleanups that wait, run or are parked; parked ones are what a person looks for."""
    states = (EventState.PARKED.value,) if only_parked else (*UNFINISHED, EventState.PARKED.value)
    statement = (
        select(*_COLUMNS, connections.c.connection_id, connections.c.integration_id)
        .join(connections, connections.c.id == lifecycle_events.c.connection_row_id)
        .where(
            lifecycle_events.c.environment_id == environment_id,
            lifecycle_events.c.event == Event.PRE_CONNECTION_DELETION.value,
            lifecycle_events.c.state.in_(states),
        )
        .order_by(lifecycle_events.c.id)
        .limit(limit)
    )
    if only_id is not None:
        statement = statement.where(lifecycle_events.c.id == only_id)
    if after is not None:
        statement = statement.where(lifecycle_events.c.id > after)
    found = []
    for row in await tx.rows(statement):
        values = dict(row._mapping)
        public = {name: values.pop(name) for name in ("connection_id", "integration_id")}
        values["event"] = Event(values["event"])
        values["occasion"] = Occasion(values["occasion"])
        values["state"] = EventState(values["state"])
        found.append(CleanupRow(event=EventRow(**values), **public))
    return found
