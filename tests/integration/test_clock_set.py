"""A real server whose machine's clock is set by hours under it.

Needs libfaketime, which shows a process another time of day than the machine has; the time that
cannot be set, which processes measure pauses by, stays the machine's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.server import PATIENCE_S, ServerProcess

from carrick.testing.fake_provider import FakeProvider

HOURS = 3
#: One whose first attempt fails at the provider; the wait for the second is too long for a test.
SETUP = """
@create_on_event(event="post-connection-creation", description="Register", waits=[600])
async def function(ctx: EventContext) -> None:
    await ctx.post("/webhooks", data={"url": "https://app.example/" + ctx.connection_id})
"""


class Machine(ServerProcess):
    """A server on a machine whose clock can be set."""

    def environ(self) -> dict[str, str]:
        """Return the whole environment of the process."""
        return {
            **super().environ(),
            "LD_PRELOAD": str(_library()),
            "FAKETIME_TIMESTAMP_FILE": str(self.directory / "time"),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set_clock(self, hours: int) -> None:
        """Set the clock to so many hours ahead of the right time."""
        draft = self.directory / "time.new"
        draft.write_text(f"{hours:+d}h\n")
        draft.rename(self.directory / "time")

    def said(self, event: str) -> list[dict[str, object]]:
        """Return what was logged about one thing."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith(b"{")]
        return [line for line in lines if line.get("event") == event]

    async def until_noticed(self) -> None:
        """Wait until the server has noticed that its clock was set."""
        await self.until(
            lambda: self.call("GET", "/live"), lambda _: bool(self.said("clock_stepped"))
        )

    async def until_tried(self) -> None:
        """Wait until a setup that failed waits for its second attempt."""
        statement = "SELECT 1 FROM lifecycle_events WHERE attempt = 1 AND state = 'waiting'"
        database = sqlite3.connect(f"file:{self.data_dir / 'carrick.db'}?mode=ro", uri=True)
        with contextlib.closing(database):
            async with asyncio.timeout(PATIENCE_S):
                while database.execute(statement).fetchone() is None:
                    await asyncio.sleep(0.02)


def _library() -> Path | None:
    """Return where libfaketime is that is made for threads, if it is installed."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


async def machine(directory: Path, **settings: str) -> AsyncIterator[Machine]:
    """A running server whose clock is right."""
    if _library() is None:
        pytest.skip("a process's clock cannot be set here; it takes libfaketime")
    async with FakeProvider(honour_idempotency_keys=True) as provider:
        made = Machine(directory, provider, {"CARRICK_ISOLATION": "none", **settings})
        made.set_clock(0)
        async with made:
            await made.integrate()
            assert (await made.deploy({"setup": SETUP})).status == 200
            yield made


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Machine]:
    """One on the embedded store, which has no other clock to go by."""
    async for made in machine(tmp_path):
        yield made


@pytest.fixture
async def node(tmp_path: Path, postgres_url: str) -> AsyncIterator[Machine]:
    """One on Postgres, whose clock stays right."""
    async for made in machine(tmp_path, CARRICK_DATABASE_URL=postgres_url):
        yield made


@pytest.mark.parametrize(("before", "after"), [(0, HOURS), (HOURS, 0)], ids=["forward", "back"])
async def test_a_server_bears_that_its_clock_is_set(
    server: Machine, before: int, after: int
) -> None:
    """What runs is not run again, what waits is not held up, and what comes next works."""
    provider = server.provider
    if before:
        server.set_clock(before)
        await server.until_noticed()
    account = provider.add_account("Ada")
    provider.fail("status", path="/webhooks", method="POST", status=500)
    assert (await server.connect(account, "waiting")).status == 201
    await server.until_tried()
    provider.fail("slow", path="/webhooks", method="POST", delay_s=3)
    assert (await server.connect(account, "running")).status == 201
    await provider.until(lambda: len(provider.calls_to("POST", "/webhooks")) == 2)

    server.set_clock(after)
    await server.set_up("running")
    await server.set_up("waiting")
    assert (await server.connect(account, "later")).status == 201
    await server.set_up("later")
    for name in ("waiting", "running", "later"):
        assert (await server.delete(name)).status == 200

    assert len(provider.webhooks_of(account)) == 3
    assert len(provider.calls_to("POST", "/webhooks")) == 4
    steps = [round(float(str(line["seconds"])) / 3600) for line in server.said("clock_stepped")]
    assert steps[-1] == after - before
    assert b"Traceback" not in server.log
    assert await server.terminate() == 0


@pytest.mark.postgres
async def test_a_node_goes_on_by_the_databases_clock(node: Machine) -> None:
    """A session of half an hour is still open three hours later by the node's own clock."""
    made = await node.call("POST", "/connect/sessions", {"end_user": {"id": "ada"}})
    assert made.status == 201, made.text
    bearer = {"Authorization": f"Bearer {made.json['data']['token']}"}

    node.set_clock(HOURS)
    await node.until(lambda: node.call("GET", "/live"), lambda _: bool(node.said("clock_differs")))
    assert (await node.call("GET", "/connect/session", headers=bearer, signed=False)).status == 200
    account = node.provider.add_account("Ada")
    assert (await node.connect(account)).status == 201
    await node.set_up()
    assert len(node.provider.webhooks_of(account)) == 1
