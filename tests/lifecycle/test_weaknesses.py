"""Faults that systems of this kind are known for, looked for here (docs/reliability.md)."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from tests.lifecycle.house import SETUP, VALIDATE, House

from carrick.connections import ConnectionFilter
from carrick.dryrun.dry_runs import DryRunRequest, DryRuns
from carrick.environments import IntegrationChanges
from carrick.errors import (
    ConnectionValidationFailed,
    CredentialsExhausted,
    InvalidBody,
    UnknownIntegration,
)
from carrick.lifecycle.validate import MAX_MESSAGE
from carrick.model.connection import ConnectionState, EndUser
from carrick.model.faults import Point
from carrick.store import retention, tables
from carrick.store.operations import OperationFilter
from carrick.store.unit import Tx
from carrick.testing.faults import Hold, PlannedFaults

TOLD = """
@create_on_event(event="validate-connection", description="Say what it was told")
async def function(ctx: EventContext) -> None:
    before = (ctx.previous or {}).get("metadata")
    raise ActionError(f"{ctx.operation} {before} {await ctx.get_metadata()}")
"""
ACCEPTS = """
@create_on_event(event="validate-connection", description="Everybody may")
async def function(ctx: EventContext) -> None:
    await ctx.get("/api/me")
"""


TELLS_APP = """
@create_on_event(event="pre-connection-deletion", description="Remove it, or say what is left")
async def function(ctx: EventContext) -> None:
    metadata = await ctx.get_metadata()
    try:
        await ctx.delete("/webhooks/" + metadata["webhook_id"])
    except ProviderError as error:
        await ctx.log("left behind: " + metadata["webhook_id"] + f" {error.response.status}")
"""


async def test_nobody_sees_a_candidate_while_it_is_checked(house: House) -> None:
    """While a check of new credentials runs, every other caller has the old ones."""
    good, other = house.provider.add_account("a"), house.provider.add_account("b")
    await house.deploy({"validate": VALIDATE})
    row_id = (await house.connect(good, metadata={"plan": "pro"})).connection.row_id
    before = await house.row(row_id)
    house.provider.fail("slow", path="/api/me", delay_s=0.5)
    calls = len(house.provider.calls_to("GET", "/api/me"))
    reconnect = asyncio.create_task(house.connect(other, metadata={"plan": "other"}))
    await house.provider.until(lambda: len(house.provider.calls_to("GET", "/api/me")) > calls)

    used = await house.app.rooms.fresh.get(row_id)
    assert used.values["apiKey"] == good.api_key
    assert await house.row(row_id) == before
    with pytest.raises(ConnectionValidationFailed):
        await reconnect


async def test_a_refused_reconnect_brings_nothing_along(house: House) -> None:
    """Config, metadata, tags, end user and address stay what they were; only the mark is new."""
    await house.deploy({"validate": VALIDATE})
    row_id = (
        await house.connect(
            house.provider.add_account("a"),
            metadata={"plan": "pro"},
            tags={"team": "x"},
            end_user=EndUser("u1"),
            webhook_url_override=house.provider.notification_url,
        )
    ).connection.row_id
    before = await house.row(row_id)
    with pytest.raises(ConnectionValidationFailed):
        await house.connect(
            house.provider.add_account("b"),
            connection_config={"base_url": house.provider.url, "other": "1"},
            metadata={"plan": "other"},
            tags={"team": "y"},
            end_user=EndUser("u2"),
            webhook_url_override="https://other.example",
        )
    after = await house.row(row_id)
    assert after.state is ConnectionState.AUTH_ERROR
    kept = ("connection_config", "metadata", "tags", "end_user", "webhook_url_override")
    assert [getattr(after, name) for name in (*kept, "account_id")] == [
        getattr(before, name) for name in (*kept, "account_id")
    ]


async def test_nothing_is_announced_of_a_refused_import(house: House) -> None:
    """No notification and no setup of a connection that never was; only the log has it."""
    await house.deploy({"setup": SETUP, "validate": VALIDATE})
    house.provider.fail("status", path="/api/me", status=403, times=1)
    with pytest.raises(ConnectionValidationFailed):
        await house.connect(house.provider.add_account("a"), "refused")
    row_id = (await house.connect(house.provider.add_account("b"))).connection.row_id
    await house.finished(row_id)
    await house.provider.until(lambda: len(house.provider.notifications) == 1)
    assert json.loads(house.provider.notifications[0].body)["connectionId"] == "one"
    assert len(house.writes()) == 1
    operations = await house.app.rooms.operations.list(
        house.environment.row_id, OperationFilter(connection_ids=("refused",))
    )
    assert [(one.action, one.state) for one in operations] == [("create_connection", "failed")]


async def test_a_check_is_told_the_occasion_and_what_was_before(house: House) -> None:
    """Creation, import and reconnect can be told apart, and a reconnect knows the old metadata."""
    account = house.provider.add_account("a")
    await house.deploy({"validate": TOLD})
    with pytest.raises(ConnectionValidationFailed) as raised:
        await house.connect(account)
    assert raised.value.message == "import None {}"
    with pytest.raises(ConnectionValidationFailed) as raised:
        await house.connect(account, source="form", body={"apiKey": account.api_key})
    assert raised.value.message == "creation None {}"
    await house.deploy({"validate": ACCEPTS})
    await house.connect(account, metadata={"plan": "pro"})
    await house.deploy({"validate": TOLD})
    with pytest.raises(ConnectionValidationFailed) as raised:
        await house.connect(account)
    assert raised.value.message == "reconnect {'plan': 'pro'} {'plan': 'pro'}"


async def test_an_authors_message_is_bounded(house: House) -> None:
    """However much a function raises, the end user reads the beginning of it."""
    refuses = ACCEPTS.replace('await ctx.get("/api/me")', 'raise ActionError("x" * 100_000)')
    await house.deploy({"validate": refuses})
    with pytest.raises(ConnectionValidationFailed) as raised:
        await house.connect(house.provider.add_account("a"))
    assert raised.value.message == "x" * MAX_MESSAGE


async def test_what_an_author_adds_to_a_refusal_is_in_the_log(house: House) -> None:
    """The end user reads the message; who looks into the log sees the rest as well."""
    payload = '{"message": "Wrong plan", "plan": "free"}'
    refuses = ACCEPTS.replace('await ctx.get("/api/me")', f"raise ActionError({payload})")
    await house.deploy({"validate": refuses})
    with pytest.raises(ConnectionValidationFailed, match=r"^Wrong plan$"):
        await house.connect(house.provider.add_account("a"))
    operations = house.app.rooms.operations
    (attempt,) = await operations.list(
        house.environment.row_id, OperationFilter(actions=("create_connection",))
    )
    fields = [line.fields for line in await operations.messages(attempt.id)]
    assert {"message": "Wrong plan", "plan": "free"} in [one.get("payload") for one in fields]


async def test_the_attempt_is_a_success_when_the_last_check_says_so(house: House) -> None:
    """With two checks the first one's yes is not shown as the attempt's."""
    refuses = VALIDATE.replace(
        "await ctx.require", 'raise ActionError("no")\n    await ctx.require'
    )
    await house.deploy({"a-accepts": ACCEPTS, "b-refuses": refuses})
    house.provider.fail("slow", path="/api/me", delay_s=0.3, times=2)
    calls = house.provider.calls_to
    connecting = asyncio.create_task(house.connect(house.provider.add_account("a")))
    await house.provider.until(lambda: len(calls("GET", "/api/me")) == 2)
    wanted = OperationFilter(actions=("create_connection",), states=("success",))
    operations, environment_id = house.app.rooms.operations, house.environment.row_id
    assert await operations.list(environment_id, wanted) == []
    with pytest.raises(ConnectionValidationFailed):
        await connecting
    assert await operations.list(environment_id, wanted) == []


async def test_cleanup_reads_metadata_when_credentials_are_dead(house: House) -> None:
    """A connection whose credentials do not work any more still knows what it has to remove."""
    account = house.provider.add_account("a")
    await house.deploy({"validate": VALIDATE, "setup": SETUP, "cleanup": TELLS_APP})
    row_id = (await house.connect(account)).connection.row_id
    await house.finished(row_id)
    (webhook,) = house.provider.webhooks
    with pytest.raises(ConnectionValidationFailed):
        await house.connect(house.provider.add_account("b"))
    with pytest.raises(CredentialsExhausted):
        await house.app.rooms.fresh.get(row_id)
    house.provider.revoke(account)
    assert (await house.delete()).state == "done"
    assert [
        message
        for event in await house.events(row_id)
        for message in await house.messages(event.operation_id)
        if webhook.id in message
    ] != []


async def test_the_account_outlives_every_metadata_write(house: House) -> None:
    """A setup that replaces all metadata does not make the next account welcome."""
    clears = SETUP.replace("update_metadata(webhook_id=", "set_metadata(dict(only=")
    clears = clears.replace('hook.data["id"])', 'hook.data["id"]))')
    await house.deploy({"validate": VALIDATE, "setup": clears})
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await house.finished(row_id)
    connections, environment_id = house.app.rooms.connections, house.environment.row_id
    await connections.write_metadata(environment_id, "acme", ["one"], {}, merge=False)
    with pytest.raises(ConnectionValidationFailed):
        await house.connect(house.provider.add_account("b"))


async def test_metadata_written_at_once_is_all_kept(house: House) -> None:
    """Twenty callers that each merge one key lose none of each other's."""
    await house.connect(house.provider.add_account("a"), metadata={"kept": True})
    connections, environment_id = house.app.rooms.connections, house.environment.row_id
    await asyncio.gather(
        *(
            connections.write_metadata(environment_id, "acme", ["one"], {f"k{n}": n}, merge=True)
            for n in range(20)
        )
    )
    found = await house.find()
    assert found is not None
    assert found.metadata == {"kept": True} | {f"k{n}": n for n in range(20)}


async def test_a_function_may_write_metadata_at_once(house: House) -> None:
    """Twenty merges of one function lose nothing of each other's, and do not hold each other up."""
    at_once = """
    import asyncio

    @create_on_event(event="post-connection-creation", description="All at once", attempts=1)
    async def function(ctx: EventContext) -> None:
        await asyncio.gather(
            *(ctx.update_metadata({f"k{n}": n}) for n in range(20)),
            *(ctx.require_same_account("me") for _ in range(5)),
        )
    """
    await house.deploy({"setup": at_once})
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    (event,) = await house.finished(row_id)
    assert (event.state.value, event.interruptions, event.error_message) == ("done", 0, None)
    assert (await house.row(row_id)).metadata == {f"k{n}": n for n in range(20)}


async def test_a_lock_is_one_for_all_runs(house: House) -> None:
    """Functions of two connections that ask for one lock never hold it at the same time."""
    locks = """
    @create_on_event(event="post-connection-creation", description="One at a time", attempts=1)
    async def function(ctx: EventContext) -> None:
        async with ctx.lock("webhooks", ttl=30, wait=20):
            await ctx.get("/api/me", params={"enter": ctx.connection_id})
            await ctx.get("/api/me", params={"leave": ctx.connection_id})
    """
    await house.deploy({"setup": locks})
    house.provider.fail("slow", path="/api/me", delay_s=0.2, times=4)
    account = house.provider.add_account("a")
    rows = [(await house.connect(account, name)).connection.row_id for name in ("one", "two")]
    for row_id in rows:
        (event,) = await house.finished(row_id)
        assert event.state.value == "done", event.error_message
    names = [call.query.partition("=")[2] for call in house.provider.calls_to("GET", "/api/me")]
    assert names in (["one", "one", "two", "two"], ["two", "two", "one", "one"])


async def test_tags_are_found_whatever_their_names(house: House) -> None:
    """Dots, slashes and hyphens in a tag's name are no paths to a database."""
    tags = {"a.b/c": "1", "a-b": "2", "a_b": "3"}
    await house.connect(house.provider.add_account("a"), tags=tags)
    connections, environment_id = house.app.rooms.connections, house.environment.row_id
    for name, value in tags.items():
        found = await connections.list(environment_id, ConnectionFilter(tags={name: value}))
        assert len(found) == 1, name
    assert await connections.list(environment_id, ConnectionFilter(tags={"a": "1"})) == []


# --- a dry run ------------------------------------------------------------------------------

ENDINGS = {"ends": "pass", "says-no": 'raise ActionError("no")', "fails": "1 / 0"}
OPERATIONS = {
    "validate-connection": ("creation", "reconnect", "import"),
    "post-connection-creation": ("creation", "reconnect"),
    "pre-connection-deletion": ("deletion",),
}
EVERYTHING = """
@create_on_event(event="{event}", description="Write everywhere")
async def function(ctx: EventContext) -> None:
    me = await ctx.get("/api/me")
    await ctx.require_same_account(me.data["organization_id"])
    await ctx.post("/webhooks", data={{"url": "https://dry.example"}})
    await ctx.delete("/webhooks/w1")
    await ctx.set_metadata({{"dry": True}})
    await ctx.update_metadata({{"dry": 2}})
    await ctx.save_checkpoint({{"page": 1}})
    async with ctx.lock("dry", ttl=30):
        await ctx.fetch("{url}/outside", method="POST", data={{}})
    {then}
"""


async def everything(house: House) -> dict[str, list[Any]]:
    """Return all rows of all tables but the log, which a dry run is written into.

    Of notifications only which there are: an earlier one may be on its way.
    """
    await house.app.rooms.operations.flush()

    async def unit(tx: Tx) -> dict[str, list[Any]]:
        kept, log = {}, ("operations", "operation_messages")
        for table in tables.metadata.sorted_tables:
            if table.name in (*log, "notification_attempts", "notifications", "connections"):
                continue
            kept[table.name] = sorted(map(repr, await tx.rows(select(table))))
        columns = [one for one in tables.connections.c if one.name != "last_fetched_at"]
        kept["notifications"] = list(map(repr, await tx.rows(select(tables.notifications.c.id))))
        kept["connections"] = [tuple(row) for row in await tx.rows(select(*columns))]
        return kept

    return await house.app.rooms.store.read(unit)


async def test_a_dry_run_touches_nothing(house: House) -> None:
    """Whatever a function does and however it ends, the provider and every table are as before."""
    await house.deploy({"setup": SETUP})
    await house.finished((await house.connect(house.provider.add_account("a"))).connection.row_id)
    tried = {
        f"{event}-{how}": EVERYTHING.format(event=event, url=house.provider.url, then=then)
        for event in OPERATIONS
        for how, then in ENDINGS.items()
    }
    await house.deploy({"setup": SETUP, **tried})
    before, calls = await everything(house), len(house.provider.calls)
    reports = [
        await DryRuns(house.app.rooms).run(
            DryRunRequest(house.environment, name, "one", operation=operation)
        )
        for name in tried
        for operation in next(o for event, o in OPERATIONS.items() if name.startswith(event))
    ]
    assert {one.outcome for one in reports} == {"succeeded", "action_error", "function_failed"}
    for report in reports:
        withheld = [call["method"] for call in report.calls if call["withheld"]]
        assert withheld[:2] == ["POST", "DELETE"], report.detail
    assert {call.method for call in house.provider.calls[calls:]} == {"GET"}
    assert await everything(house) == before


# --- renaming and removing integrations -----------------------------------------------------


async def test_an_integration_that_functions_are_deployed_for_keeps_its_id(house: House) -> None:
    """Under another id its checks would silently be nobody's."""
    await house.deploy({"validate": VALIDATE})
    integrations, environment_id = house.app.rooms.integrations, house.environment.row_id
    changes = IntegrationChanges(integration_id="renamed")
    with pytest.raises(InvalidBody, match="functions"):
        await integrations.update(environment_id, "acme", changes)


async def test_a_rename_wins_over_a_connect_that_began_before(
    house: House, faults: PlannedFaults
) -> None:
    """No connection is left under an id that no integration has."""
    held = Hold()
    faults.plan(Point.CANDIDATE_VERIFIED, held)
    connecting = asyncio.create_task(house.connect(house.provider.add_account("a")))
    await held.arrived.wait()
    changes = IntegrationChanges(integration_id="renamed")
    await house.app.rooms.integrations.update(house.environment.row_id, "acme", changes)
    held.let_go()
    with pytest.raises(UnknownIntegration):
        await connecting
    connections = house.app.rooms.connections
    assert await connections.list(house.environment.row_id, ConnectionFilter()) == []


# --- what is forgotten ----------------------------------------------------------------------


async def test_a_failed_setup_can_be_run_again_however_old_it_is(house: House) -> None:
    """Its operation stays in the log for as long as the connection shows the failure."""
    await house.deploy({"setup": SETUP.replace("waits=[0.01]", "attempts=1")})
    house.provider.fail("status", path="/webhooks", method="POST", times=1)
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    (failed,) = await house.finished(row_id)
    store, environment_id = house.app.rooms.store, house.environment.row_id
    lifecycle, wanted = house.app.services.lifecycle, OperationFilter(types=("events",))

    async def forgotten(tx: Tx) -> int:
        return await retention.forget_operations(tx, tx.now + timedelta(days=400))

    assert await store.write(forgotten) > 0  # the connect, which ended well
    (left,) = await house.app.rooms.operations.list(environment_id, wanted)
    assert (left.id, left.state) == (failed.operation_id, "failed")
    await lifecycle.retry_operation(environment_id, left.id)
    await house.finished(row_id)
    assert (await house.row(row_id)).setup == "done"
    await store.write(forgotten)
    assert await house.app.rooms.operations.list(environment_id, wanted) == []
