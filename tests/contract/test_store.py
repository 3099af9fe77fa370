"""The store behaves the same on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from carrick.errors import StoreUnavailable
from carrick.model.faults import Point
from carrick.store.opening import open_store, running
from carrick.store.tables import store_facts
from carrick.store.unit import Store, Tx, ping
from carrick.testing.clock import FakeClock
from carrick.testing.faults import Hold, PlannedFaults, fail_with


def _add(name: str, value: str = "1") -> Callable[[Tx], Awaitable[None]]:
    async def unit(tx: Tx) -> None:
        await tx.execute(insert(store_facts).values(name=name, value=value))

    return unit


async def _fail(tx: Tx) -> None:
    raise LookupError("stop")


async def _names(tx: Tx) -> list[str]:
    rows = await tx.rows(select(store_facts.c.name).order_by(store_facts.c.name))
    return [row.name for row in rows]


async def test_a_write_is_visible_to_reads_after_it(store: Store) -> None:
    """What a unit wrote is there for every later read."""
    await store.write(_add("a"))

    assert await store.read(_names) == ["a"]


async def test_what_is_recalled_is_never_older_than_the_last_write(store: Store) -> None:
    """What a read answered is not repeated once anything was written since."""
    assert await store.recall("names", _names) == []
    await store.write(_add("a"))
    assert await store.recall("names", _names) == ["a"]
    with pytest.raises(LookupError):
        await store.write(_fail)
    await store.write(_add("b"))

    assert await store.recall("names", _names) == ["a", "b"]


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_an_error_that_rests_on_a_write_beside_it_is_told_after_that_write(
    store_url: str, clock: FakeClock
) -> None:
    """Whoever is told that something exists finds it: units that share a commit end with it."""
    faults, hold = PlannedFaults(), Hold()
    async with running(open_store(store_url, clock, faults)) as store:
        faults.plan(Point.BEFORE_COMMIT, hold)
        added = asyncio.create_task(store.write(_add("a")))
        refused = asyncio.create_task(store.write(_add("a")))
        await hold.arrived.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        told_early = refused.done()
        hold.let_go()
        await added
        with pytest.raises(IntegrityError):
            await refused

    assert not told_early


async def test_a_failure_without_words_is_told_and_ends_nothing(
    store_url: str, clock: FakeClock
) -> None:
    """A time-out has no message: its unit is told that the store is away, and the next one runs."""
    faults = PlannedFaults()
    faults.plan(Point.BEFORE_COMMIT, fail_with(TimeoutError()))
    async with running(open_store(store_url, clock, faults)) as store:
        with pytest.raises(StoreUnavailable, match="TimeoutError"):
            await store.write(_add("a"))
        await store.write(_add("b"))

        assert await store.read(_names) == ["b"]


@pytest.mark.nodes
@pytest.mark.parametrize("backend", [pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_a_node_that_is_cut_off_in_a_unit_keeps_nobody_from_its_rows(
    store_url: str, clock: FakeClock
) -> None:
    """Postgres itself undoes what stands still, before the others have given up waiting for it."""
    faults, hold = PlannedFaults(), Hold()
    faults.plan(Point.BEFORE_COMMIT, hold)
    async with (
        running(open_store(store_url, clock, faults)) as cut_off,
        running(open_store(store_url, clock)) as other,
    ):
        lost = asyncio.create_task(cut_off.write(_add("a", "lost")))
        await hold.arrived.wait()

        await other.write(_add("a", "kept"))

        hold.let_go()
        with pytest.raises(StoreUnavailable):
            await lost
        assert await cut_off.read(_names) == ["a"]


async def test_a_unit_that_raises_leaves_nothing(store: Store) -> None:
    """A unit that raises is undone, and its error reaches the caller."""

    async def unit(tx: Tx) -> None:
        await _add("a")(tx)
        raise LookupError("stop")

    with pytest.raises(LookupError, match="stop"):
        await store.write(unit)

    assert await store.read(_names) == []


async def test_concurrent_units_fail_alone(store: Store) -> None:
    """Of many concurrent units only the one that raises is undone."""
    units = [store.write(_add(f"{number:02}")) for number in range(20)]
    answers = await asyncio.gather(
        *units[:10], store.write(_add("05")), *units[10:], return_exceptions=True
    )

    assert sum(isinstance(answer, Exception) for answer in answers) == 1
    assert await store.read(_names) == [f"{number:02}" for number in range(20)]


async def test_actions_after_commit_run_only_for_what_was_committed(store: Store) -> None:
    """An action registered by a unit runs once it is durable, and never when it was undone."""
    done: list[str] = []

    async def kept(tx: Tx) -> None:
        tx.after_commit(lambda: done.append("kept"))

    async def undone(tx: Tx) -> None:
        tx.after_commit(lambda: done.append("undone"))
        raise LookupError

    await asyncio.gather(store.write(kept), store.write(undone), return_exceptions=True)

    assert done == ["kept"]


async def test_the_database_answers_a_ping(store: Store) -> None:
    """An open store gives a sign of life."""
    await ping(store)
