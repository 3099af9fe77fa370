"""The one time that all nodes of a database go by, and what a step of it must not leave behind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import func, select, update

from carrick.errors import StoreUnavailable
from carrick.model.clock import Clock
from carrick.store.events import UNFINISHED
from carrick.store.mailboxes import LEASE_S
from carrick.store.tables import connections, lifecycle_events, notifications
from carrick.store.unit import Store, Tx

#: Seconds between two looks at the database's clock.
_LOOK_S = 10.0
#: An answer that took longer says too little of the moment it was given at.
_LONGEST_ANSWER_S = 0.5
#: How far a machine's clock may be off before it is worth a line.
_WORTH_TELLING = timedelta(seconds=5)
#: What is dated further ahead than this was written under a clock that has been set back.
_AHEAD = timedelta(seconds=60)

_log = structlog.get_logger("carrick.store")


class DatabaseClock:
    """The time of a Postgres server, on every node that works with it.

    Leases and due times are written by one node and judged by another, so a node whose own clock is
    off would take work away from others, or leave it lying. Between two looks at the database's
    clock time is carried on by what cannot be set.
    """

    def __init__(self, inner: Clock) -> None:
        self._inner = inner
        self._known: tuple[datetime, float] | None = None
        self._told = timedelta()

    def now(self) -> datetime:
        """Return the present moment, aware and in UTC."""
        if self._known is None:
            return self._inner.now()
        moment, at = self._known
        return moment + timedelta(seconds=self._inner.monotonic() - at)

    def monotonic(self) -> float:
        """Return seconds that never run backwards."""
        return self._inner.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Come back after that many seconds."""
        await self._inner.sleep(seconds)

    async def look(self, store: Store) -> None:
        """Look at the database's clock.

        Raises:
            StoreUnavailable: It does not answer.
        """

        async def unit(tx: Tx) -> tuple[datetime, float, float]:
            asked = self._inner.monotonic()
            moment: datetime = await tx.scalar(select(func.clock_timestamp()))
            return moment.astimezone(UTC), asked, self._inner.monotonic()

        moment, asked, answered = await store.read(unit)
        if answered - asked > _LONGEST_ANSWER_S and self._known is not None:
            return
        self._known = (moment, (asked + answered) / 2)
        self._tell()

    async def follow(self, store: Store) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self._inner.sleep(_LOOK_S)
            try:
                await self.look(store)
            except StoreUnavailable as error:  # time goes on without it
                _log.debug("clock_not_read", reason=error.message)

    def _tell(self) -> None:
        off = self._inner.now() - self.now()
        if abs(off - self._told) >= _WORTH_TELLING:
            self._told = off
            _log.warning("clock_differs", ahead_of_database_s=round(off.total_seconds(), 1))


async def bring_back(tx: Tx) -> int:
    """Make due now what a clock that has been set back has put off; return how much that is.

    An event says when it was written. A notification does not, and one sent early does no harm.
    """
    now = tx.now
    events = await tx.changed(
        update(lifecycle_events)
        .where(
            lifecycle_events.c.state.in_(UNFINISHED),
            lifecycle_events.c.due_at > now,
            lifecycle_events.c.updated_at > now + _AHEAD,
        )
        .values(due_at=now, updated_at=now)
    )
    waiting = notifications.c.state == "waiting"
    told = await tx.changed(
        update(notifications)
        .where(waiting, notifications.c.created_at > now + _AHEAD)
        .values(due_at=now, created_at=now)
    )
    await tx.execute(
        update(notifications)
        .where(waiting, notifications.c.held_until > now + _AHEAD)
        .values(held_until=now + _AHEAD)
    )
    return events + told


async def shorten_leases(tx: Tx) -> None:
    """End in a moment what would hold for hours; whoever lives renews it before."""
    now, ends = tx.now, tx.now + timedelta(seconds=LEASE_S)
    for until in (connections.c.mailbox_until, connections.c.refresh_until):
        await tx.execute(update(connections).where(until > now + _AHEAD).values({until: ends}))
    await tx.execute(
        update(connections)
        .where(connections.c.last_refresh_success_at > now + _AHEAD)
        .values(upkeep_at=now)
    )
