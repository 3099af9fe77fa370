"""DESIGN.md §2.4: writes happen once."""

from __future__ import annotations

import json

import pytest
from tests.lifecycle.house import CLEANUP, SETUP, House

from carrick.model.faults import Point
from carrick.store import operations as operation_rows
from carrick.testing.faults import Hold, PlannedFaults

RETRIES_AFTER_WRITE = """
@create_on_event(event="post-connection-creation", description="Fails after", waits=[0.01])
async def function(ctx: EventContext) -> None:
    first = await ctx.post("/webhooks", data={"url": "https://one.example"})
    second = await ctx.post("/webhooks", data={"url": "https://one.example"})
    await ctx.get("/api/me")
    if ctx.attempt == 1:
        raise ValueError("later than the writes")
    await ctx.set_metadata({"ids": [first.data["id"], second.data["id"]]})
"""

#: A cleanup that tells what it was told.
EFFECTS = """
@create_on_event(event="pre-connection-deletion", description="Tell", waits=[0.01])
async def function(ctx: EventContext) -> None:
    found = [[effect.method, effect.endpoint, effect.state] for effect in ctx.effects]
    await ctx.post("/api/echo", data={"effects": found})
"""


async def test_a_write_that_succeeded_is_answered_from_the_journal(house: House) -> None:
    """The second attempt sends neither of two identical writes; its reads are live."""
    await house.deploy({"setup": RETRIES_AFTER_WRITE})
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    (event,) = await house.finished(row_id)
    assert (event.state.value, event.attempt) == ("done", 1)
    assert len(house.writes()) == 2
    assert len(house.provider.calls_to("GET", "/api/me")) == 2
    metadata = (await house.row(row_id)).metadata
    assert metadata is not None
    assert metadata["ids"] == [webhook.id for webhook in house.provider.webhooks]


async def test_identical_writes_have_keys_of_their_own(house: House) -> None:
    """Two writes that look alike are two writes; each keeps its key over attempts."""
    await house.deploy({"setup": RETRIES_AFTER_WRITE})
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await house.finished(row_id)
    keys = [call.idempotency_key for call in house.writes()]
    assert len(set(keys)) == 2
    assert all(keys)


async def test_an_authors_own_idempotency_key_wins(house: House) -> None:
    """What the author sets is what is sent."""
    own = SETUP.replace(
        'data={"url": "https://app.example/in"}',
        'data={"url": "https://app.example/in"}, headers={"idempotency-key": "mine"}',
    )
    await house.deploy({"setup": own})
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await house.finished(row_id)
    assert [call.idempotency_key for call in house.writes()] == ["mine"]


async def test_an_answer_that_is_no_success_is_sent_again(house: House) -> None:
    """A 500 is recorded and the write goes out once more under the same key."""
    await house.deploy({"setup": SETUP})
    house.provider.fail("status", path="/webhooks", method="POST", times=1)
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await house.finished(row_id)
    calls = house.writes()
    assert len(calls) == 2
    assert len({call.idempotency_key for call in calls}) == 1


async def test_an_unknown_outcome_is_sent_again_and_flagged(house: House) -> None:
    """Nobody knows whether the first send counted: same key, and the operation says so."""
    await house.deploy({"setup": SETUP})
    house.provider.fail("close", path="/webhooks", method="POST", times=1, after=True)
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    (event,) = await house.finished(row_id)
    calls = house.writes()
    assert len(calls) == 2
    assert len({call.idempotency_key for call in calls}) == 1
    log = await house.messages(event.operation_id)
    assert any("outcome of an earlier send is unknown" in line for line in log)


@pytest.mark.parametrize("second", ["refused by the provider", "never sent"])
async def test_an_outcome_stays_unknown_until_the_provider_says_success(
    house: House, second: str
) -> None:
    """A second send that fails, or never leaves, says nothing about what the first one did."""
    address = "https://elsewhere.example" if second == "never sent" else ""
    source = f"""
@create_on_event(event="post-connection-creation", description="x", waits=[0.01], attempts=2)
async def function(ctx: EventContext) -> None:
    options = {{"base_url_override": "{address}"}} if ctx.attempt == 2 and "{address}" else {{}}
    await ctx.post("/webhooks", data={{"url": "https://app.example/in"}}, **options)
"""
    await house.deploy({"setup": source, "clean-up": EFFECTS})
    # The provider does the first one's work and is cut off before it can say so.
    house.provider.fail("close", path="/webhooks", method="POST", times=1, after=True)
    house.provider.fail("status", path="/webhooks", method="POST", times=1, status=503)
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    (event,) = await house.finished(row_id)
    assert event.state.value == "failed"

    await house.delete()
    await house.finished(row_id)
    told = [json.loads(call.body) for call in house.writes("POST", "/api/echo")]
    assert told == [{"effects": [["POST", "/webhooks", "unknown"]]}]


async def test_on_unknown_park_stops_there(house: House) -> None:
    """A function that cannot stand a double write stops and waits for a person."""
    parks = SETUP.replace("waits=[0.01]", 'waits=[0.01], on_unknown="park"')
    await house.deploy({"setup": parks})
    house.provider.fail("close", path="/webhooks", method="POST", times=1, after=True)
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    (event,) = await house.finished(row_id)
    assert (event.state.value, event.error_kind) == ("failed", "unknown_write")
    assert len(house.writes()) == 1


RETRIES_BY_ITSELF = SETUP.replace(
    'data={"url": "https://app.example/in"}',
    'data={"url": "https://app.example/in"}, retries=1',
)
#: A gateway gives up on a write that the provider makes, and wants it again at once.
GATEWAY = {"status": 504, "after": True, "headers": {"Retry-After": "0"}}


async def test_a_functions_own_retry_says_that_an_outcome_is_unknown(house: House) -> None:
    """What is answered to the second send says nothing of the first, as after another attempt."""
    once = RETRIES_BY_ITSELF.replace("waits=[0.01]", "waits=[0.01], attempts=1")
    await house.deploy({"setup": once, "clean-up": EFFECTS})
    house.provider.fail("status", path="/webhooks", method="POST", **GATEWAY)
    house.provider.fail("status", path="/webhooks", method="POST", status=409)
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    (event,) = await house.finished(row_id)
    assert len({call.idempotency_key for call in house.writes()}) == 1
    log = await house.messages(event.operation_id)
    assert any("outcome of an earlier send is unknown" in line for line in log)

    await house.delete()
    await house.finished(row_id)
    told = [json.loads(call.body) for call in house.writes("POST", "/api/echo")]
    assert told == [{"effects": [["POST", "/webhooks", "unknown"]]}]


async def test_on_unknown_park_stops_a_functions_own_retry(house: House) -> None:
    """The retries it asked for are not for a write that it cannot stand twice."""
    parks = RETRIES_BY_ITSELF.replace("waits=[0.01]", 'waits=[0.01], on_unknown="park"')
    await house.deploy({"setup": parks})
    house.provider.fail("status", path="/webhooks", method="POST", **GATEWAY)
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    (event,) = await house.finished(row_id)
    assert (event.state.value, event.error_kind) == ("failed", "unknown_write")
    assert len(house.writes()) == 1


async def test_that_a_write_is_sent_twice_is_durable_before_it_is(
    house: House, faults: PlannedFaults
) -> None:
    """A process that is killed right after the second send does not take the line along."""
    await house.deploy({"setup": SETUP})
    second = Hold()
    faults.plan(Point.BEFORE_SEND, second, passing=2)
    house.provider.fail("close", path="/webhooks", method="POST", times=1, after=True)
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await second.arrived.wait()
    (event,) = await house.events(row_id)
    written = await house.app.rooms.store.read(
        lambda tx: operation_rows.list_messages(tx, event.operation_id, after=None, limit=100)
    )
    second.let_go()
    assert any(line.fields.get("outcome_unknown") for line in written)


async def test_a_delete_sent_again_that_finds_nothing_is_done(house: House) -> None:
    """A cleanup whose first DELETE went through unseen is not stopped by a 404."""
    await house.deploy({"setup": SETUP, "cleanup": CLEANUP})
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await house.finished(row_id)
    house.provider.fail("close", path="/webhooks/*", method="DELETE", times=1, after=True)
    await house.delete()
    events = await house.finished(row_id)
    assert [event.state.value for event in events] == ["done", "done"]
    deletes = [call for call in house.provider.calls if call.method == "DELETE"]
    assert len(deletes) == 2


async def test_an_unknown_outcome_stays_unknown_until_a_send_succeeds(house: House) -> None:
    """A refused second send says nothing of the first: the third is still not stopped by a 404."""
    await house.deploy({"setup": SETUP, "cleanup": CLEANUP})
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await house.finished(row_id)
    house.provider.fail("close", path="/webhooks/*", method="DELETE", times=1, after=True)
    house.provider.fail("status", path="/webhooks/*", method="DELETE", times=1, status=503)
    await house.delete()
    events = await house.finished(row_id)
    assert [event.state.value for event in events] == ["done", "done"]
    assert len([call for call in house.provider.calls if call.method == "DELETE"]) == 3


async def test_a_setup_that_may_have_written_is_not_superseded(house: House) -> None:
    """A write nobody knows the outcome of keeps its setup alive, whatever was answered later."""
    waits = SETUP.replace("waits=[0.01]", "waits=[0.01, 3600]")
    await house.deploy({"setup": waits, "cleanup": CLEANUP})
    house.provider._state.honour_idempotency_keys = True
    house.provider.fail("close", path="/webhooks", method="POST", times=1, after=True)
    house.provider.fail("status", path="/webhooks", method="POST", times=1, status=503)
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await house.until(row_id, lambda events: events[0].attempt == 2)
    assert (await house.delete()).state == "done"
    assert house.provider.webhooks == []


async def test_a_gateways_timeout_is_an_unknown_outcome(house: House) -> None:
    """A gateway that got no answer does not know either: the DELETE may have been carried out."""
    await house.deploy({"setup": SETUP, "cleanup": CLEANUP})
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await house.finished(row_id)
    gateway = {"path": "/webhooks/*", "method": "DELETE", "status": 504, "after": True}
    house.provider.fail("status", **gateway)
    await house.delete()
    events = await house.finished(row_id)
    assert [event.state.value for event in events] == ["done", "done"]
    log = await house.messages(events[-1].operation_id)
    assert any("outcome of an earlier send is unknown" in line for line in log)


async def test_a_metadata_write_happens_once(house: House) -> None:
    """What the app wrote between two attempts is not written over by the second."""
    writes_then_fails = """
    @create_on_event(event="post-connection-creation", description="Twice", waits=[0.01])
    async def function(ctx: EventContext) -> None:
        await ctx.update_metadata(stage="new")
        await ctx.get("/api/me")
    """
    await house.deploy({"setup": writes_then_fails})
    house.provider.fail("status", path="/api/me", status=429, headers={"Retry-After": "1"})
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await house.until(row_id, lambda events: events[0].attempt == 1)
    await house.app.rooms.connections.write_metadata(
        house.environment.row_id, "acme", ["one"], {"stage": "changed by the app"}, merge=True
    )
    await house.finished(row_id)
    assert (await house.row(row_id)).metadata == {"stage": "changed by the app"}


async def test_now_and_uuid_are_stable_within_a_run(house: House) -> None:
    """A body with a time and an id in it is the same write on the second attempt."""
    stable = """
    @create_on_event(event="post-connection-creation", description="Stable", waits=[0.01])
    async def function(ctx: EventContext) -> None:
        body = {"url": "https://x.example/" + str(ctx.uuid()), "at": ctx.now().isoformat()}
        await ctx.post("/webhooks", data=body)
        if ctx.attempt == 1:
            raise ValueError("again")
    """
    await house.deploy({"setup": stable})
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    (event,) = await house.finished(row_id)
    assert event.state.value == "done"
    assert len(house.writes()) == 1
    assert json.loads(house.writes()[0].body)["at"]


async def test_answers_are_sealed(house: House) -> None:
    """What the provider answered lies encrypted in the store."""
    from sqlalchemy import text

    await house.deploy({"setup": SETUP})
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await house.finished(row_id)
    (webhook,) = house.provider.webhooks
    (row,) = await house.app.rooms.store.read(
        lambda tx: tx.rows(text("SELECT answer FROM journal_entries WHERE answer IS NOT NULL"))
    )
    assert webhook.id.encode() not in bytes(row.answer)
