"""A clock that is set by hours while a server runs: nothing runs twice, nothing is held up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update
from tests.lifecycle.conftest import settings_for
from tests.lifecycle.house import House

from carrick.app import running
from carrick.environments import NewIntegration
from carrick.lifecycle.rooms import Timing
from carrick.model.clock import SystemClock
from carrick.store.tables import connections
from carrick.store.unit import Tx
from carrick.testing.fake_provider import FakeProvider

HOURS = timedelta(hours=3)
#: One whose first attempt fails at the provider; the wait for the second is too long for a test.
SETUP = """
@create_on_event(event="post-connection-creation", description="Register", waits=[60])
async def function(ctx: EventContext) -> None:
    await ctx.post("/webhooks", data={"url": "https://app.example/in"})
"""


class SettableClock(SystemClock):
    """The machine's clock, as somebody has set it."""

    def __init__(self) -> None:
        self.ahead = HOURS

    def now(self) -> datetime:
        """Return what the clock shows."""
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock() -> SettableClock:  # type: ignore[override]
    """A clock that is wrong from the start, and can be set."""
    return SettableClock()


@pytest.fixture
async def house(
    store_url: str, tmp_path: Path, provider: FakeProvider, clock: SettableClock, timing: Timing
) -> AsyncIterator[House]:
    """A running server that goes by the clock."""
    settings = settings_for(store_url, tmp_path, provider)
    async with running(settings, clock=clock, timing=timing, migrate_first=True) as app:
        environment = await app.rooms.environments.by_name("dev")
        assert environment is not None
        await app.rooms.integrations.create(
            environment.row_id, NewIntegration(integration_id="acme", provider="api-key")
        )
        made = House(app, provider, environment)
        await made.deploy({"setup": SETUP})
        yield made


async def lease_ends(house: House, row_id: int) -> datetime:
    """Return when the lease of a connection's mailbox ends."""

    async def unit(tx: Tx) -> datetime:
        found = await tx.scalar(
            select(connections.c.mailbox_until).where(connections.c.id == row_id)
        )
        assert isinstance(found, datetime)
        return found

    return await house.app.rooms.store.read(unit)


async def test_what_waits_does_not_wait_longer_when_the_clock_is_set_back(
    house: House, clock: SettableClock
) -> None:
    """A retry comes, and the lease of a holder that died ends, hours before they say."""
    house.provider.fail("status", path="/webhooks", method="POST", status=500)
    waiting = await house.connect(house.provider.add_account("a"))
    await house.until(waiting.connection.row_id, lambda events: events[0].attempt == 1)
    dead = await house.connect(house.provider.add_account("b"), "dead")
    await house.finished(dead.connection.row_id)

    async def hold(tx: Tx) -> None:
        held = {"mailbox_owner": "dead", "mailbox_until": tx.now + timedelta(seconds=6)}
        of_dead = connections.c.id == dead.connection.row_id
        await tx.execute(update(connections).where(of_dead).values(held))

    await house.app.rooms.store.write(hold)

    clock.ahead = timedelta()

    await house.finished(waiting.connection.row_id)
    assert await house.states(waiting.connection.row_id) == {"setup": "done"}
    assert len(house.writes()) == 3
    ends = await lease_ends(house, dead.connection.row_id)
    assert ends <= clock.now() + timedelta(seconds=7)


@pytest.mark.parametrize("step", [HOURS, -HOURS], ids=["forward", "back"])
async def test_what_runs_is_not_run_again_when_the_clock_is_set(
    house: House, clock: SettableClock, step: timedelta
) -> None:
    """A lease that looks expired, or endless, is renewed by its holder, who goes on."""
    house.provider.fail("slow", path="/webhooks", method="POST", delay_s=2.5)
    made = await house.connect(house.provider.add_account("a"))
    await house.provider.until(lambda: len(house.writes()) == 1)

    clock.ahead += step

    await house.until(made.connection.row_id, lambda events: not events[0].is_unfinished)
    event = (await house.events(made.connection.row_id))[0]
    assert (event.state.value, event.attempt, event.interruptions) == ("done", 0, 0)
    assert len(house.writes()) == 1
