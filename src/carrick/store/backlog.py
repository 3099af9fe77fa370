"""SQL of what is still to be done, in numbers, for whoever watches a server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import String, case, func, literal_column, select

from carrick.store.events import EventState
from carrick.store.tables import lifecycle_events, notifications
from carrick.store.unit import Store, Tx

#: Written out, because SQLite uses a partial index only where it sees its condition.
_WAITING, _RUNNING, _PARKED = (
    literal_column(f"'{state.value}'", String)
    for state in (EventState.WAITING, EventState.RUNNING, EventState.PARKED)
)


@dataclass(frozen=True)
class EventCount:
    """How many events of one kind are in one state."""

    environment_id: int
    event: str
    state: str
    count: int
    #: When the first of them was, or will be, due; `None` where that means nothing.
    due_at: datetime | None


@dataclass(frozen=True)
class NotificationCount:
    """How many notifications wait to be sent."""

    environment_id: int
    count: int
    due_at: datetime


@dataclass(frozen=True)
class Backlog:
    """What is still to be done."""

    events: list[EventCount]
    notifications: list[NotificationCount]


async def count(store: Store) -> Backlog:
    """Count what is still to be done, in every environment.

    Raises:
        StoreUnavailable: The database does not answer.
    """

    async def unit(tx: Tx) -> Backlog:
        return Backlog(await _events(tx), await _notifications(tx))

    return await store.read(unit, scans=True)


async def _events(tx: Tx) -> list[EventCount]:
    """Count events that wait, run or are parked."""
    table = lifecycle_events.c
    kind = (table.environment_id, table.event, table.state)
    found: list[EventCount] = []
    for condition in (table.state.in_((_WAITING, _RUNNING)), table.state == _PARKED):
        statement = select(
            *kind,
            func.count().label("count"),
            # What runs, or waits for a person, is not late.
            func.min(case((table.state == _WAITING, table.due_at))).label("due_at"),
        )
        rows = await tx.rows(statement.where(condition).group_by(*kind))
        found += [EventCount(**row._mapping) for row in rows]
    return found


async def _notifications(tx: Tx) -> list[NotificationCount]:
    """Count notifications that were not delivered yet, per environment."""
    table = notifications.c
    statement = (
        select(
            table.environment_id,
            func.count().label("count"),
            func.min(table.due_at).label("due_at"),
        )
        .where(table.state == _WAITING)
        .group_by(table.environment_id)
    )
    return [NotificationCount(**row._mapping) for row in await tx.rows(statement)]
