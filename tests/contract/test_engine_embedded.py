"""What holds for the embedded engine alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sized

import pytest
from tests.contract.conftest import Mailboxes

from carrick.engine import EmbeddedEngine
from carrick.engine.queue import WakeUp
from carrick.lifecycle.turns import Turns
from carrick.store.mailboxes import Mailbox
from carrick.testing.clock import FakeClock


@pytest.fixture
async def embedded(mailboxes: Mailboxes, clock: FakeClock) -> AsyncIterator[EmbeddedEngine]:
    """A running embedded engine without a store."""
    engine = EmbeddedEngine(
        drain=mailboxes.drain,
        due=mailboxes.find,
        clock=clock,
        node_id="node-1",
        turns=Turns(clock),
    )
    await engine.start()
    yield engine
    await engine.stop()


async def test_nothing_is_kept_of_a_wake_up_that_was_followed(
    embedded: EmbeddedEngine,
    mailboxes: Mailboxes,
    eventually: Callable[[Callable[[], bool]], Awaitable[None]],
) -> None:
    """However many events pass, neither the engine nor the adapter's tables grow."""
    mailboxes.due = list(range(3000))
    for number in range(3000):
        embedded._wake(WakeUp(Mailbox(number, 1), number, 1))

    await eventually(lambda: len(set(mailboxes.drained)) == 3000)
    await eventually(lambda: not embedded._queries._jobs)
    holders = (embedded, embedded._queries, embedded._manager, embedded._drains)
    sizes = {
        f"{type(holder).__name__}.{name}": len(value)
        for holder in holders
        for name, value in vars(holder).items()
        if isinstance(value, Sized)
    }
    # A row of the adapter's log for every step would be 9000.
    assert {name: size for name, size in sizes.items() if size > 500} == {}
