"""What is old is forgotten, what somebody may still need is not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select

from carrick.app.housekeeping import Housekeeping
from carrick.environments import ConnectSessions
from carrick.operations import Opening, Operations
from carrick.store.tables import environments, journal_entries, operations
from carrick.store.unit import Store, Tx
from carrick.testing.clock import FakeChance, FakeClock


@pytest.fixture
async def environment_id(store: Store) -> int:
    """An environment to hang rows on."""

    async def unit(tx: Tx) -> int:
        values = {
            "uuid": "u",
            "name": "dev",
            "settings": {},
            "webhook_signing_key": b"",
            "public_key": "p",
            "created_at": tx.now,
        }
        made = insert(environments).values(**values).returning(environments.c.id)
        return int(await tx.scalar(made))

    return await store.write(unit)


async def test_ended_operations_are_forgotten_after_their_time(
    store: Store, clock: FakeClock, chance: FakeChance, environment_id: int
) -> None:
    """An operation that ended long ago goes, one that is open or young stays."""
    log = Operations(store, clock, chance)
    for state in ("success", "running"):
        log.record(Opening(environment_id, "auth", "create_connection"), state=state)
    await log.flush()
    clock.move(timedelta(days=20).total_seconds())
    log.record(Opening(environment_id, "auth", "create_connection"), state="success")
    await log.flush()

    async def old_ones_end(tx: Tx) -> None:
        unended = operations.update().where(operations.c.state == "running")
        await tx.execute(unended.values(ended_at=None))

    await store.write(old_ones_end)
    await _housekeeping(store, clock, chance).forget()
    left = await log.list(environment_id)
    assert sorted(one.state for one in left) == ["running", "success"]


async def test_writes_of_a_candidate_that_became_nothing_are_forgotten(
    store: Store, clock: FakeClock, chance: FakeChance
) -> None:
    """A crash in the middle of validation leaves journal entries that belong to nobody."""

    async def unit(tx: Tx) -> None:
        values = {
            "run_id": "r",
            "connection_row_id": None,
            "function": "f",
            "key": "k",
            "idempotency_key": "i",
            "method": "POST",
            "endpoint": "/x",
            "state": "sending",
            "created_at": tx.now,
            "updated_at": tx.now,
        }
        await tx.execute(insert(journal_entries).values(**values))

    await store.write(unit)
    housekeeping = _housekeeping(store, clock, chance)
    await housekeeping.forget()
    assert await _entries(store) == 1
    clock.move(timedelta(days=20).total_seconds())
    await housekeeping.forget()
    assert await _entries(store) == 0


def _housekeeping(store: Store, clock: FakeClock, chance: FakeChance) -> Housekeeping:
    return Housekeeping(store, ConnectSessions(store, clock, chance), clock, retention_days=15)


async def _entries(store: Store) -> int:
    async def unit(tx: Tx) -> int:
        return int(await tx.scalar(select(func.count()).select_from(journal_entries)))

    return await store.read(unit)
