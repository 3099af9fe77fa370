"""DESIGN.md §2.2: one journey for every entrance, and three verdicts."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.lifecycle.house import CLEANUP, SETUP, VALIDATE, House

from carrick.environments import IntegrationChanges
from carrick.errors import (
    ConnectionBusy,
    ConnectionValidationFailed,
    ConnectionValidationUnavailable,
    CredentialsExhausted,
    InvalidConnection,
    MissingConnectionConfig,
    UnknownIntegration,
)
from carrick.lifecycle.rooms import Timing
from carrick.model.connection import ConnectionState, ErrorCause
from carrick.model.event import Occasion

REFUSES = """
@create_on_event(event="validate-connection", description="Refuse everybody")
async def function(ctx: EventContext) -> None:
    await ctx.set_metadata({"seen": True})
    raise ActionError({"message": "Not this plan, please"})
"""
BROKEN = """
@create_on_event(event="validate-connection", description="Broken")
async def function(ctx: EventContext) -> None:
    raise KeyError("internal-detail")
"""
HANGS = """
import asyncio
import json

@create_on_event(event="validate-connection", description="Never comes back", timeout=1)
async def function(ctx: EventContext) -> None:
    await asyncio.Event().wait()
"""


async def test_an_accepted_connection_is_active(house: House) -> None:
    """Without functions a connect is accepted; its id is the one that was asked for."""
    connected = await house.connect(house.provider.add_account("a"))
    assert connected.occasion is Occasion.IMPORT
    assert connected.connection.state is ConnectionState.ACTIVE
    assert connected.connection.setup == "done"


async def test_a_refused_creation_leaves_nothing(house: House) -> None:
    """The author's message reaches the caller and no connection remains."""
    await house.deploy({"validate": REFUSES})
    with pytest.raises(ConnectionValidationFailed, match="Not this plan, please"):
        await house.connect(house.provider.add_account("a"))
    assert await house.find() is None


async def test_a_defective_function_refuses_without_its_detail(house: House) -> None:
    """Anything but an ActionError reaches the end user as a generic sentence."""
    await house.deploy({"validate": BROKEN})
    with pytest.raises(ConnectionValidationFailed) as raised:
        await house.connect(house.provider.add_account("a"))
    assert "internal-detail" not in raised.value.message


async def test_a_reconnect_of_the_same_account_is_accepted(house: House) -> None:
    """The recorded account is compared with a live identity and matches."""
    account = house.provider.add_account("a")
    await house.deploy({"validate": VALIDATE})
    first = await house.connect(account)
    again = await house.connect(house.provider.issue_tokens(account))
    assert again.occasion is Occasion.RECONNECT
    assert again.connection.row_id == first.connection.row_id
    assert again.connection.generation == first.connection.generation + 1


async def test_a_refused_reconnect_cannot_win(house: House) -> None:
    """Another account marks the connection; its old credentials stay for cleanup alone."""
    good = house.provider.add_account("a")
    await house.deploy({"validate": VALIDATE, "setup": SETUP, "cleanup": CLEANUP})
    row_id = (await house.connect(good)).connection.row_id
    await house.finished(row_id)
    with pytest.raises(ConnectionValidationFailed):
        await house.connect(house.provider.add_account("b"))
    marked = await house.row(row_id)
    assert marked.state is ConnectionState.AUTH_ERROR
    assert marked.error_cause is ErrorCause.REFUSED
    for force in (False, True):
        with pytest.raises(CredentialsExhausted):
            await house.app.rooms.fresh.get(row_id, force=force)
    assert (await house.delete()).state == "done"
    assert house.provider.webhooks == []


async def test_an_accepted_reconnect_heals_a_refused_one(house: House) -> None:
    """Only an accepted reconnect leaves the state that a refused one made."""
    good = house.provider.add_account("a")
    await house.deploy({"validate": VALIDATE})
    row_id = (await house.connect(good)).connection.row_id
    with pytest.raises(ConnectionValidationFailed):
        await house.connect(house.provider.add_account("b"))
    await house.connect(good)
    healed = await house.row(row_id)
    assert (healed.state, healed.error_cause) == (ConnectionState.ACTIVE, None)


async def test_keep_leaves_a_refused_reconnect_active(house: House) -> None:
    """With on_refused_reconnect = keep the connection stays on its previous credentials."""
    good = house.provider.add_account("a")
    await house.deploy({"validate": VALIDATE})
    row_id = (await house.connect(good)).connection.row_id
    await house.app.rooms.integrations.update(
        house.environment.row_id, "acme", IntegrationChanges(on_refused_reconnect="keep")
    )
    with pytest.raises(ConnectionValidationFailed):
        await house.connect(house.provider.add_account("b"))
    assert (await house.row(row_id)).state is ConnectionState.ACTIVE
    kept = await house.app.rooms.fresh.get(row_id)
    assert kept.values["apiKey"] == good.api_key


async def test_a_providers_401_refuses(house: House) -> None:
    """Credentials that the provider itself refuses are a no, not a maybe."""
    await house.deploy({"validate": VALIDATE})
    house.provider.fail("status", path="/api/me", status=401, times=None)
    with pytest.raises(ConnectionValidationFailed):
        await house.connect(house.provider.add_account("a"))


async def test_a_providers_hiccup_is_tried_again(house: House) -> None:
    """A 503 decides nothing: the function runs again and its second answer counts."""
    await house.deploy({"validate": VALIDATE})
    house.provider.fail("status", path="/api/me", status=503, times=1)
    await house.connect(house.provider.add_account("a"))
    assert len(house.provider.calls_to("GET", "/api/me")) == 2


class TestShort:
    """With little time for validation."""

    @pytest.fixture
    def timing(self) -> Timing:
        """Give validation two seconds and a busy connection less."""
        return Timing(validation_s=2.0, busy_s=0.3, stop_s=0.5)

    async def test_an_undecided_reconnect_changes_nothing(self, house: House) -> None:
        """When nobody could say yes or no, the connection is exactly as it was."""
        good = house.provider.add_account("a")
        await house.deploy({"validate": VALIDATE})
        before = (await house.connect(good)).connection
        house.provider.fail("status", path="/api/me", status=500, times=None)
        with pytest.raises(ConnectionValidationUnavailable):
            await house.connect(house.provider.add_account("b"))
        assert await house.row(before.row_id) == before

    async def test_a_time_limit_is_undecided(self, house: House) -> None:
        """A function that never comes back is killed and refuses nobody."""
        await house.deploy({"validate": HANGS})
        with pytest.raises(ConnectionValidationUnavailable):
            await house.connect(house.provider.add_account("a"))
        assert await house.find() is None

    async def test_a_reconnect_waits_for_a_running_setup_and_says_busy(self, house: House) -> None:
        """While a function of the connection runs, a reconnect does not start."""
        account = house.provider.add_account("a")
        await house.deploy({"setup": SETUP})
        house.provider.fail("hang", path="/webhooks", method="POST")
        await house.connect(account)
        await house.provider.until(lambda: len(house.writes()) == 1)
        with pytest.raises(ConnectionBusy):
            await house.connect(account)


async def test_reconnects_go_one_after_another(house: House) -> None:
    """Two reconnects at once both end, in some order, on one connection."""
    account = house.provider.add_account("a")
    await house.deploy({"validate": VALIDATE})
    first = await house.connect(account)
    both = await asyncio.gather(house.connect(account), house.connect(account))
    generations = sorted(one.connection.generation for one in both)
    assert generations == [first.connection.generation + 1, first.connection.generation + 2]


async def test_a_check_that_ends_its_own_process_is_given_up_soon(house: House) -> None:
    """Nobody can tell the platform's fault from the function's; the caller hears so after three."""
    await house.deploy(
        {
            "check": """
            import os

            @create_on_event(event="validate-connection", description="Ends its process")
            async def function(ctx: EventContext) -> None:
                await ctx.get("/api/me")
                os._exit(3)
            """
        }
    )
    with pytest.raises(ConnectionValidationUnavailable):
        await house.connect(house.provider.add_account("a"))
    assert len(house.provider.calls_to("GET", "/api/me")) == 3
    assert await house.find() is None


async def test_two_creations_of_one_id_make_one_connection(house: House) -> None:
    """The one that comes second is validated as a reconnect."""
    account = house.provider.add_account("a")
    await house.deploy({"validate": VALIDATE})
    both = await asyncio.gather(house.connect(account), house.connect(account))
    assert len({one.connection.row_id for one in both}) == 1
    assert {one.occasion for one in both} == {Occasion.IMPORT, Occasion.RECONNECT}


async def test_metadata_written_by_a_check_follows_the_verdict(house: House) -> None:
    """Applied to the live value when accepted, gone when refused."""
    account = house.provider.add_account("a")
    accepts = REFUSES.replace('raise ActionError({"message": "Not this plan, please"})', "pass")
    await house.deploy({"validate": accepts})
    await house.connect(account, metadata={"kept": 1})
    found = await house.find()
    assert found is not None
    assert found.metadata == {"seen": True}
    merges = accepts.replace('set_metadata({"seen": True})', 'update_metadata({"more": 1})')
    refuses = merges.replace("    pass", '    raise ActionError("no")')
    await house.deploy({"validate": refuses})
    with pytest.raises(ConnectionValidationFailed):
        await house.connect(account)
    unchanged = await house.find()
    assert unchanged is not None
    assert unchanged.metadata == {"seen": True}
    await house.deploy({"validate": merges})
    await house.connect(account)
    merged = await house.find()
    assert merged is not None
    assert merged.metadata == {"seen": True, "more": 1}


async def test_a_reconnect_keeps_metadata_and_tags(house: House) -> None:
    """What the reconnect does not bring stays as it was."""
    account = house.provider.add_account("a")
    await house.connect(account, metadata={"plan": "pro"}, tags={"team": "x"})
    await house.connect(account, connection_config=None)
    found = await house.find()
    assert found is not None
    assert (found.metadata, found.tags) == ({"plan": "pro"}, {"team": "x"})
    assert found.connection_config == {"base_url": house.provider.url}


async def test_a_delete_that_wins_refuses_the_reconnect(house: House) -> None:
    """A reconnect whose connection was deleted meanwhile ends as invalid_connection."""
    account = house.provider.add_account("a")
    await house.deploy({"validate": VALIDATE})
    row_id = (await house.connect(account)).connection.row_id
    house.provider.fail("slow", path="/api/me", delay_s=0.5)
    calls = len(house.provider.calls_to("GET", "/api/me"))
    reconnect = asyncio.create_task(house.connect(account))
    await house.provider.until(lambda: len(house.provider.calls_to("GET", "/api/me")) > calls)
    await house.delete()
    with pytest.raises(InvalidConnection):
        await reconnect
    assert (await house.row(row_id)).state is ConnectionState.GONE


async def test_what_is_missing_is_named(house: House) -> None:
    """Unknown integrations and missing config are said by name, before anything is called."""
    account = house.provider.add_account("a")
    with pytest.raises(UnknownIntegration, match="nope"):
        await house.connect(account, integration_id="nope")
    with pytest.raises(MissingConnectionConfig, match="base_url"):
        await house.connect(account, connection_config={})


async def test_the_app_is_told(house: House) -> None:
    """Creation, accepted and refused reconnects are notified in this order."""
    good = house.provider.add_account("a")
    await house.deploy({"validate": VALIDATE})
    await house.connect(good)
    await house.connect(good)
    with pytest.raises(ConnectionValidationFailed):
        await house.connect(house.provider.add_account("b"))
    await house.provider.until(lambda: len(house.provider.notifications) == 3)
    bodies = [json.loads(one.body) for one in house.provider.notifications]
    assert [(body["operation"], body["success"]) for body in bodies] == [
        ("creation", True),
        ("override", True),
        ("override", False),
    ]
