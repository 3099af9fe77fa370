"""How one node bounds and orders its drains, and how its sweep paces itself."""

from __future__ import annotations

import asyncio

import pytest

from carrick.engine.drains import Drains
from carrick.engine.sweep import Sweep
from carrick.lifecycle.turns import OTHERS_FIRST_S, OUTAGE_AFTER, Turns
from carrick.model.event import ProviderFailed
from carrick.store.mailboxes import Mailbox
from carrick.testing.clock import FakeClock


class Gate:
    """A drain that stops at a gate until it is opened."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.open = asyncio.Event()

    async def drain(self, connection_row_id: int) -> None:
        """Record the call and wait for the gate."""
        self.begun.append(connection_row_id)
        await self.open.wait()


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_wake_up_during_a_drain_is_followed_by_one_more_look(clock: FakeClock) -> None:
    """Any number of wake-ups that arrive during a drain cause exactly one more."""
    gate = Gate()
    drains = Drains(gate.drain, Turns(clock, places=4), clock)
    first = asyncio.create_task(drains.run(Mailbox(7, 1)))
    await _settle()
    for _ in range(3):
        await drains.run(Mailbox(7, 1))
    gate.open.set()
    await first

    assert gate.begun == [7, 7]
    assert drains.count == 0


async def test_whoever_waits_for_a_drain_may_leave_without_ending_it(clock: FakeClock) -> None:
    """Cancelling the wake-up that began a drain leaves the drain running."""
    gate = Gate()
    drains = Drains(gate.drain, Turns(clock, places=4), clock)
    wake_up = asyncio.create_task(drains.run(Mailbox(7, 1)))
    await _settle()
    wake_up.cancel()
    await _settle()
    assert drains.count == 1

    gate.open.set()
    await _settle()
    assert drains.count == 0


async def test_a_cancelled_drain_is_forgotten(clock: FakeClock) -> None:
    """A connection whose drain was cancelled can be drained again."""
    gate = Gate()
    drains = Drains(gate.drain, Turns(clock, places=4), clock)
    wake_up = asyncio.create_task(drains.run(Mailbox(7, 1)))
    await _settle()
    drains.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wake_up
    gate.open.set()
    await drains.run(Mailbox(7, 1))

    assert gate.begun == [7, 7]


async def test_finishing_without_drains_takes_no_time(clock: FakeClock) -> None:
    """There is nothing to wait for when nothing is running."""
    await Drains(Gate().drain, Turns(clock, places=4), clock).finish(30)

    assert clock.sleepers == 0


async def test_due_mailboxes_that_make_no_progress_wait_for_the_next_sweep(
    clock: FakeClock,
) -> None:
    """When everything due stays due the sweep pauses, although it has no room for all of it."""
    begun: list[int] = []

    async def drain(connection_row_id: int) -> None:
        begun.append(connection_row_id)
        raise RuntimeError("no progress")

    async def due(most: int) -> list[Mailbox]:
        return [Mailbox(connection, 1) for connection in (1, 2, 3)]

    drains = Drains(drain, Turns(clock, places=1), clock)
    sweep = asyncio.create_task(Sweep(due, drains, clock=clock, interval_s=2).run())
    await clock.wait_for_sleepers()
    await _settle()
    assert begun == [1, 2, 3]
    await clock.advance(2)
    await _settle()
    assert begun == [1, 2, 3, 1, 2, 3]
    sweep.cancel()
    await asyncio.wait({sweep})
    await _settle()


class _RunningClock(FakeClock):
    """A clock that goes on a little whenever it is read, as clocks do."""

    def monotonic(self) -> float:
        self.move(1e-4)
        return super().monotonic()


async def test_a_wait_that_is_over_while_it_is_judged_is_no_wait(clock: FakeClock) -> None:
    """A pause that ends between being told to wait and asking for how long ends all the same.

    A timer may come back a moment early, and then each of the two sees another side of the end.
    """
    drained: list[int] = []

    async def drain(connection_row_id: int) -> None:
        drained.append(connection_row_id)

    running_clock = _RunningClock()
    for early_s in [step * 0.5e-4 for step in range(12)]:
        turns = Turns(running_clock)
        tell_of_an_outage(turns)
        wait_s = turns.opens_in(1)
        assert wait_s is not None
        running_clock.move(wait_s - early_s)
        drains = Drains(drain, turns, running_clock)
        drained.clear()
        drains.offer(Mailbox(7, 1))
        running_clock.move(early_s)
        for _ in range(20):
            await asyncio.sleep(0)
            running_clock.move(1e-4)
        assert drained == [7], f"{early_s} s early"


def tell_of_an_outage(turns: Turns) -> None:
    """Have as many connections fail as make an outage."""
    for connection in range(OUTAGE_AFTER):
        turns.note(1, connection, ProviderFailed(503, "unavailable"))


async def test_what_got_no_answer_here_is_offered_again_by_the_sweep(clock: FakeClock) -> None:
    """A mailbox that is left to other nodes is not begun, and not forgotten."""
    gate = Gate()
    turns = Turns(clock, places=4, has_others=True)
    drains = Drains(gate.drain, turns, clock)
    turns.note(1, 7, ProviderFailed(None, "no route"))

    await drains.run(Mailbox(7, 1))
    assert not drains.offer(Mailbox(7, 1))
    assert gate.begun == []
    clock.move(OTHERS_FIRST_S)
    assert drains.offer(Mailbox(7, 1))
    gate.open.set()
    await _settle()
    assert gate.begun == [7]
