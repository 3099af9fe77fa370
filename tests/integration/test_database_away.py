"""A Postgres that goes away, falls silent or is held up, under a server that needs it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import insert, select
from tests.integration.forks import FaultyServer
from tests.integration.server import Answer, served
from tests.integration.wires import Wire, wire_to
from tests.lifecycle.house import SETUP, VALIDATE

from carrick.errors import StoreUnavailable
from carrick.model.clock import SystemClock
from carrick.store import opening
from carrick.store.opening import open_store, running
from carrick.store.tables import store_facts
from carrick.store.unit import Store, Tx, ping
from carrick.testing.fake_provider import FakeProvider

pytestmark = pytest.mark.parametrize(
    "backend", [pytest.param("postgres", marks=pytest.mark.postgres)]
)


@pytest.fixture
async def wire(store_url: str) -> AsyncIterator[Wire]:
    """A wire to the test's database."""
    async with wire_to(store_url) as laid:
        yield laid


@pytest.fixture
async def hasty(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    """A store at the end of the wire whose patience is short."""
    monkeypatch.setattr(opening, "_LOCK_S", 1)
    monkeypatch.setattr(opening, "_STATEMENT_S", 2)
    async with running(open_store(wire.url, SystemClock())) as store:
        yield store


async def add(store: Store, name: str) -> None:
    """Write a fact."""

    async def unit(tx: Tx) -> None:
        await tx.execute(insert(store_facts).values(name=name, value=""))

    await store.write(unit)


async def names(store: Store) -> set[str]:
    """Return what is written."""

    async def unit(tx: Tx) -> set[str]:
        return {row.name for row in await tx.rows(select(store_facts.c.name))}

    return await store.read(unit)


async def test_the_database_goes_away_under_load_and_comes_back(wire: Wire, tmp_path: Path) -> None:
    """What was accepted is there and set up; the rest heard 503; nobody restarts anything."""
    async with served(tmp_path, database_url=wire.url) as server:
        account = server.provider.add_account("Ada")
        assert (await server.deploy({"check": VALIDATE, "setup": SETUP})).status == 200
        answers: dict[str, Answer] = {}

        async def load(client: int) -> None:
            for number in range(12):
                name = f"c{client}-{number}"
                answers[name] = await server.connect(account, name)

        loads = [asyncio.create_task(load(client)) for client in range(4)]
        await server.provider.until(lambda: len(server.provider.webhooks) >= 4)
        wire.cut()
        away = await server.until(
            lambda: server.call("GET", "/health"), lambda answer: answer.status == 503
        )
        assert away.code == "store_unavailable"
        assert (await server.call("GET", "/live")).status == 200
        await asyncio.gather(*loads)
        wire.mend()
        await server.until(
            lambda: server.call("GET", "/health"), lambda answer: answer.status == 200
        )

        accepted = {name for name, answer in answers.items() if answer.status == 201}
        refused = {answer.status for answer in answers.values()} - {201}
        assert accepted
        assert refused == {503}
        for name in accepted:
            await server.set_up(name)
        listed = (await server.call("GET", "/connections?limit=200")).json["connections"]
        there = {one["connection_id"] for one in listed}
        assert accepted <= there
        for name in there:
            await server.set_up(name)
        assert len(server.provider.webhooks) == len(there)
        lines = [json.loads(line) for line in server.log.splitlines() if line.startswith(b"{")]
        lost = [line["work"] for line in lines if line["event"] == "store_lost"]
        assert sorted(set(lost)) == sorted(lost)
        assert b"Traceback" not in server.log


async def test_a_lock_that_another_holds_is_waited_for_no_longer_than_that(
    hasty: Store, store_url: str
) -> None:
    """The wait ends with an error that says so; others are served meanwhile, and all afterwards."""
    other = await asyncpg.connect(store_url)
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("LOCK TABLE store_facts IN ACCESS EXCLUSIVE MODE")
        waiting = asyncio.create_task(add(hasty, "waited"))
        await ping(hasty)
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            await waiting
        await transaction.rollback()
    finally:
        await other.close()

    await add(hasty, "after")
    assert await names(hasty) == {"after"}


async def test_a_database_that_falls_silent_is_not_waited_for(hasty: Store, wire: Wire) -> None:
    """No end of the connection hears of its death; the statement's time is limited here."""
    await add(hasty, "before")
    wire.fall_silent()

    async with asyncio.timeout(20):
        with pytest.raises(StoreUnavailable):
            await add(hasty, "silent")
    wire.mend()

    async with asyncio.timeout(20):
        await add(hasty, "after")
    assert {"before", "after"} <= await names(hasty)


async def test_a_migration_that_is_cut_off_is_made_good_by_the_next(
    empty_store_url: str, tmp_path: Path
) -> None:
    """Killed with the schema made and not committed, a server starts on the same database."""
    async with FakeProvider() as provider:
        environ = {"CARRICK_ISOLATION": "none", "CARRICK_DATABASE_URL": empty_store_url}
        server = FaultyServer(tmp_path, provider, environ)
        server.arm("schema-migrated")
        try:
            with pytest.raises(AssertionError):
                await server.start()
            await server.death()
            server.disarm()
            await server.start()
            assert (await server.call("GET", "/connections")).json["connections"] == []
        finally:
            await server.close()
