"""What tests of a port are run against: each backend in turn."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta

import pytest

from carrick.engine import EmbeddedEngine, PostgresEngine, install_schema
from carrick.lifecycle.turns import Turns
from carrick.store.mailboxes import Mailbox
from carrick.store.unit import Store, Tx
from carrick.testing.clock import FakeClock

Engine = EmbeddedEngine | PostgresEngine


class Mailboxes:
    """Stands for the mailboxes: remembers what was drained, and holds drains up on request."""

    def __init__(self) -> None:
        self.drained: list[int] = []
        self.due: list[int] = []
        self.failing: set[int] = set()
        self.active: Counter[int] = Counter()
        self.most_at_once = 0
        self.overlapped = False
        self.cancelled: list[int] = []
        self.open = asyncio.Event()
        self.open.set()

    async def drain(self, connection_row_id: int) -> None:
        """Record that a mailbox was drained, while nothing holds it up."""
        self.active[connection_row_id] += 1
        self.overlapped |= self.active[connection_row_id] > 1
        self.most_at_once = max(self.most_at_once, self.active.total())
        try:
            if connection_row_id in self.failing:
                raise RuntimeError("this drain fails")
            await self.open.wait()
            if connection_row_id in self.due:
                self.due.remove(connection_row_id)
            self.drained.append(connection_row_id)
        except asyncio.CancelledError:
            self.cancelled.append(connection_row_id)
            raise
        finally:
            self.active[connection_row_id] -= 1

    async def find(self, most: int) -> list[Mailbox]:
        """Return what is due, as if all were of one integration."""
        return [Mailbox(connection, 1) for connection in self.due[:most]]


@pytest.fixture
def mailboxes() -> Mailboxes:
    """Mailboxes that nothing is written to but what the test says."""
    return Mailboxes()


@pytest.fixture
def build_engine(store: Store, clock: FakeClock, mailboxes: Mailboxes) -> Callable[..., Engine]:
    """Build an engine for the store's database."""

    def build(*, node_id: str = "node-1", concurrency: int = 64) -> Engine:
        if store.is_postgres:
            return PostgresEngine(
                store,
                drain=mailboxes.drain,
                due=mailboxes.find,
                clock=clock,
                node_id=node_id,
                turns=Turns(clock, places=concurrency),
                dequeue_timeout_s=0.2,
            )
        return EmbeddedEngine(
            drain=mailboxes.drain,
            due=mailboxes.find,
            clock=clock,
            node_id=node_id,
            turns=Turns(clock, places=concurrency),
        )

    return build


@pytest.fixture
async def engine(store: Store, build_engine: Callable[..., Engine]) -> AsyncIterator[Engine]:
    """A running engine."""
    await install_schema(store)
    built = build_engine()
    await built.start()
    yield built
    await built.stop(limit_s=0)


@pytest.fixture
def wake(store: Store) -> Callable[..., object]:
    """Write an event's wake-up in a transaction of its own."""

    async def write(
        engine: Engine,
        connection_row_id: int,
        *,
        event_id: int = 1,
        attempt: int = 1,
        in_s: float = 0,
    ) -> None:
        async def unit(tx: Tx) -> None:
            due_at: datetime = tx.now + timedelta(seconds=in_s)
            await engine.wake_in(
                tx,
                Mailbox(connection_row_id, 1),
                event_id=event_id,
                attempt=attempt,
                due_at=due_at,
            )

        await store.write(unit)

    return write
