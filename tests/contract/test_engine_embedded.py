"""What holds for the embedded engine alone."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.contract.conftest import Mailboxes

from carrick.engine import EmbeddedEngine
from carrick.engine.queue import WakeUp
from carrick.testing.clock import FakeClock


@pytest.fixture
async def embedded(mailboxes: Mailboxes, clock: FakeClock) -> AsyncIterator[EmbeddedEngine]:
    """A running embedded engine without a store."""
    engine = EmbeddedEngine(
        drain=mailboxes.drain, due=mailboxes.find, clock=clock, node_id="node-1"
    )
    await engine.start()
    yield engine
    await engine.stop()


async def test_memory_stays_flat_however_many_events_pass(
    embedded: EmbeddedEngine,
    mailboxes: Mailboxes,
    eventually: Callable[[Callable[[], bool]], Awaitable[None]],
) -> None:
    """Nothing is kept of a wake-up that was followed."""

    async def pass_through(first: int, count: int) -> None:
        for number in range(first, first + count):
            embedded._wake(WakeUp(number, number, 1))
        await eventually(lambda: len(mailboxes.drained) == count)
        await eventually(lambda: not embedded._queries._jobs)
        mailboxes.drained.clear()
        mailboxes.active.clear()
        gc.collect()

    await pass_through(0, 500)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    await pass_through(500, 2000)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert after - before < 200_000  # a row of the adapter's log for each step would be 2 MB
