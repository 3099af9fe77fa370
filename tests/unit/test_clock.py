"""The still clock wakes sleepers in order, and chance repeats itself."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime

import pytest

from carrick.testing.clock import FakeChance, FakeClock


async def test_time_moves_only_when_it_is_moved(clock: FakeClock) -> None:
    """Now and the monotonic seconds move together, by exactly what was said."""
    before = clock.now()
    await clock.advance(90)

    assert (clock.now() - before).total_seconds() == 90
    assert clock.monotonic() == 90


async def test_sleepers_wake_in_the_order_they_are_due(clock: FakeClock) -> None:
    """Each sleeper wakes at its own moment, whoever lay down first."""
    woken: list[tuple[float, float]] = []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, clock.monotonic()))

    async with asyncio.TaskGroup() as tasks:
        for seconds in (3, 1, 2):
            tasks.create_task(sleeper(seconds))
        await clock.wait_for_sleepers(3)
        await clock.advance(10)

    assert woken == [(1, 1), (2, 2), (3, 3)]


async def test_a_sleeper_that_sleeps_again_is_woken_again(clock: FakeClock) -> None:
    """A loop runs as often as it would have in the time that passed."""
    rounds = 0

    async def loop() -> None:
        nonlocal rounds
        while True:
            await clock.sleep(1)
            rounds += 1

    task = asyncio.create_task(loop())
    await clock.wait_for_sleepers()
    await clock.advance(5)
    task.cancel()
    await asyncio.wait({task})

    assert rounds == 5


async def test_a_cancelled_sleeper_is_forgotten(clock: FakeClock) -> None:
    """Moving the clock past a sleeper that was cancelled does nothing."""
    task = asyncio.create_task(clock.sleep(1))
    await clock.wait_for_sleepers()
    task.cancel()
    await asyncio.wait({task})
    await clock.advance(2)

    assert clock.sleepers == 0


def test_a_clock_does_not_run_backwards(clock: FakeClock) -> None:
    """It can be set to a later moment only."""
    clock.set(datetime(2026, 2, 1, tzinfo=UTC))
    assert clock.now() == datetime(2026, 2, 1, tzinfo=UTC)

    with pytest.raises(ValueError, match="backwards"):
        clock.set(datetime(2026, 1, 1, tzinfo=UTC))


def test_chance_repeats_itself() -> None:
    """The same seed gives the same values in the same order, another one others."""
    first, second, other = FakeChance(), FakeChance(), FakeChance(seed=1)

    assert [first.token_hex(8), first.uuid4()] == [second.token_hex(8), second.uuid4()]
    assert first.token_hex(8) != other.token_hex(8)
    assert uuid.UUID(first.uuid4()).version == 4


def test_chance_leans_where_it_is_told() -> None:
    """A spread lands in the middle unless told otherwise."""
    assert FakeChance().spread(10, 0.2) == 10
    assert FakeChance(lean=1).spread(10, 0.2) == 12
    assert FakeChance(lean=-1).spread(10, 0.2) == 8
