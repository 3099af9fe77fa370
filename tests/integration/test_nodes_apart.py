"""Nodes that lose sight of the database or of a provider, and find it again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.networks import Line, network, reached_at, why_not
from tests.integration.nodes import Node, nodes, read
from tests.integration.server import PATIENCE_S

from carrick.testing.fake_provider import FakeProvider

pytestmark = [pytest.mark.postgres, pytest.mark.nodes]

#: Seconds in which callers hear that the database is silent, and in which a node ends that is
#: told to and has a function running.
NOTICED_S = 15.0
STOPPED_S = 25.0
#: Two writes; between them a file says of which moment the runs are that may go on.
SETUP = """
import asyncio
import time
from pathlib import Path

@create_on_event(event="post-connection-creation", description="Register", attempts=20, waits=[1])
async def function(ctx: EventContext) -> None:
    await ctx.post("/webhooks", data={"url": "https://app.example/" + ctx.connection_id})
    began_at = time.time()
    gate = (await ctx.get_metadata() or {}).get("gate")
    while gate and began_at > float(Path(gate).read_text()):
        await asyncio.sleep(0.05)
    await ctx.post("/api/echo", data={"connection": ctx.connection_id})
"""


@dataclass
class Apart:
    """A node with a line to the database and one to the provider, and one beside both."""

    far: Node
    near: Node
    to_database: Line
    to_provider: Line
    provider: FakeProvider
    database_url: str

    async def holders(self, name: str) -> list[str | None]:
        """Return who holds a connection's mailbox, if anybody does."""
        statement = f"SELECT mailbox_owner AS o FROM connections WHERE connection_id = '{name}'"
        return [row["o"] for row in await read(self.database_url, statement)]


@pytest.fixture
async def apart(tmp_path: Path, postgres_url: str) -> AsyncIterator[Apart]:
    """Two nodes, the far one of them behind lines that can be cut; only that one runs."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    async with contextlib.AsyncExitStack() as stack:
        far_away = stack.enter_context(network())
        to_database, to_provider = far_away.line(), far_away.line()
        provider = await stack.enter_async_context(
            FakeProvider(host=to_provider.here, honour_idempotency_keys=True)
        )
        url = await stack.enter_async_context(reached_at(to_database.here, postgres_url))
        far, near = await stack.enter_async_context(
            nodes(tmp_path, provider, url, Node, Node, egress_allow="127.0.0.0/8,10.0.0.0/8")
        )
        far.move_into(far_away, to_provider.there)
        await far.start()
        await far.integrate()
        assert (await far.deploy({"setup": SETUP})).status == 200
        yield Apart(far, near, to_database, to_provider, provider, postgres_url)


async def test_a_node_that_loses_the_database_sends_nothing_more(
    apart: Apart, tmp_path: Path
) -> None:
    """Its run is taken over; when it sees the database again it finds out, and works on."""
    far, near, provider = apart.far, apart.near, apart.provider
    account = provider.add_account("one")
    gate = tmp_path / "gate"
    gate.write_text("0")
    assert (await far.connect(account, metadata={"gate": str(gate)})).status == 201
    await provider.until(lambda: bool(provider.webhooks), timeout_s=PATIENCE_S)
    await near.start()
    await _until_recorded(apart)
    [holder] = await apart.holders("one")
    taken_at = time.time()
    far.passed()

    apart.to_database.cut()
    async with asyncio.timeout(PATIENCE_S):
        while (await apart.holders("one")) in ([holder], [None]):
            await asyncio.sleep(0.1)
    apart.to_database.heal()
    await _is_healthy(far)
    gate.write_text(str(taken_at))
    passed = await _until_passed(far, "attempt-ended")
    gate.write_text("inf")
    await near.set_up()

    assert "before-send" not in passed
    assert near.passed().count("before-send") == 1
    assert len(provider.calls_to("POST", "/webhooks")) == 1
    assert len(provider.calls_to("POST", "/api/echo")) == 1
    await near.kill()
    await _is_a_good_node(apart, "two")


async def test_a_write_under_way_while_the_database_is_lost_is_known_as_unknown(
    apart: Apart,
) -> None:
    """The provider's answer cannot be recorded: the other node sends it under the same key."""
    far, near, provider = apart.far, apart.near, apart.provider
    account = provider.add_account("one")
    provider.fail("slow", path="/webhooks", delay_s=3)
    await near.warm_up()
    assert (await far.connect(account)).status == 201
    await provider.until(lambda: bool(provider.calls_to("POST", "/webhooks")), timeout_s=PATIENCE_S)

    apart.to_database.cut()
    await near.start()
    await near.set_up()
    apart.to_database.heal()
    await _is_a_good_node(apart, "two")

    sent = [call for call in provider.calls_to("POST", "/webhooks") if call.account == "one"]
    assert len({call.idempotency_key for call in sent}) == 1
    echoed = [call for call in provider.calls_to("POST", "/api/echo") if call.account == "one"]
    assert len(echoed) == 1
    assert len(provider.webhooks_of(account)) == 1
    [operation] = await near.operations(connection_id="one", type="events")
    assert operation["state"] == "success"


async def test_a_node_without_the_provider_leaves_the_work_to_the_others(apart: Apart) -> None:
    """What it tries fails and is tried again, until another one does it; then it is back."""
    near, provider = apart.near, apart.provider
    await near.start()
    names = [f"name-{number}" for number in range(8)]
    apart.to_provider.cut()
    for name in names:
        assert (await near.connect(provider.add_account(name), name)).status == 201
    await asyncio.gather(*(near.set_up(name) for name in names))
    apart.to_provider.heal()

    assert len(provider.webhooks) == len(names)
    await near.kill()
    await _is_a_good_node(apart, "back")


async def test_a_node_without_the_provider_uses_up_nobodys_attempts(apart: Apart) -> None:
    """What got no answer on one node is tried on another before it comes back to the first."""
    far, near, provider = apart.far, apart.near, apart.provider
    few = SETUP.replace("attempts=20, waits=[1]", "attempts=2, waits=[6]")
    assert (await far.deploy({"setup": few})).status == 200
    await near.warm_up()
    names = [f"name-{number}" for number in range(4)]  # too few for an outage to be noticed
    provider.fail("close", path="/webhooks", times=len(names))
    for name in names:
        assert (await far.connect(provider.add_account(name), name)).status == 201
    await _until_tried(apart, len(names))
    apart.to_provider.cut()
    await near.start()
    await asyncio.gather(*(near.set_up(name) for name in names))
    apart.to_provider.heal()

    assert len(provider.webhooks) == len(names)


async def test_a_silent_database_is_noticed_before_callers_give_up(apart: Apart) -> None:
    """A network that drops what it is given tells nobody: the connections find out."""
    far = apart.far
    await asyncio.gather(*(far.call("GET", "/connections") for _ in range(8)))

    apart.to_database.drop()
    async with asyncio.timeout(NOTICED_S):
        asked = [far.call("GET", "/connections") for _ in range(4)]
        answers = await asyncio.gather(*asked, far.call("GET", "/health"))
    apart.to_database.heal()

    assert {(one.status, one.code) for one in answers} == {(503, "store_unavailable")}
    await _is_a_good_node(apart, "one")


async def test_a_silent_database_does_not_hold_up_an_end(apart: Apart) -> None:
    """Told to stop, a node with a function and calls under way takes as long as it says."""
    far, provider = apart.far, apart.provider
    account = provider.add_account("one")
    provider.fail("hang", path="/webhooks")
    await asyncio.gather(*(far.call("GET", "/connections") for _ in range(8)))
    assert (await far.connect(account)).status == 201
    await provider.until(lambda: bool(provider.calls_to("POST", "/webhooks")), timeout_s=PATIENCE_S)

    apart.to_database.drop()
    asked = [asyncio.create_task(far.call("GET", "/connections")) for _ in range(4)]
    assert (await far.call("GET", "/live")).status == 200  # so the others have arrived, too
    async with asyncio.timeout(STOPPED_S):
        assert await far.terminate() == 0
    assert {(await one).status for one in asked} == {503}


async def _until_tried(apart: Apart, count: int) -> None:
    """Wait until that many setups have failed once."""
    statement = "SELECT count(*) AS n FROM lifecycle_events WHERE attempt = 1 AND state = 'waiting'"
    async with asyncio.timeout(PATIENCE_S):
        while (await read(apart.database_url, statement))[0]["n"] < count:
            await asyncio.sleep(0.05)


async def _is_a_good_node(apart: Apart, name: str) -> None:
    """Wait until the far node is healthy, and have it do all there is to do for a connection."""
    far = apart.far
    await _is_healthy(far)
    account = apart.provider.add_account(name)
    assert (await far.connect(account, name)).status == 201
    await far.set_up(name)
    assert len(apart.provider.webhooks_of(account)) == 1
    assert (await far.delete(name)).status == 200


async def _is_healthy(node: Node) -> None:
    await node.until(lambda: node.call("GET", "/health"), lambda answer: answer.status == 200)


async def _until_passed(node: Node, point: str) -> list[str]:
    """Wait until a node passes a point, and return what it passed up to then."""
    passed = node.passed()
    async with asyncio.timeout(PATIENCE_S):
        while point not in passed:
            await asyncio.sleep(0.05)
            passed += node.passed()
    return passed


async def _until_recorded(apart: Apart) -> None:
    statement = "SELECT 1 FROM journal_entries WHERE state = 'succeeded'"
    async with asyncio.timeout(PATIENCE_S):
        while not await read(apart.database_url, statement):
            await asyncio.sleep(0.05)
