"""What kill -9 leaves behind: nothing lost, nothing twice, nothing half done (DESIGN.md §2).

Most tests look at the aftermath of one and the same kill, which meets one connection in each place
where it may hurt: starting a server takes longer than everything else here.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from tests.integration.server import PATIENCE_S, Answer, ServerProcess, is_alive, kill, served
from tests.lifecycle.house import CLEANUP, VALIDATE

from carrick.testing.fake_provider import Account, Call, FakeProvider

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]
in_one_loop = pytest.mark.asyncio(loop_scope="module")

CUSTOMERS = [f"customer-{number}" for number in range(10)]
#: A setup whose webhook says whose it is, so that two of them cannot be mistaken for each other.
SETUP_OF_ONE = """
@create_on_event(event="post-connection-creation", description="Register a webhook", waits=[0.01])
async def function(ctx: EventContext) -> None:
    hook = await ctx.post("/webhooks", data={"url": "https://app.example/" + ctx.connection_id})
    await ctx.update_metadata(webhook_id=hook.data["id"])
"""
#: A setup that goes on after its write.
SETUP_IN_STEPS = """
@create_on_event(event="post-connection-creation", description="Write, then read")
async def function(ctx: EventContext) -> None:
    hook = await ctx.post("/webhooks", data={"url": "https://app.example/" + ctx.connection_id})
    await ctx.get("/api/echo")
    await ctx.update_metadata(webhook_id=hook.data["id"])
"""
#: A validation that writes before it asks.
VALIDATE_IN_STEPS = """
@create_on_event(event="validate-connection", description="Write, then ask")
async def function(ctx: EventContext) -> None:
    await ctx.post("/api/echo", data={"probe": ctx.connection_id})
    await ctx.get("/api/me")
"""
WHOLE = {"check": VALIDATE, "setup": SETUP_OF_ONE, "clean-up": CLEANUP}


@dataclass
class Aftermath:
    """A server that was killed and started again, and what is known of the time before."""

    server: ServerProcess
    provider: FakeProvider
    accounts: dict[str, Account] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    #: Connections as the API showed them before the kill.
    before: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Requests that were under way.
    broken_off: dict[str, asyncio.Task[Answer]] = field(default_factory=dict)
    runners: list[int] = field(default_factory=list)

    async def under_way(self, name: str, request: asyncio.Task[Answer], path: str) -> None:
        """Remember a request once the provider has received what it hangs at."""
        self.broken_off[name] = request
        await self.hangs_at(path)

    async def hangs_at(self, path: str) -> None:
        """Wait until a call to that path hangs."""
        await self.provider.until(
            lambda: any(call.path == path and call.fault == "hang" for call in self.open_calls)
        )
        self._seen = len(self.provider.calls)

    @property
    def open_calls(self) -> list[Call]:
        """The calls since the last that hung."""
        return self.provider.calls[self._seen :]

    _seen: int = 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def aftermath(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Aftermath]:
    """One connection caught in each place, ten just acknowledged, and the server killed."""
    async with (
        FakeProvider(honour_idempotency_keys=True) as provider,
        served(tmp_path_factory.mktemp("crash"), provider) as server,
    ):
        accounts = {name: provider.add_account(name) for name in ("a", "b", *CUSTOMERS)}
        seen = Aftermath(server, provider, accounts)
        await server.deploy(WHOLE)
        for name in ("in-reconnect", "in-cleanup"):
            await server.connect(accounts["a"], name)
            seen.before[name] = await server.set_up(name)

        provider.fail("hang", path="/webhooks", method="POST", after=True)
        await server.connect(accounts["a"], "in-write")
        await seen.hangs_at("/webhooks")

        provider.fail("hang", path="/api/me")
        reconnecting = server.connect(accounts["b"], "in-reconnect", metadata={"who": "b"})
        await seen.under_way("in-reconnect", asyncio.create_task(reconnecting), "/api/me")

        path = f"/webhooks/{seen.before['in-cleanup']['metadata']['webhook_id']}"
        provider.fail("hang", path=path, method="DELETE", after=True)
        deleting = server.delete("in-cleanup")
        await seen.under_way("in-cleanup", asyncio.create_task(deleting), path)

        await server.deploy({**WHOLE, "check": VALIDATE_IN_STEPS, "setup": SETUP_IN_STEPS})
        provider.fail("hang", path="/api/echo", method="GET")
        await server.connect(accounts["a"], "after-write")
        await seen.hangs_at("/api/echo")

        provider.fail("hang", path="/api/me")
        creating = server.connect(accounts["a"], "in-creation")
        await seen.under_way("in-creation", asyncio.create_task(creating), "/api/me")

        await server.deploy(WHOLE)
        provider.fail("slow", path="/webhooks", method="POST", delay_s=0.3, times=5)
        connecting = [server.connect(accounts[name], name) for name in CUSTOMERS]
        seen.runners = server.runners()
        for name, answer in zip(CUSTOMERS, await asyncio.gather(*connecting), strict=True):
            seen.answers[name] = answer
        await server.kill()
        await asyncio.gather(*seen.broken_off.values(), return_exceptions=True)
        await server.start()
        yield seen


def read(server: ServerProcess, statement: str) -> list[tuple[Any, ...]]:
    """Read the server's own file beside it."""
    connection = sqlite3.connect(f"file:{server.data_dir}/carrick.db?mode=ro", uri=True)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def counts(server: ServerProcess, connection_id: str) -> list[tuple[Any, ...]]:
    """Return attempts and interruptions of a connection's setups."""
    return read(
        server,
        "SELECT e.attempt, e.interruptions FROM lifecycle_events e JOIN connections c "
        f"ON c.id = e.connection_row_id WHERE c.connection_id = '{connection_id}' "
        "AND e.event = 'post-connection-creation'",
    )


def writes_of(provider: FakeProvider, connection_id: str) -> list[Call]:
    """Return the webhook registrations that were sent for a connection."""
    calls = provider.calls_to("POST", "/webhooks")
    return [call for call in calls if f"app.example/{connection_id}" in call.body]


def webhooks_of(provider: FakeProvider, connection_id: str) -> list[str]:
    """Return the webhooks that the provider holds for a connection."""
    url = f"https://app.example/{connection_id}"
    return [hook.id for hook in provider.webhooks if hook.url == url]


async def expect_each_set_up_once(
    server: ServerProcess, provider: FakeProvider, names: Iterable[str]
) -> None:
    """Expect one webhook for each connection, whatever was sent under one key only."""
    for name in names:
        connection = await server.set_up(name)
        assert webhooks_of(provider, name) == [connection["metadata"]["webhook_id"]]
        assert len({call.idempotency_key for call in writes_of(provider, name)}) == 1


# --- the server is killed -------------------------------------------------------------------


@in_one_loop
async def test_the_setups_of_acknowledged_connects_run_once(aftermath: Aftermath) -> None:
    """A 201 is a promise: killed right after ten of them, the server sets all ten up, once each."""
    assert [answer.status for answer in aftermath.answers.values()] == [201] * 10

    await expect_each_set_up_once(aftermath.server, aftermath.provider, CUSTOMERS)

    created = [
        told["connectionId"]
        for told in (news.json() for news in aftermath.provider.notifications)
        if told.get("operation") == "creation" and told["connectionId"] in CUSTOMERS
    ]
    assert set(created) == set(CUSTOMERS)


@pytest.mark.parametrize("backend", [pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_the_setups_of_acknowledged_connects_run_once_on_postgres(
    tmp_path: Path, empty_store_url: str
) -> None:
    """The same promise holds where leases outlive the process that held them."""
    async with served(tmp_path, database_url=empty_store_url) as server:
        await server.deploy({"check": VALIDATE, "setup": SETUP_OF_ONE})
        accounts = [server.provider.add_account(name) for name in CUSTOMERS]
        answers = await asyncio.gather(*map(server.connect, accounts, CUSTOMERS))
        await server.restart()

        assert [answer.status for answer in answers] == [201] * 10
        await expect_each_set_up_once(server, server.provider, CUSTOMERS)


@in_one_loop
async def test_a_setup_killed_in_its_write_is_finished_under_the_same_key(
    aftermath: Aftermath,
) -> None:
    """The write arrived and its answer did not: sent again under its key, it is made once."""
    server, provider = aftermath.server, aftermath.provider

    connection = await server.set_up("in-write")

    first, second = writes_of(provider, "in-write")
    assert first.idempotency_key == second.idempotency_key
    assert webhooks_of(provider, "in-write") == [connection["metadata"]["webhook_id"]]
    found = await server.operations(action="post_connection_creation", connection_id="in-write")
    assert [setup["state"] for setup in found] == ["success"]
    assert any(line["fields"].get("outcome_unknown") for line in found[0]["messages"])
    assert counts(server, "in-write") == [(0, 1)]


@in_one_loop
async def test_a_setup_killed_after_its_write_does_not_write_again(aftermath: Aftermath) -> None:
    """What succeeded before the crash is answered from the journal after it."""
    connection = await aftermath.server.set_up("after-write")

    assert len(writes_of(aftermath.provider, "after-write")) == 1
    held = webhooks_of(aftermath.provider, "after-write")
    assert held == [connection["metadata"]["webhook_id"]]
    assert counts(aftermath.server, "after-write") == [(0, 1)]


@in_one_loop
async def test_a_creation_killed_in_its_validation_leaves_nothing(aftermath: Aftermath) -> None:
    """No connection, no journal of the candidate's run, nobody told: as if it had not begun."""
    server = aftermath.server
    await expect_broken_off(aftermath, "in-creation")

    assert (await server.get("in-creation")).status == 404
    where = "WHERE connection_id = 'in-creation'"
    assert read(server, f"SELECT count(*) FROM connections {where}") == [(0,)]
    unclaimed = "WHERE connection_row_id IS NULL"
    assert read(server, f"SELECT count(*) FROM journal_entries {unclaimed}") == [(0,)]
    told = [news.json().get("connectionId") for news in aftermath.provider.notifications]
    assert "in-creation" not in told


@in_one_loop
async def test_a_reconnect_killed_in_its_validation_changes_nothing(aftermath: Aftermath) -> None:
    """The connection is as it was, to the last field, and can be reconnected at once."""
    server, account = aftermath.server, aftermath.accounts["a"]
    await expect_broken_off(aftermath, "in-reconnect")

    after = (await server.get("in-reconnect")).json

    assert without_times(after) == without_times(aftermath.before["in-reconnect"])
    assert (await server.connect(account, "in-reconnect")).status == 201


@in_one_loop
async def test_a_cleanup_that_was_killed_is_completed(aftermath: Aftermath) -> None:
    """Deletion goes on after the crash until the webhook and the connection are gone."""
    server, provider = aftermath.server, aftermath.provider
    await expect_broken_off(aftermath, "in-cleanup")

    await server.until(
        lambda: server.call("GET", "/cleanups"), lambda answer: answer.json["data"] == []
    )

    path = f"/webhooks/{aftermath.before['in-cleanup']['metadata']['webhook_id']}"
    assert len({call.idempotency_key for call in provider.calls_to("DELETE", path)}) == 1
    assert webhooks_of(provider, "in-cleanup") == []
    assert (await server.get("in-cleanup")).status == 404
    assert (await server.delete("in-cleanup")).code == "unknown_connection"
    found = await server.operations(action="pre_connection_deletion")
    assert [cleanup["state"] for cleanup in found] == ["success"]
    where = "WHERE connection_id = 'in-cleanup'"
    rows = read(server, f"SELECT state, credentials, metadata FROM connections {where}")
    assert rows == [("gone", None, None)]


@in_one_loop
async def test_no_function_outlives_its_server(
    aftermath: Aftermath, eventually: Eventually
) -> None:
    """Runners end with a server that had no time to end them."""
    assert aftermath.runners
    await eventually(lambda: not any(map(is_alive, aftermath.runners)))


# --- a runner is killed, and the server is told to stop -------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """A server that goes on, on a SQLite file."""
    async with served(tmp_path_factory.mktemp("server")) as running:
        yield running


@in_one_loop
async def test_a_runner_killed_in_a_validation_decides_nothing(server: ServerProcess) -> None:
    """The validation is tried again in another runner, and its verdict comes."""
    provider = server.provider
    await server.deploy({"check": VALIDATE})
    before = len(provider.calls_to("GET", "/api/me"))
    provider.fail("hang", path="/api/me")
    connecting = asyncio.create_task(server.connect(provider.add_account("v"), "validated"))
    await provider.until(lambda: len(provider.calls_to("GET", "/api/me")) == before + 1)
    kill(server.runners())

    assert (await connecting).status == 201
    assert len(provider.calls_to("GET", "/api/me")) == before + 2


@in_one_loop
async def test_a_lost_runner_costs_its_setups_no_attempt(server: ServerProcess) -> None:
    """Two setups lose the process they share: neither is blamed, both are done afterwards."""
    provider = server.provider
    await server.deploy({"setup": SETUP_OF_ONE.replace("waits=[0.01]", "attempts=1")})
    provider.fail("hang", path="/webhooks", method="POST", times=2)
    before = len(provider.calls_to("POST", "/webhooks"))
    for name in ("one", "two"):
        await server.connect(provider.add_account(name), name)
    await provider.until(lambda: len(provider.calls_to("POST", "/webhooks")) == before + 2)
    kill(server.runners())

    await expect_each_set_up_once(server, provider, ("one", "two"))
    assert counts(server, "one") == counts(server, "two") == [(0, 1)]


@in_one_loop
async def test_a_server_that_is_told_to_stop_leaves_nobody_behind(server: ServerProcess) -> None:
    """SIGTERM ends it within its grace, runners and running setups included; none is lost."""
    provider = server.provider
    await server.deploy({"setup": SETUP_OF_ONE})
    provider.fail("hang", path="/webhooks", method="POST")
    await server.connect(provider.add_account("s"), "stopped")
    await provider.until(lambda: len(writes_of(provider, "stopped")) == 1)
    runners = server.runners()
    assert runners

    assert await server.terminate() == 0
    assert not any(map(is_alive, runners))
    assert b"Traceback" not in server.log
    await server.start()
    await expect_each_set_up_once(server, provider, ["stopped"])


@in_one_loop
async def test_a_second_server_on_the_same_data_says_so(server: ServerProcess) -> None:
    """It ends with an error that tells what to do, and the first one does not notice."""
    second = await server.spawn(port=0)
    async with asyncio.timeout(PATIENCE_S):
        assert await second.wait() != 0

    said = server.log.decode()
    assert f"Another server is using {server.data_dir}" in said
    assert "choose another CARRICK_DATA_DIR" in said
    assert "Traceback" not in said
    assert (await server.call("GET", "/health")).status == 200


async def expect_broken_off(aftermath: Aftermath, name: str) -> None:
    """Expect a request to have lost its server."""
    with pytest.raises(aiohttp.ClientError):
        await aftermath.broken_off[name]


def without_times(connection: dict[str, Any]) -> str:
    """Return a connection as text, without the time it was last asked for."""
    return json.dumps(
        {name: value for name, value in connection.items() if name != "last_fetched_at"},
        sort_keys=True,
    )
