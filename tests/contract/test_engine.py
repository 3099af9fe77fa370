"""Both engines carry wake-ups alike: embedded beside SQLite, PgQueuer on Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import insert, select
from tests.contract.conftest import Engine, Mailboxes

from carrick.engine import install_schema
from carrick.store.mailboxes import Mailbox
from carrick.store.tables import store_facts
from carrick.store.unit import Store, Tx
from carrick.testing.clock import FakeClock

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]
Wake = Callable[..., Awaitable[None]]


async def test_a_committed_wake_up_is_followed(
    engine: Engine, mailboxes: Mailboxes, wake: Wake, eventually: Eventually
) -> None:
    """Once the transaction is durable the mailbox is drained."""
    await wake(engine, 7)

    await eventually(lambda: mailboxes.drained == [7])


async def test_a_wake_up_that_was_rolled_back_is_not_followed(
    engine: Engine, store: Store, mailboxes: Mailboxes, wake: Wake, eventually: Eventually
) -> None:
    """A transaction that fails takes its wake-up with it."""

    async def unit(tx: Tx) -> None:
        await engine.wake_in(tx, Mailbox(7, 1), event_id=1, attempt=1, due_at=tx.now)
        raise LookupError

    with pytest.raises(LookupError):
        await store.write(unit)
    await wake(engine, 8, event_id=2)

    await eventually(lambda: 8 in mailboxes.drained)
    assert mailboxes.drained == [8]


async def test_a_wake_up_written_twice_does_not_disturb_the_transaction(
    engine: Engine, store: Store, mailboxes: Mailboxes, eventually: Eventually
) -> None:
    """The same wake-up twice in one transaction is one, and what else it wrote is kept."""

    async def unit(tx: Tx) -> None:
        for _ in range(2):
            await engine.wake_in(tx, Mailbox(7, 1), event_id=1, attempt=1, due_at=tx.now)
        await tx.execute(insert(store_facts).values(name="kept", value="1"))

    async def kept(tx: Tx) -> str | None:
        value: str | None = await tx.scalar(
            select(store_facts.c.value).where(store_facts.c.name == "kept")
        )
        return value

    await store.write(unit)

    await eventually(lambda: mailboxes.drained == [7])
    assert await store.read(kept) == "1"


async def test_doubled_wake_ups_never_overlap(
    engine: Engine, mailboxes: Mailboxes, wake: Wake, eventually: Eventually
) -> None:
    """Many wake-ups for one connection drain it one at a time, and at least once after the last."""
    mailboxes.open.clear()
    await wake(engine, 7, event_id=1)
    await eventually(lambda: mailboxes.active[7] == 1)
    for event_id in range(2, 12):
        await wake(engine, 7, event_id=event_id)
    mailboxes.open.set()

    await eventually(lambda: len(mailboxes.drained) >= 2)
    assert not mailboxes.overlapped


async def test_mailboxes_that_are_due_at_the_start_are_found(
    store: Store, build_engine: Callable[..., Engine], mailboxes: Mailboxes, eventually: Eventually
) -> None:
    """What a crash left due is drained as soon as an engine starts, without any wake-up."""
    await install_schema(store)
    mailboxes.due = [3, 4]
    engine = build_engine()
    await engine.start()

    await eventually(lambda: sorted(mailboxes.drained) == [3, 4])
    await engine.stop()


async def test_a_lost_wake_up_is_found_by_the_sweep(
    engine: Engine, mailboxes: Mailboxes, clock: FakeClock, eventually: Eventually
) -> None:
    """A mailbox with something due that nobody announced is drained within the sweep's interval."""
    await clock.wait_for_sleepers()
    mailboxes.due = [5]
    await clock.advance(2)

    await eventually(lambda: mailboxes.drained == [5])


async def test_more_than_fits_at_a_time_is_swept_without_a_pause(
    store: Store, build_engine: Callable[..., Engine], mailboxes: Mailboxes, eventually: Eventually
) -> None:
    """After a crash with many due mailboxes the sweep goes on until none is left."""
    await install_schema(store)
    mailboxes.due = list(range(100))
    engine = build_engine(concurrency=8)
    await engine.start()

    await eventually(lambda: len(mailboxes.drained) == 100)
    await engine.stop()
    assert mailboxes.most_at_once <= 8


async def test_drains_are_bounded(
    store: Store,
    build_engine: Callable[..., Engine],
    mailboxes: Mailboxes,
    wake: Wake,
    eventually: Eventually,
) -> None:
    """However many wake-ups arrive, no more mailboxes are drained at a time than was said."""
    await install_schema(store)
    engine = build_engine(concurrency=4)
    await engine.start()
    await asyncio.gather(*(wake(engine, number, event_id=number) for number in range(40)))

    await eventually(lambda: len(set(mailboxes.drained)) == 40)
    await engine.stop()
    assert mailboxes.most_at_once <= 4


async def test_a_drain_that_fails_disturbs_nobody(
    engine: Engine, mailboxes: Mailboxes, wake: Wake, eventually: Eventually
) -> None:
    """An error of one drain is logged; the next wake-ups are followed as before."""
    mailboxes.failing = {6}
    await wake(engine, 6, event_id=1)
    await wake(engine, 7, event_id=2)
    await eventually(lambda: 7 in mailboxes.drained)
    mailboxes.failing.clear()
    await wake(engine, 6, event_id=1, attempt=2)

    await eventually(lambda: 6 in mailboxes.drained)


async def test_a_mailbox_that_keeps_failing_waits_for_the_next_sweep(
    engine: Engine, mailboxes: Mailboxes, clock: FakeClock
) -> None:
    """A due mailbox whose drain fails is tried once a sweep, not in a circle."""
    attempts = 0

    async def count(connection_row_id: int) -> None:
        nonlocal attempts
        attempts += 1
        raise RuntimeError("again")

    await clock.wait_for_sleepers()
    engine._drains._drain = count
    mailboxes.due = [6]
    await clock.advance(2)
    await clock.advance(2)

    assert attempts == 2


async def test_a_store_that_is_away_does_not_end_the_sweep(
    engine: Engine, mailboxes: Mailboxes, clock: FakeClock, eventually: Eventually
) -> None:
    """A sweep that fails is tried again."""
    await clock.wait_for_sleepers()

    async def away(most: int) -> list[Mailbox]:
        raise ConnectionError("away")

    engine._sweep._due = away
    await clock.advance(2)
    engine._sweep._due = mailboxes.find
    mailboxes.due = [5]
    await clock.advance(2)

    await eventually(lambda: mailboxes.drained == [5])


async def test_a_wake_up_waits_until_its_event_is_due(
    engine: Engine, mailboxes: Mailboxes, wake: Wake, clock: FakeClock, eventually: Eventually
) -> None:
    """A retry's wake-up is followed when the retry is due, without the sweep's help."""
    await wake(engine, 7, in_s=0.5)
    await wake(engine, 8, event_id=2)
    await eventually(lambda: mailboxes.drained == [8])
    await clock.advance(0.6)

    await eventually(lambda: mailboxes.drained == [8, 7])


async def test_wake_ups_for_a_far_moment_are_left_to_the_sweep(
    engine: Engine, mailboxes: Mailboxes, wake: Wake, clock: FakeClock, eventually: Eventually
) -> None:
    """Nothing is kept for hours: the sweep finds what has become due by time."""
    await wake(engine, 7, in_s=3600)
    assert not mailboxes.drained
    await clock.wait_for_sleepers()
    mailboxes.due = [7]
    await clock.advance(2)

    await eventually(lambda: mailboxes.drained == [7])


async def test_stopping_waits_for_what_is_running(
    store: Store,
    build_engine: Callable[..., Engine],
    mailboxes: Mailboxes,
    wake: Wake,
    eventually: Eventually,
) -> None:
    """A drain under way is finished before the engine has stopped."""
    await install_schema(store)
    engine = build_engine()
    await engine.start()
    mailboxes.open.clear()
    await wake(engine, 7)
    await eventually(lambda: mailboxes.active[7] == 1)
    stopping = asyncio.create_task(engine.stop())
    await asyncio.sleep(0)
    mailboxes.open.set()
    await stopping

    assert mailboxes.drained == [7]


async def test_stopping_cancels_what_runs_beyond_the_limit(
    store: Store,
    build_engine: Callable[..., Engine],
    mailboxes: Mailboxes,
    wake: Wake,
    clock: FakeClock,
    eventually: Eventually,
) -> None:
    """A drain that does not end is cancelled at the limit; another node will take it over."""
    await install_schema(store)
    engine = build_engine()
    await engine.start()
    mailboxes.open.clear()
    await wake(engine, 7)
    await eventually(lambda: mailboxes.active[7] == 1)
    stopping = asyncio.create_task(engine.stop(limit_s=10))
    await clock.wait_for_sleepers()
    while not stopping.done():
        await clock.advance(5)
    await stopping

    assert mailboxes.cancelled == [7]
