"""A provider that is out holds up nobody else's functions, and nothing of its own is lost."""

from __future__ import annotations

import asyncio

from tests.lifecycle.house import House, packed

from carrick.environments import NewIntegration
from carrick.lifecycle.turns import OUTAGE_AFTER
from carrick.model.connection import SetupState

SETUP = """
@create_on_event(
    event="post-connection-creation", description="Register", waits=[2], attempts=3
)
async def function(ctx: EventContext) -> None:
    await ctx.post("/webhooks", data={"url": "https://app.example/" + ctx.connection_id})
"""
#: What another integration's setup asks of the same provider.
OTHER = SETUP.replace("/webhooks", "/api/echo")


async def deploy_both(house: House) -> None:
    """Deploy a setup for `acme`, and another one for an integration of its own."""
    await house.app.rooms.integrations.create(
        house.environment.row_id, NewIntegration(integration_id="other", provider="api-key")
    )
    bundle = packed({"acme": {"register": SETUP}, "other": {"register": OTHER}})
    await house.app.rooms.deployments.deploy(house.environment.row_id, bundle)


async def connect_many(house: House, count: int) -> list[int]:
    """Connect that many accounts of `acme` and return the connections' rows."""
    account = house.provider.add_account("ann")
    made = await asyncio.gather(
        *(house.connect(account, f"customer-{number}") for number in range(count))
    )
    return [connected.connection.row_id for connected in made]


async def test_setups_that_hang_hold_up_no_other_integration(house: House) -> None:
    """However many functions of one integration hang, the next integration's has a place."""
    await deploy_both(house)
    house.provider.fail("hang", path="/webhooks", times=None)
    await connect_many(house, house.app.services.lifecycle.turns.places + 10)

    account = house.provider.add_account("bob")
    made = await house.connect(account, "one", integration_id="other")
    await house.finished(made.connection.row_id)

    row = await house.row(made.connection.row_id)
    assert row.setup is SetupState.DONE


async def test_an_outage_costs_no_attempts_and_ends_by_itself(house: House) -> None:
    """While a provider answers 503 its functions wait; when it is back each runs once."""
    await deploy_both(house)
    house.provider.fail("status", path="/webhooks", times=None, status=503)
    rows = await connect_many(house, 60)
    await house.provider.until(lambda: len(house.writes()) >= OUTAGE_AFTER)
    validated = await house.connect(
        house.provider.add_account("bob"), "one", integration_id="other"
    )
    await house.finished(validated.connection.row_id)
    # What was under way when the outage was noticed; from then on one at a time.
    assert len(house.writes()) < len(rows)

    house.provider.recover()
    for row_id in rows:
        await house.finished(row_id)

    states = [(await house.row(row_id)).setup for row_id in rows]
    assert states == [SetupState.DONE] * 60
    assert len(house.provider.webhooks) == 60


async def test_an_outage_that_is_known_costs_no_attempt(house: House) -> None:
    """One attempt is all these setups have; the last of them fails when it is known why."""
    await house.deploy({"register": SETUP.replace("attempts=3", "attempts=1")})
    house.provider.fail("status", path="/webhooks", times=None, status=503)
    rows = await connect_many(house, OUTAGE_AFTER)
    tried = [
        (await house.until(row_id, lambda events: events[0].error_kind is not None))[0]
        for row_id in rows
    ]
    (waiting,) = [event for event in tried if event.is_unfinished]
    assert (waiting.state.value, waiting.attempt) == ("waiting", 0)

    house.provider.recover()
    (done,) = await house.finished(waiting.connection_row_id)
    assert done.state.value == "done"
    said = await house.messages(done.operation_id)
    assert any("does not count" in line for line in said)
