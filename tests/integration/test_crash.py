"""What kill -9 leaves behind: nothing lost, nothing twice, nothing half done (DESIGN.md §2)."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.integration.server import PATIENCE_S, ServerProcess, is_alive, kill, served
from tests.lifecycle.house import CLEANUP, SETUP, VALIDATE

from carrick.testing.fake_provider import FakeProvider

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]

#: A setup whose webhook says whose it is, so that two of them cannot be mistaken for each other.
SETUP_OF_ONE = """
@create_on_event(event="post-connection-creation", description="Register a webhook", waits=[0.01])
async def function(ctx: EventContext) -> None:
    hook = await ctx.post("/webhooks", data={"url": "https://app.example/" + ctx.connection_id})
    await ctx.update_metadata(webhook_id=hook.data["id"])
"""
WHOLE = {"check": VALIDATE, "setup": SETUP, "clean-up": CLEANUP}


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    """A provider that honours idempotency keys, as providers that have them do."""
    async with FakeProvider(honour_idempotency_keys=True) as running:
        yield running


@pytest.fixture
async def server(tmp_path: Path, provider: FakeProvider) -> AsyncIterator[ServerProcess]:
    """A server on a SQLite file, with the three functions deployed."""
    async with served(tmp_path, provider) as running:
        assert (await running.deploy(WHOLE)).status == 200
        yield running


def read(server: ServerProcess, statement: str) -> list[tuple[Any, ...]]:
    """Read the server's own file beside it."""
    connection = sqlite3.connect(f"file:{server.data_dir}/carrick.db?mode=ro", uri=True)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


async def broken_off(call: asyncio.Task[Any]) -> None:
    """Expect a request to have lost its server."""
    with pytest.raises(aiohttp.ClientError):
        await call


# --- the server is killed -------------------------------------------------------------------


async def test_the_setups_of_acknowledged_connects_run_once(
    tmp_path: Path, provider: FakeProvider, empty_store_url: str
) -> None:
    """A 201 is a promise: killed right after ten of them, the server sets all ten up, once each."""
    settings = {"database_url": empty_store_url} if "postgres" in empty_store_url else {}
    names = [f"customer-{number}" for number in range(10)]
    async with served(tmp_path, provider, **settings) as server:
        await server.deploy({"check": VALIDATE, "setup": SETUP_OF_ONE})
        accounts = [provider.add_account(name) for name in names]
        answers = await asyncio.gather(*map(server.connect, accounts, names))
        await server.restart()

        assert [answer.status for answer in answers] == [201] * 10
        for name in names:
            await server.set_up(name)
        assert Counter(hook.url.rpartition("/")[2] for hook in provider.webhooks) == Counter(names)
        keys: dict[str, set[str | None]] = {}
        for call in provider.calls_to("POST", "/webhooks"):
            keys.setdefault(call.body, set()).add(call.idempotency_key)
        assert all(len(of_one) == 1 for of_one in keys.values())


async def test_a_setup_killed_in_its_write_is_finished_under_the_same_key(
    server: ServerProcess, provider: FakeProvider
) -> None:
    """The write arrived and its answer did not: sent again under its key, it is made once."""
    provider.fail("hang", path="/webhooks", method="POST", after=True)
    await server.connect(provider.add_account("org-a"))
    await provider.until(lambda: len(provider.webhooks) == 1)
    await server.restart()

    connection = await server.set_up()

    first, second = provider.calls_to("POST", "/webhooks")
    assert first.idempotency_key == second.idempotency_key
    assert [hook.id for hook in provider.webhooks] == [connection["metadata"]["webhook_id"]]
    (setup,) = await server.operations(action="post_connection_creation")
    assert setup["state"] == "success"
    assert any(line["fields"].get("outcome_unknown") for line in setup["messages"])
    assert read(server, "SELECT attempt, interruptions FROM lifecycle_events") == [(0, 1)]


async def test_a_setup_killed_after_its_write_does_not_write_again(
    server: ServerProcess, provider: FakeProvider
) -> None:
    """What succeeded before the crash is answered from the journal after it."""
    await server.deploy(
        {
            "setup": """
            @create_on_event(event="post-connection-creation", description="Two steps")
            async def function(ctx: EventContext) -> None:
                hook = await ctx.post("/webhooks", data={"url": "https://app.example/in"})
                await ctx.get("/api/me")
                await ctx.update_metadata(webhook_id=hook.data["id"])
            """
        }
    )
    provider.fail("hang", path="/api/me")
    await server.connect(provider.add_account("org-a"))
    await provider.until(lambda: bool(provider.calls_to("GET", "/api/me")))
    await server.restart()

    connection = await server.set_up()

    assert len(provider.calls_to("POST", "/webhooks")) == 1
    assert provider.webhooks[0].id == connection["metadata"]["webhook_id"]


async def test_a_creation_killed_in_its_validation_leaves_nothing(
    server: ServerProcess, provider: FakeProvider
) -> None:
    """Nothing unvalidated is ever there: the same connect is a creation again afterwards."""
    account = provider.add_account("org-a")
    provider.fail("hang", path="/api/me")
    connecting = asyncio.create_task(server.connect(account))
    await provider.until(lambda: bool(provider.calls_to("GET", "/api/me")))
    await server.restart()
    await broken_off(connecting)

    assert (await server.get()).status == 404
    assert (await server.call("GET", "/connections")).json["connections"] == []
    assert read(server, "SELECT count(*) FROM connections") == [(0,)]
    assert (await server.connect(account)).status == 201
    await server.set_up()
    assert [news.json()["operation"] for news in provider.notifications] == ["creation"]


async def test_a_creation_killed_in_its_validation_leaves_no_journal(
    server: ServerProcess, provider: FakeProvider
) -> None:
    """What a validation wrote at the provider is forgotten with the candidate it was written for.

    No journey goes on with that run, so nobody would ever read or erase its answers.
    """
    await server.deploy(
        {
            "check": """
            @create_on_event(event="validate-connection", description="Writes, then asks")
            async def function(ctx: EventContext) -> None:
                await ctx.post("/webhooks", data={"url": "https://app.example/probe"})
                await ctx.get("/api/me")
            """
        }
    )
    provider.fail("hang", path="/api/me")
    connecting = asyncio.create_task(server.connect(provider.add_account("org-a")))
    await provider.until(lambda: bool(provider.calls_to("GET", "/api/me")))
    await server.restart()
    await broken_off(connecting)

    assert read(server, "SELECT count(*) FROM journal_entries") == [(0,)]


async def test_a_reconnect_killed_in_its_validation_changes_nothing(
    server: ServerProcess, provider: FakeProvider
) -> None:
    """The connection is as it was, to the last field, and can be reconnected at once."""
    account, other = provider.add_account("org-a"), provider.add_account("org-b")
    await server.connect(account)
    before = await server.set_up()
    provider.fail("hang", path="/api/me")
    reconnecting = asyncio.create_task(server.connect(other, metadata={"who": "other"}))
    await provider.until(lambda: len(provider.calls_to("GET", "/api/me")) == 2)
    await server.restart()
    await broken_off(reconnecting)

    after = (await server.get()).json
    assert without_times(after) == without_times(before)
    assert after["credentials"]["apiKey"] == account.api_key
    assert (await server.connect(account)).status == 201


async def test_a_cleanup_that_was_killed_is_completed(
    server: ServerProcess, provider: FakeProvider
) -> None:
    """Deletion goes on after the crash until the webhook and the connection are gone."""
    await server.connect(provider.add_account("org-a"))
    connection = await server.set_up()
    path = f"/webhooks/{connection['metadata']['webhook_id']}"
    provider.fail("hang", path=path, method="DELETE", after=True)
    deleting = asyncio.create_task(server.delete())
    await provider.until(lambda: provider.webhooks == [])
    await server.restart()
    await broken_off(deleting)

    await server.until(
        lambda: server.call("GET", "/cleanups"), lambda answer: answer.json["data"] == []
    )
    first, second = provider.calls_to("DELETE", path)
    assert first.idempotency_key == second.idempotency_key
    assert (await server.get()).status == 404
    assert (await server.delete()).code == "unknown_connection"
    (cleanup,) = await server.operations(action="pre_connection_deletion")
    assert cleanup["state"] == "success"
    (row,) = read(server, "SELECT state, credentials, metadata FROM connections")
    assert row[0] == "gone"
    assert not row[1]


async def test_no_function_outlives_its_server(
    server: ServerProcess, provider: FakeProvider, eventually: Eventually
) -> None:
    """Runners end with a server that had no time to end them."""
    provider.fail("hang", path="/webhooks", method="POST")
    await server.connect(provider.add_account("org-a"))
    await provider.until(lambda: bool(provider.calls_to("POST", "/webhooks")))
    runners = server.runners()
    assert runners
    await server.kill()

    await eventually(lambda: not any(map(is_alive, runners)))


# --- a runner is killed ---------------------------------------------------------------------


async def test_a_runner_killed_in_a_validation_decides_nothing(
    server: ServerProcess, provider: FakeProvider
) -> None:
    """The validation is tried again in another runner, and its verdict comes."""
    provider.fail("hang", path="/api/me")
    connecting = asyncio.create_task(server.connect(provider.add_account("org-a")))
    await provider.until(lambda: bool(provider.calls_to("GET", "/api/me")))
    kill(server.runners())

    assert (await connecting).status == 201
    assert len(provider.calls_to("GET", "/api/me")) == 2


async def test_a_neighbour_that_kills_the_runner_costs_a_setup_no_attempt(
    tmp_path: Path, provider: FakeProvider
) -> None:
    """Two setups lose their process: neither is blamed, both are done afterwards."""
    async with served(tmp_path, provider) as server:
        await server.deploy({"setup": SETUP_OF_ONE.replace("waits=[0.01]", "attempts=1")})
        provider.fail("hang", path="/webhooks", method="POST", times=2)
        for name in ("one", "two"):
            await server.connect(provider.add_account(name), name)
        await provider.until(lambda: len(provider.calls_to("POST", "/webhooks")) == 2)
        kill(server.runners())

        await server.set_up("one")
        await server.set_up("two")
        assert len(provider.webhooks) == 2
        rows = read(server, "SELECT attempt, interruptions FROM lifecycle_events")
        assert rows == [(0, 1), (0, 1)]


# --- the server is told to stop -------------------------------------------------------------


async def test_a_server_that_is_told_to_stop_leaves_nobody_behind(
    server: ServerProcess, provider: FakeProvider
) -> None:
    """SIGTERM ends it within its grace, runners and running setups included; none is lost."""
    provider.fail("hang", path="/webhooks", method="POST")
    await server.connect(provider.add_account("org-a"))
    await provider.until(lambda: bool(provider.calls_to("POST", "/webhooks")))
    runners = server.runners()
    assert runners

    assert await server.terminate() == 0
    assert not any(map(is_alive, runners))
    assert b"Traceback" not in server.log
    await server.start()
    await server.set_up()
    assert len(provider.webhooks) == 1


async def test_a_second_server_on_the_same_data_says_so(server: ServerProcess) -> None:
    """It ends with an error that tells what to do, and the first one does not notice."""
    second = await server.spawn()
    async with asyncio.timeout(PATIENCE_S):
        assert await second.wait() != 0

    said = server.log.decode()
    assert "Traceback" not in said
    assert "Another server is using" in said or "Cannot listen on" in said
    assert (await server.call("GET", "/health")).status == 200


def without_times(connection: dict[str, Any]) -> str:
    """Return a connection as text, without the time it was last asked for."""
    return json.dumps(
        {name: value for name, value in connection.items() if name != "last_fetched_at"},
        sort_keys=True,
    )
