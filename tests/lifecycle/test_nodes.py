"""What several nodes ask of one connection at once: on Postgres two servers, on SQLite the one.

The clock stands still, so no sweep ever finds what a wake-up has missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.lifecycle.house import CLEANUP, SETUP, VALIDATE, House

from carrick.app import running
from carrick.environments import NewIntegration
from carrick.errors import ConnectionBusy, NotFound, OperationNotRetryable, UnknownConnection
from carrick.lifecycle.rooms import Timing
from carrick.model.environment import IntegrationState
from carrick.model.event import Occasion
from carrick.model.faults import Point
from carrick.settings import Settings
from carrick.store import environments as environment_rows
from carrick.store.operations import OperationFilter
from carrick.testing.clock import FakeClock
from carrick.testing.fake_provider import FakeProvider
from carrick.testing.faults import Hold, PlannedFaults

REFUSES = """
@create_on_event(event="pre-connection-deletion", description="Needs a person")
async def function(ctx: EventContext) -> None:
    raise ActionError("no")
"""


@dataclass
class Nodes:
    """Two places to ask; what happens at fault points is planned for both together."""

    here: House
    there: House
    faults: PlannedFaults


@pytest.fixture
async def nodes(
    request: pytest.FixtureRequest,
    store_url: str,
    tmp_path: Path,
    provider: FakeProvider,
    timing: Timing,
) -> AsyncIterator[Nodes]:
    """Two servers on Postgres, or as many as are named; on SQLite one that is asked twice."""
    names = getattr(request, "param", ("here", "there"))
    postgres = store_url.startswith("postgres")
    faults, clock = PlannedFaults(), FakeClock()
    async with contextlib.AsyncExitStack() as stack:
        houses = []
        for name in names if postgres else ("here",):
            data_dir = tmp_path / name
            data_dir.mkdir()
            if not postgres:
                shutil.move(store_url.removeprefix("sqlite:///"), data_dir / "carrick.db")
            settings = Settings(
                data_dir=data_dir,
                database_url=store_url if postgres else None,
                encryption_key="AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                egress_allow=("127.0.0.0/8",),
            )
            app = await stack.enter_async_context(
                running(settings, clock=clock, timing=timing, faults=faults, migrate_first=True)
            )
            environment = await app.rooms.environments.by_name("dev")
            assert environment is not None
            houses.append(House(app, provider, environment))
        await houses[0].app.rooms.integrations.create(
            houses[0].environment.row_id, NewIntegration(integration_id="acme", provider="api-key")
        )
        yield Nodes(houses[0], houses[-1], faults)


async def test_what_is_written_at_the_last_look_is_not_missed(nodes: Nodes) -> None:
    """A delete that comes while a mailbox is being given up finds it free and is cleaned up."""
    await nodes.here.deploy({"setup": SETUP, "cleanup": CLEANUP})
    look = Hold()
    nodes.faults.plan(Point.LAST_LOOK, look)
    await nodes.here.connect(nodes.here.provider.add_account("a"))
    await look.arrived.wait()
    delete = asyncio.create_task(nodes.there.delete())
    await _until_it_waits(nodes.there, delete)

    look.let_go()

    async with asyncio.timeout(30):
        assert (await delete).state == "done"
    assert nodes.here.provider.webhooks == []


async def test_what_is_written_before_the_last_look_is_seen_by_it(nodes: Nodes) -> None:
    """A setup that ends while a delete is being written goes on with the cleanup."""
    await nodes.here.deploy({"setup": SETUP, "cleanup": CLEANUP})
    mark, end = Hold(), Hold()
    nodes.faults.plan(Point.DELETE_MARKED, mark)
    nodes.faults.plan(Point.ATTEMPT_ENDED, end)
    await nodes.here.connect(nodes.here.provider.add_account("a"))
    await end.arrived.wait()
    delete = asyncio.create_task(nodes.there.delete())
    await mark.arrived.wait()

    end.let_go()
    mark.let_go()

    async with asyncio.timeout(30):
        assert (await delete).state == "done"
    assert nodes.faults.passed[Point.ATTEMPT_BEGUN] == 2
    assert nodes.here.provider.webhooks == []


@pytest.mark.parametrize("nodes", [("here",)], indirect=True)
async def test_a_delete_after_silence_is_not_left_to_nodes_that_may_not_exist(nodes: Nodes) -> None:
    """A setup got no answer here, so its next try is for others first; a delete is for all."""
    here = nodes.here
    await here.deploy({"setup": SETUP, "cleanup": CLEANUP})
    here.provider.fail("close", path="/webhooks", times=1)
    await here.connect(here.provider.add_account("a"))
    async with asyncio.timeout(30):
        while nodes.faults.passed[Point.LAST_LOOK] == 0:
            await asyncio.sleep(0)
        assert (await here.delete()).state == "done"
    assert here.provider.webhooks == []


async def test_two_deletes_at_once_clean_up_once(nodes: Nodes) -> None:
    """Whoever comes second is told how far it is."""
    await nodes.here.deploy({"setup": SETUP, "cleanup": CLEANUP})
    account = nodes.here.provider.add_account("a")
    row_id = (await nodes.here.connect(account)).connection.row_id
    await nodes.here.finished(row_id)

    both = await asyncio.gather(nodes.here.delete(), nodes.there.delete(), return_exceptions=True)

    told = [one for one in both if not isinstance(one, UnknownConnection)]
    assert {one.state for one in told if not isinstance(one, BaseException)} <= {"done", "pending"}
    assert [one for one in told if isinstance(one, BaseException)] == []
    assert told
    await nodes.here.finished(row_id)
    deletes = [call for call in nodes.here.provider.calls if call.method == "DELETE"]
    assert len(deletes) == 1


@pytest.mark.parametrize("timing", [Timing(busy_s=0, stop_s=0.5)])
async def test_a_creation_that_came_second_and_finds_it_busy_is_in_the_log(nodes: Nodes) -> None:
    """It is a reconnect by then, and what stops that is recorded as of any other."""
    await nodes.here.deploy({"setup": SETUP})
    account = nodes.here.provider.add_account("a")
    verdict, end = Hold(), Hold()
    nodes.faults.plan(Point.VERDICT_REACHED, verdict)
    nodes.faults.plan(Point.ATTEMPT_ENDED, end)
    second = asyncio.create_task(nodes.there.connect(account))
    await verdict.arrived.wait()
    first = await nodes.here.connect(account)
    await end.arrived.wait()

    verdict.let_go()

    (told,) = await asyncio.gather(second, return_exceptions=True)
    end.let_go()
    assert isinstance(told, ConnectionBusy)
    log = await nodes.there.app.rooms.operations.list(
        nodes.there.environment.row_id, OperationFilter(actions=["create_connection"])
    )
    ended = [(one.state, (one.error or {}).get("code"), one.connection_row_id) for one in log]
    row_id = first.connection.row_id
    assert sorted(ended, key=str) == [
        ("failed", "connection_busy", row_id),
        ("success", None, row_id),
    ]


async def test_a_reconnect_waits_for_the_setup_that_runs(nodes: Nodes) -> None:
    """It is not begun before the setup has ended, whichever node runs that, and then accepted."""
    await nodes.here.deploy({"validate": VALIDATE, "setup": SETUP})
    account = nodes.here.provider.add_account("a")
    end = Hold()
    nodes.faults.plan(Point.ATTEMPT_ENDED, end)
    first = await nodes.here.connect(account)
    await end.arrived.wait()
    asked = len(nodes.here.provider.calls_to("GET", "/api/me"))
    reconnect = asyncio.create_task(nodes.there.connect(account))
    looks = nodes.faults.passed[Point.BEFORE_COMMIT]
    while nodes.faults.passed[Point.BEFORE_COMMIT] < looks + 2:  # it has tried to take the mailbox
        await asyncio.sleep(0.01)
    assert len(nodes.here.provider.calls_to("GET", "/api/me")) == asked

    end.let_go()

    async with asyncio.timeout(30):
        again = await reconnect
    assert again.occasion is Occasion.RECONNECT
    assert again.connection.generation == first.connection.generation + 1
    assert await nodes.here.states(first.connection.row_id) == {"setup": "done"}


@pytest.mark.parametrize("what", ["integration", "environment"])
@pytest.mark.parametrize("first", ["cleanup", "deletion"])
async def test_what_is_deleted_while_its_last_cleanup_ends_is_gone(
    nodes: Nodes, what: str, first: str
) -> None:
    """Neither leaves the rest to the other: not the cleanup that is written, nor the deletion."""
    await nodes.here.deploy({"setup": SETUP, "cleanup": CLEANUP})
    connection = (await nodes.here.connect(nodes.here.provider.add_account("a"))).connection
    await nodes.here.finished(connection.row_id)
    cleanup, deletion = Hold(), Hold()
    nodes.faults.plan(Point.ATTEMPT_ENDED if first == "deletion" else Point.LAST_LOOK, cleanup)
    if first == "deletion":
        nodes.faults.plan(Point.INTEGRATION_MARKED, deletion)
    of_one = asyncio.create_task(nodes.here.delete())
    await cleanup.arrived.wait()
    of_all = asyncio.create_task(_delete_all(nodes.there, what))
    if first == "deletion":
        await deletion.arrived.wait()
        cleanup.let_go()
        await _until_it_waits(nodes.there, of_one)
        deletion.let_go()
    else:
        await _until_it_waits(nodes.there, of_all)
        cleanup.let_go()

    async with asyncio.timeout(30):
        await asyncio.gather(of_one, of_all)

    left = await nodes.here.app.rooms.integrations.by_row(connection.integration_row_id)
    assert left is not None
    assert left.state is IntegrationState.GONE
    names = await nodes.here.app.rooms.store.read(environment_rows.names)
    assert ("dev" in names) == (what == "integration")


@pytest.mark.parametrize("backend", [pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_functions_end_while_their_integration_is_being_deleted(nodes: Nodes) -> None:
    """A deletion of many connections keeps nobody waiting whose turn has not come."""
    await nodes.here.deploy({"setup": SETUP})
    account = nodes.here.provider.add_account("a")
    first = await nodes.here.connect(account, "first")
    await nodes.here.finished(first.connection.row_id)
    end, mark = Hold(), Hold()
    nodes.faults.plan(Point.ATTEMPT_ENDED, end)
    nodes.faults.plan(Point.DELETE_MARKED, mark)
    second = await nodes.here.connect(account, "second")
    await end.arrived.wait()
    of_all = asyncio.create_task(_delete_all(nodes.there, "integration"))
    await mark.arrived.wait()

    end.let_go()

    await nodes.here.finished(second.connection.row_id)
    assert await nodes.here.states(second.connection.row_id) == {"setup": "done"}
    mark.let_go()
    await of_all


@pytest.mark.parametrize("by", ["cleanup", "operation"])
async def test_a_retry_behind_somebody_who_gives_the_cleanup_up_finds_it_given_up(
    nodes: Nodes, by: str
) -> None:
    """It does not begin anew what is gone, and nobody is told that it were parked."""
    await nodes.here.deploy({"cleanup": REFUSES})
    row_id = (await nodes.here.connect(nodes.here.provider.add_account("a"))).connection.row_id
    await nodes.here.delete()
    (parked,) = await nodes.here.finished(row_id)
    environment_id = nodes.here.environment.row_id
    erased = Hold()
    nodes.faults.plan(Point.CONNECTION_ERASED, erased)
    here, there = nodes.here.app.services.lifecycle, nodes.there.app.services.lifecycle
    force = asyncio.create_task(here.force_cleanup(environment_id, parked.id, "it is gone"))
    await erased.arrived.wait()
    retry = asyncio.create_task(
        there.retry_cleanup(environment_id, parked.id)
        if by == "cleanup"
        else there.retry_operation(environment_id, parked.operation_id)
    )
    await _until_it_waits(nodes.there, retry)

    erased.let_go()

    await force
    with pytest.raises((NotFound, OperationNotRetryable)):
        await retry
    assert await nodes.here.states(row_id) == {"cleanup": "superseded"}


async def _delete_all(house: House, what: str) -> None:
    lifecycle = house.app.services.lifecycle
    if what == "integration":
        await lifecycle.delete_integration(house.environment, "acme")
    else:
        await lifecycle.delete_environment(house.environment)


async def _until_it_waits(house: House, task: asyncio.Task[object]) -> None:
    """Come back when a task's transaction waits for one that is held."""
    store = house.app.rooms.store
    if not store.is_postgres:
        await asyncio.sleep(0)  # its unit is in the queue behind the one that is held
        return
    from sqlalchemy import text

    waiting = text("SELECT 1 FROM pg_locks WHERE NOT granted")
    while not task.done() and await store.read(lambda tx: tx.row(waiting)) is None:
        await asyncio.sleep(0.01)
