"""DESIGN.md §2.3: a test for every bullet about the three events."""

from __future__ import annotations

import asyncio
import json

import pytest
from structlog.testing import capture_logs
from tests.lifecycle.house import CLEANUP, SETUP, VALIDATE, House

from carrick.errors import StoreUnavailable, UnknownConnection
from carrick.model.connection import ConnectionState
from carrick.model.event import Declaration, Event
from carrick.model.faults import Point
from carrick.store import events as event_rows
from carrick.store import integrations as integration_rows
from carrick.testing.faults import PlannedFaults, fail_with

RECORDS = """
@create_on_event(event="{event}", description="Leave a trace", waits=[0.01], attempts={attempts})
async def function(ctx: EventContext) -> None:
    await ctx.post("/webhooks", data={{"url": "https://{name}.example"}})
    {then}
"""
PARKS = """
@create_on_event(event="pre-connection-deletion", description="Cannot")
async def function(ctx: EventContext) -> None:
    raise ActionError("a person must look")
"""
REMOVES_EFFECTS = """
@create_on_event(event="pre-connection-deletion", description="Undo what setups did")
async def function(ctx: EventContext) -> None:
    for effect in ctx.effects:
        await ctx.delete("/webhooks/" + effect.data["id"])
"""


def records(name: str, event: str, *, attempts: int = 1, then: str = "pass") -> str:
    """Return a function that calls the provider and then does something."""
    return RECORDS.format(name=name, event=event, attempts=attempts, then=then)


async def test_one_row_per_function_in_declared_order(house: House) -> None:
    """Functions run in order; one that fails does not stop the next."""
    setup = "post-connection-creation"
    await house.deploy(
        {
            "a-first": records("first", setup, then='raise ActionError("no")'),
            "b-second": records("second", setup, attempts=2, then='raise ValueError("no")'),
            "c-third": records("third", setup),
        }
    )
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    events = await house.finished(row_id)
    assert [event.state.value for event in events] == ["failed", "failed", "done"]
    assert [event.attempt for event in events] == [1, 2, 0]
    urls = [json.loads(call.body)["url"] for call in house.writes()]
    assert urls == [f"https://{name}.example" for name in ("first", "second", "third")]
    assert (await house.row(row_id)).setup == "failed"


async def test_the_connection_is_gone_when_all_cleanups_are_done(house: House) -> None:
    """One parked cleanup keeps the connection, although the next one ran."""
    await house.deploy({"a-parks": PARKS, "b-runs": records("b", "pre-connection-deletion")})
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    assert (await house.delete()).state == "parked"
    assert await house.states(row_id) == {"a-parks": "parked", "b-runs": "done"}
    assert (await house.row(row_id)).state is ConnectionState.DELETING


async def test_setup_is_retried_and_shown(house: House) -> None:
    """A provider's outage is retried; the connection shows pending, then done."""
    await house.deploy({"setup": SETUP})
    house.provider.fail("status", path="/webhooks", method="POST", times=2)
    connected = await house.connect(house.provider.add_account("a"))
    assert connected.connection.setup == "pending"
    await house.finished(connected.connection.row_id)
    assert len(house.writes()) == 3
    assert (await house.row(connected.connection.row_id)).setup == "done"


async def test_retry_after_is_honoured(house: House) -> None:
    """A provider that says when to come back is not asked before."""
    await house.deploy({"setup": SETUP})
    house.provider.fail(
        "status", path="/webhooks", method="POST", status=429, headers={"Retry-After": "3600"}
    )
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    events = await house.until(row_id, lambda events: events[0].attempt == 1)
    assert (events[0].due_at - house.app.rooms.clock.now()).total_seconds() > 3000


def test_the_default_waits_are_the_documented_ones() -> None:
    """Setups wait 1, 4, 16, 64 s; cleanups nine times, about a day in all."""
    setup = Declaration(Event.POST_CONNECTION_CREATION, "d")
    assert [setup.wait_after(n) for n in range(1, 5)] == [1, 4, 16, 64]
    assert (setup.max_attempts, setup.timeout) == (5, 300)
    cleanup = Declaration(Event.PRE_CONNECTION_DELETION, "d")
    waits = [cleanup.wait_after(n) for n in range(1, 10)]
    assert waits[:3] == [1, 4, 16]
    assert 23 * 3600 < sum(waits) < 25 * 3600
    assert (cleanup.max_attempts, cleanup.timeout) == (10, 300)
    assert Declaration(Event.VALIDATE_CONNECTION, "d").timeout == 30


async def test_setup_runs_on_reconnect_only_where_declared(house: House) -> None:
    """A reconnect does not register a second webhook unless the function asks to run."""
    account = house.provider.add_account("a")
    again = SETUP.replace("waits=[0.01]", "on_reconnect=True").replace("/in", "/again")
    await house.deploy({"once": SETUP, "always": again})
    row_id = (await house.connect(account)).connection.row_id
    await house.finished(row_id)
    await house.connect(account)
    events = await house.finished(row_id)
    assert sorted(event.function for event in events) == ["always", "always", "once"]


async def test_functions_of_one_connection_never_overlap(house: House) -> None:
    """The cleanup waits for the setup that is running."""
    await house.deploy({"setup": SETUP, "cleanup": CLEANUP})
    house.provider.fail("slow", path="/webhooks", method="POST", delay_s=0.3)
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await house.provider.until(lambda: len(house.writes()) == 1)
    assert (await house.delete()).state == "done"
    assert [event.state.value for event in await house.events(row_id)] == ["done", "done"]
    assert house.provider.webhooks == []


async def test_a_delete_supersedes_a_setup_that_left_nothing(house: House) -> None:
    """A setup that waits for a retry and wrote nothing is not run again."""
    waits = SETUP.replace("waits=[0.01]", "waits=[3600]")
    await house.deploy({"setup": waits})
    house.provider.fail("status", path="/webhooks", method="POST", times=None)
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await house.until(row_id, lambda events: events[0].attempt == 1)
    assert (await house.delete()).state == "done"
    assert await house.states(row_id) == {"setup": "superseded"}


async def test_a_setup_with_effects_gets_one_more_attempt_and_cleanup_sees_them(
    house: House,
) -> None:
    """What a failed setup left at the provider is known to its cleanup."""
    half = """
    @create_on_event(event="post-connection-creation", description="Half", waits=[3600])
    async def function(ctx: EventContext) -> None:
        await ctx.post("/webhooks", data={"url": "https://half.example"})
        raise ValueError("then it broke")
    """
    await house.deploy({"half": half, "undo": REMOVES_EFFECTS})
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await house.until(row_id, lambda events: events[0].attempt == 1)
    assert len(house.provider.webhooks) == 1
    assert (await house.delete()).state == "done"
    events = await house.events(row_id)
    assert [(event.state.value, event.attempt) for event in events] == [("failed", 2), ("done", 0)]
    assert house.provider.webhooks == []


async def test_interruptions_are_counted_apart(house: House) -> None:
    """A run killed by its neighbour is run again without losing an attempt."""
    waits_for_neighbour = """
    import asyncio

    @create_on_event(event="post-connection-creation", description="Victim", attempts=1)
    async def function(ctx: EventContext) -> None:
        if ctx.connection_id == "villain":
            import os
            await ctx.post("/webhooks", data={"url": "https://villain.example"})
            os._exit(1)
        await ctx.get("/api/me")
    """
    await house.deploy({"setup": waits_for_neighbour})
    account = house.provider.add_account("a")
    house.provider.fail("hang", path="/api/me", times=1)
    victim = (await house.connect(account, "victim")).connection.row_id
    await house.provider.until(lambda: len(house.provider.calls_to("GET", "/api/me")) == 1)
    await house.connect(account, "villain")
    events = await house.finished(victim)
    assert (events[0].state.value, events[0].attempt) == ("done", 0)
    assert events[0].interruptions >= 1


async def interrupted_cleanup(house: House, interruptions: int, *, fails: int) -> int:
    """Try a cleanup again that failed and was then interrupted so often; return whose it is.

    Args:
        house: Where.
        interruptions: How often.
        fails: How many attempts the provider refuses, the first included.
    """
    waits = CLEANUP.replace("waits=[0.01]", "waits=[3600]")
    await house.deploy({"setup": SETUP, "cleanup": waits})
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await house.finished(row_id)
    house.provider.fail("status", path="/webhooks/*", method="DELETE", times=fails)
    assert (await house.delete()).state == "retrying"
    cleanup = (await house.events(row_id))[-1]
    store, lifecycle = house.app.rooms.store, house.app.services.lifecycle
    await store.write(lambda tx: event_rows.change(tx, cleanup.id, interruptions=interruptions))
    await lifecycle.retry_cleanup(house.environment.row_id, cleanup.id)
    return row_id


async def test_after_ten_interruptions_a_cleanup_is_parked(house: House) -> None:
    """Something that is always taken away from its runner ends with a person, not for ever."""
    row_id = await interrupted_cleanup(house, 10, fails=1)
    parked = (await house.finished(row_id))[-1]
    assert (parked.state.value, parked.error_kind) == ("parked", "host_failed")
    assert len(house.provider.webhooks) == 1


async def test_what_is_still_to_be_done_is_counted(house: House) -> None:
    """As `/metrics` tells it, on both databases: what waits, and since when it is due."""
    waits = CLEANUP.replace("waits=[0.01]", "waits=[3600]")
    await house.deploy({"setup": SETUP, "cleanup": waits})
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await house.finished(row_id)
    house.provider.fail("status", path="/webhooks/*", method="DELETE", times=1)
    assert (await house.delete()).state == "retrying"
    cleanup = (await house.events(row_id))[-1]
    (counted,) = (await house.app.services.backlog()).events
    assert (counted.event, counted.state, counted.count) == (cleanup.event, "waiting", 1)
    assert counted.due_at == cleanup.due_at


async def test_interruptions_are_counted_in_a_row(house: House) -> None:
    """An attempt that came to its end, even a bad one, ends the row."""
    row_id = await interrupted_cleanup(house, 9, fails=2)
    waiting = (await house.until(row_id, lambda events: events[-1].attempt == 2))[-1]
    assert (waiting.state.value, waiting.interruptions) == ("waiting", 0)


async def test_validation_never_waits_behind_setups(house: House) -> None:
    """With every setup of two hundred connections hanging, a live user still connects."""
    account = house.provider.add_account("a")
    await house.deploy({"setup": SETUP, "validate": VALIDATE})
    house.provider.fail("hang", path="/webhooks", method="POST", times=None)
    await asyncio.gather(*(house.connect(account, f"bulk-{n}") for n in range(200)))
    await house.provider.until(lambda: len(house.writes()) >= 32)
    connected = await house.connect(account, "live")
    assert connected.connection.state is ConnectionState.ACTIVE
    house.provider.recover()


async def test_an_attempt_keeps_the_deployment_it_began_with(house: House) -> None:
    """Another is deployed in the middle: this attempt is the old code's, judged by what it said."""
    setup = "post-connection-creation"
    old = records("old", setup, attempts=2, then='raise ValueError("not yet")')
    await house.deploy({"setup": old})
    house.provider.fail("slow", path="/webhooks", method="POST", delay_s=1.0, times=1)
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await house.provider.until(lambda: len(house.writes()) == 1)

    await house.deploy({"setup": records("new", setup, attempts=1)})
    (event,) = await house.finished(row_id)

    urls = [json.loads(call.body)["url"] for call in house.writes()]
    assert urls == ["https://old.example", "https://new.example"]
    assert (event.state.value, event.attempt) == ("done", 1)


async def test_a_parked_cleanup_is_mended_by_a_deploy(house: House) -> None:
    """Each attempt runs what is deployed at its start."""
    account = house.provider.add_account("a")
    await house.deploy({"setup": SETUP, "cleanup": PARKS})
    row_id = (await house.connect(account)).connection.row_id
    await house.finished(row_id)
    assert (await house.delete()).state == "parked"
    lifecycle = house.app.services.lifecycle
    (parked,) = await lifecycle.cleanups(house.environment.row_id)
    assert "a person must look" in (parked.error_message or "")
    await house.deploy({"setup": SETUP, "cleanup": CLEANUP})
    await lifecycle.retry_cleanup(house.environment.row_id, parked.id)
    await house.finished(row_id)
    assert (await house.row(row_id)).state is ConnectionState.GONE
    assert house.provider.webhooks == []


async def test_what_a_person_has_to_see_to_is_in_the_servers_log(house: House) -> None:
    """By its operation, which knows more; a retry that somebody asked for is in its history."""
    await house.deploy({"cleanup": PARKS})
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    lifecycle = house.app.services.lifecycle
    with capture_logs() as logs:
        assert (await house.delete()).state == "parked"
    (parked,) = await lifecycle.cleanups(house.environment.row_id)
    (line,) = [line for line in logs if line["event"] == "cleanup_parked"]
    assert (line["operation"], line["function"]) == (parked.operation_id, "cleanup")
    await house.deploy({"cleanup": records("fine", "pre-connection-deletion")})
    await lifecycle.retry_cleanup(house.environment.row_id, parked.id)
    await house.finished(row_id)
    said = await house.messages(parked.operation_id)
    assert sum("somebody asked" in line for line in said) == 1


async def test_a_removed_functions_last_version_still_cleans_up(house: House) -> None:
    """The functions of an event are fixed when it is written, not when it runs."""
    account = house.provider.add_account("a")
    await house.deploy({"setup": SETUP, "cleanup": PARKS})
    row_id = (await house.connect(account)).connection.row_id
    await house.finished(row_id)
    await house.delete()
    await house.deploy({"setup": SETUP, "cleanup": CLEANUP})
    await house.deploy({"setup": SETUP})
    lifecycle = house.app.services.lifecycle
    (parked,) = await lifecycle.cleanups(house.environment.row_id)
    await lifecycle.retry_cleanup(house.environment.row_id, parked.id)
    await house.finished(row_id)
    assert house.provider.webhooks == []


async def test_all_parked_cleanups_are_retried_at_once(house: House) -> None:
    """After a deploy that mends them one call is enough; other integrations' stay parked."""
    account = house.provider.add_account("a")
    await house.deploy({"setup": SETUP, "cleanup": PARKS})
    row_ids = []
    for name in ("one", "two", "three"):
        row_ids.append((await house.connect(account, name)).connection.row_id)
        await house.finished(row_ids[-1])
        assert (await house.delete(name)).state == "parked"
    await house.deploy({"setup": SETUP, "cleanup": CLEANUP})
    lifecycle, environment_id = house.app.services.lifecycle, house.environment.row_id
    assert await lifecycle.retry_cleanups(environment_id, "another") == 0
    assert len(await lifecycle.cleanups(environment_id, only_parked=True)) == 3

    assert await lifecycle.retry_cleanups(environment_id, "acme") == 3

    for row_id in row_ids:
        await house.finished(row_id)
    assert house.provider.webhooks == []
    assert await lifecycle.retry_cleanups(environment_id) == 0


async def test_a_rollback_in_the_middle_of_an_attempt_is_for_the_next(house: House) -> None:
    """The attempt that runs is the newer code's; the one after it runs what was rolled back to."""
    setup = "post-connection-creation"
    await house.deploy({"setup": records("old", setup, attempts=3)})
    newer = records("new", setup, attempts=3, then='raise ValueError("a mistake")')
    await house.deploy({"setup": newer})
    house.provider.fail("slow", path="/webhooks", method="POST", delay_s=1.0, times=1)
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await house.provider.until(lambda: len(house.writes()) == 1)

    await house.app.rooms.deployments.rollback(house.environment.row_id, 1)
    (event,) = await house.finished(row_id)

    urls = [json.loads(call.body)["url"] for call in house.writes()]
    assert urls == ["https://new.example", "https://old.example"]
    assert event.state.value == "done"


async def test_a_deploy_that_fails_half_way_changes_nothing(
    house: House, faults: PlannedFaults
) -> None:
    """Written and not yet active, then an error: the deployment before is the active one, whole."""
    await house.deploy({"setup": SETUP, "cleanup": CLEANUP})
    deployments, environment_id = house.app.rooms.deployments, house.environment.row_id
    before = await deployments.functions(environment_id)
    for point in (Point.DEPLOYMENT_WRITTEN, Point.DEPLOYMENT_ACTIVATED):
        faults.plan(point, fail_with(StoreUnavailable("the disk is full")))
        with pytest.raises(StoreUnavailable):
            await house.deploy({"setup": SETUP.replace("Register", "Set")})

    assert await deployments.functions(environment_id) == before
    assert [one.number for one in await deployments.list_deployments(environment_id)] == [1]
    await house.deploy({"setup": SETUP.replace("Register", "Set")})
    assert [one.number for one in await deployments.list_deployments(environment_id)] == [2, 1]


async def test_a_forced_cleanup_lets_the_connection_go(house: House) -> None:
    """A person may give up, and the reason is kept."""
    await house.deploy({"cleanup": PARKS})
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await house.delete()
    lifecycle = house.app.services.lifecycle
    (parked,) = await lifecycle.cleanups(house.environment.row_id)
    await lifecycle.force_cleanup(
        house.environment.row_id, parked.id, "provider is out of business"
    )
    assert (await house.row(row_id)).state is ConnectionState.GONE
    operation = await house.app.rooms.operations.get(house.environment.row_id, parked.operation_id)
    assert operation is not None
    assert "out of business" in (operation.message or "")


async def test_delete_marks_at_once_and_frees_the_id(house: House) -> None:
    """A deleting connection is gone for its callers; a second delete tells its state."""
    account = house.provider.add_account("a")
    await house.deploy({"cleanup": PARKS})
    row_id = (await house.connect(account)).connection.row_id
    assert (await house.delete()).state == "parked"
    assert await house.find() is None
    assert (await house.delete()).state == "parked"
    new = await house.connect(account)
    assert new.connection.row_id != row_id
    with pytest.raises(UnknownConnection):
        await house.delete("never-there")


async def test_gone_means_erased(house: House) -> None:
    """Credentials, config, metadata and journal bodies are gone; a tombstone stays."""
    account = house.provider.add_account("a")
    await house.deploy({"setup": SETUP, "cleanup": CLEANUP})
    row_id = (await house.connect(account)).connection.row_id
    await house.finished(row_id)
    await house.delete()
    tombstone = await house.row(row_id)
    assert tombstone.state is ConnectionState.GONE
    assert (tombstone.connection_config, tombstone.metadata, tombstone.tags) == ({}, None, {})
    from sqlalchemy import text

    async def bodies(tx):  # type: ignore[no-untyped-def]
        credentials = "SELECT credentials FROM connections WHERE credentials IS NOT NULL"
        answers = "SELECT answer FROM journal_entries WHERE answer IS NOT NULL"
        return [*await tx.rows(text(credentials)), *await tx.rows(text(answers))]

    assert await house.app.rooms.store.read(bodies) == []


async def test_deleting_an_integration_cleans_up_each_connection(house: House) -> None:
    """Every webhook goes; the integration's own secrets stay until the last one has."""
    await house.deploy({"setup": SETUP, "cleanup": CLEANUP})
    rows = []
    for name in ("a", "b", "c"):
        account = house.provider.add_account(name)
        rows.append((await house.connect(account, name)).connection.row_id)
    for row_id in rows:
        await house.finished(row_id)
    integration = await house.app.rooms.integrations.get(house.environment.row_id, "acme")
    assert integration is not None
    await house.app.services.lifecycle.delete_integration(house.environment, "acme")
    assert await house.app.rooms.integrations.get(house.environment.row_id, "acme") is None
    for row_id in rows:
        await house.finished(row_id)
    assert house.provider.webhooks == []
    sealed = await house.app.rooms.store.read(
        lambda tx: integration_rows.get(tx, integration.row_id)
    )
    assert sealed is not None
    assert sealed.state == "gone"


async def test_a_failed_setup_is_notified_and_can_be_run_again(house: House) -> None:
    """The app hears of it, and a retry continues the same run."""
    account = house.provider.add_account("a")
    await house.deploy({"setup": SETUP.replace("waits=[0.01]", "attempts=1")})
    house.provider.fail("status", path="/webhooks", method="POST", times=1)
    row_id = (await house.connect(account)).connection.row_id
    (failed,) = await house.finished(row_id)
    assert failed.state.value == "failed"
    await house.provider.until(lambda: len(house.provider.notifications) == 2)
    told = json.loads(house.provider.notifications[1].body)
    assert told["operation"] == "setup_failed"
    await house.app.services.lifecycle.retry_operation(
        house.environment.row_id, failed.operation_id
    )
    (done,) = await house.finished(row_id)
    assert (done.state.value, done.run_id) == ("done", failed.run_id)
    assert (await house.row(row_id)).setup == "done"


async def test_an_integration_without_cleanups_is_gone_at_once(house: House) -> None:
    """Connections that need no cleanup end in the transaction that deletes their integration."""
    account = house.provider.add_account("a")
    rows = [(await house.connect(account, name)).connection.row_id for name in ("a", "b")]
    deletion = await house.app.services.lifecycle.delete_integration(house.environment, "acme")
    assert deletion.state == "done"
    for row_id in rows:
        assert (await house.row(row_id)).state is ConnectionState.GONE


async def test_deleting_an_environment_cleans_up_everything_in_it(house: House) -> None:
    """Each connection of each integration is cleaned up before the environment is gone."""
    await house.deploy({"setup": SETUP, "cleanup": CLEANUP})
    account = house.provider.add_account("a")
    row_id = (await house.connect(account)).connection.row_id
    await house.finished(row_id)
    await house.app.services.lifecycle.delete_environment(house.environment)
    assert await house.app.rooms.environments.by_name("dev") is None
    await house.finished(row_id)
    assert house.provider.webhooks == []
    again = await house.app.rooms.environments.create("dev")
    assert again.environment.row_id != house.environment.row_id
