"""Fresh credentials on both databases: asked for once, stored first, lost never."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import pytest

from carrick.auth import ModeContext, mode_for
from carrick.connections import states
from carrick.connections.states import Promotion
from carrick.credentials import (
    FreshCredentials,
    RefreshFailure,
    RefreshSuccess,
    Results,
    drive,
    open_credentials,
    seal_credentials,
)
from carrick.environments import Environments, Integrations
from carrick.environments.integrations import NewIntegration
from carrick.errors import (
    CiphertextInvalid,
    ConnectionTestFailed,
    CredentialsBackingOff,
    CredentialsExhausted,
    CredentialsUnavailable,
    InvalidCredentials,
    ProviderTimeout,
    RefreshFaulty,
    StoreUnavailable,
    UnknownConnection,
)
from carrick.model.auth import AuthMode, Credentials
from carrick.model.connection import Connection, ConnectionState, ErrorCause, SetupState
from carrick.model.http import OutboundAnswer, OutboundRequest
from carrick.providers import Catalogue
from carrick.store import connections as connection_rows
from carrick.store import refresh as rows
from carrick.store.unit import Store, Tx
from carrick.testing.clock import FakeChance, FakeClock
from carrick.vault import Vault

T = TypeVar("T")
IDLE = timedelta(days=1)
VAULT = Vault({"k": bytes(32)}, "k")
CATALOGUE = Catalogue(()).with_definitions(
    {
        "oauth": {
            "display_name": "OAuth",
            "auth_mode": "OAUTH2",
            "docs": "https://example.com",
            "authorization_url": "https://login.example.com/authorize",
            "token_url": "https://login.example.com/token",
            "token_response_metadata": ["instance_url"],
            "proxy": {"base_url": "https://api.example.com"},
        },
        "hasty": {"alias": "oauth", "token_expiration_buffer": 60},
        "key": {
            "display_name": "Key",
            "auth_mode": "API_KEY",
            "docs": "https://example.com",
            "credentials": {
                "apiKey": {"type": "string", "title": "API Key", "description": "The key"}
            },
            "proxy": {"base_url": "https://api.example.com"},
        },
    },
    origin="test",
)


class TokenEndpoint:
    """A provider that ends a refresh token with its first use, and answers when it is let."""

    def __init__(self) -> None:
        self.valid = "refresh-0"
        self.asked: list[dict[str, str]] = []
        self.faults: list[Exception | OutboundAnswer] = []
        self.lifetime_s = 3600
        self.more: dict[str, Any] = {}
        self.arrived = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def send(
        self, request: OutboundRequest, *, timeout_s: float, max_bytes: int
    ) -> OutboundAnswer:
        sent = dict(parse_qsl((request.body or b"").decode()))
        self.asked.append(sent)
        number = len(self.asked)
        fault = self.faults.pop(0) if self.faults else None
        is_valid = sent.get("refresh_token") == self.valid
        if fault is None and is_valid:
            self.valid = f"refresh-{number}"
        self.arrived.set()
        await self.open.wait()
        if isinstance(fault, Exception):
            raise fault
        if fault is not None:
            return fault
        if not is_valid:
            return answer({"error": "invalid_grant", "error_description": "used before"}, 400)
        return answer(
            {
                "access_token": f"access-{number}",
                "refresh_token": f"refresh-{number}",
                "expires_in": self.lifetime_s,
                **self.more,
            }
        )


class Watch:
    """Does to connections what the lifecycle does, and remembers what it was told."""

    def __init__(self) -> None:
        self.refreshed: list[int] = []
        self.successes: list[RefreshSuccess] = []
        self.failures: list[RefreshFailure] = []

    async def refreshed_in(self, tx: Tx, connection_row_id: int, success: RefreshSuccess) -> None:
        self.refreshed.append(connection_row_id)
        self.successes.append(success)
        connection = await connection_rows.get(tx, connection_row_id, lock=True)
        if connection is not None and connection.state is ConnectionState.AUTH_ERROR:
            await states.refresh_healed(tx, connection)

    async def refresh_failed_in(
        self, tx: Tx, connection_row_id: int, failure: RefreshFailure
    ) -> None:
        self.failures.append(failure)
        if failure.exhausted:
            connection = await connection_rows.get(tx, connection_row_id, lock=True)
            assert connection is not None
            await states.refresh_exhausted(tx, connection, failure.operation_id)


class StoreWithOutages:
    """A store whose next writes fail, as many as it is told."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.outages = 0

    async def write(self, unit: Callable[[Tx], Awaitable[T]]) -> T:
        if self.outages > 0:
            self.outages -= 1
            raise StoreUnavailable
        return await self._store.write(unit)

    async def read(self, unit: Callable[[Tx], Awaitable[T]], *, scans: bool = False) -> T:
        return await self._store.read(unit, scans=scans)

    async def recall(self, key: Hashable, unit: Callable[[Tx], Awaitable[T]]) -> T:
        return await self._store.recall(key, unit)


def answer(body: Any, status: int = 200) -> OutboundAnswer:
    return OutboundAnswer(status, {"content-type": "application/json"}, json.dumps(body).encode())


REFUSED = answer({"error": "invalid_grant", "error_description": "revoked"}, 400)
DOWN = answer({}, 503)


@dataclass
class House:
    """The room under test on two nodes, and everything around it."""

    store: Store
    clock: FakeClock
    endpoint: TokenEndpoint
    watch: Watch
    integrations: Integrations
    environment_id: int
    nodes: list[FreshCredentials] = field(default_factory=list)

    @property
    def fresh(self) -> FreshCredentials:
        return self.nodes[0]

    def node(self, store: Any = None) -> FreshCredentials:
        chance = FakeChance(seed=100 + len(self.nodes))
        results = Results(
            store=store or self.store,
            vault=VAULT,
            observer=self.watch,
            clock=self.clock,
            chance=chance,
            new_operation_id=lambda: chance.token_hex(10),
            idle=IDLE,
        )
        made = FreshCredentials(
            store=store or self.store,
            vault=VAULT,
            send=self.endpoint.send,
            catalogue=CATALOGUE,
            integrations=self.integrations,
            results=results,
            clock=self.clock,
            chance=chance,
        )
        self.nodes.append(made)
        return made

    async def connect(
        self, credentials: Credentials, *, provider: str = "oauth", name: str = "c"
    ) -> int:
        found = await self.integrations.get(self.environment_id, provider)
        integration = found or await self.integrations.create(
            self.environment_id,
            NewIntegration(
                integration_id=provider,
                provider=provider,
                credentials={
                    "type": "OAUTH2",
                    "client_id": "the-client",
                    "client_secret": "the-secret",
                }
                if provider != "key"
                else None,
            ),
        )

        async def unit(tx: Tx) -> int:
            return await states.create(
                tx,
                environment_id=self.environment_id,
                integration_row_id=integration.row_id,
                integration_id=integration.integration_id,
                provider=provider,
                connection_id=name,
                promotion=promotion(credentials),
            )

        return await self.store.write(unit)

    async def row(self, row_id: int) -> rows.RefreshRow:
        row = await self.store.read(lambda tx: rows.get(tx, row_id))
        assert row is not None
        return row

    async def stored(self, row_id: int) -> Credentials:
        row = await self.row(row_id)
        assert row.credentials is not None
        return open_credentials(VAULT, row.credential_set, row.credentials)

    async def change(
        self, row_id: int, action: Callable[[Tx, Connection], Awaitable[None]]
    ) -> None:
        async def unit(tx: Tx) -> None:
            connection = await connection_rows.get(tx, row_id, lock=True)
            assert connection is not None
            await action(tx, connection)

        await self.store.write(unit)

    async def set(self, row_id: int, **columns: Any) -> None:
        await self.store.write(lambda tx: connection_rows.change(tx, row_id, columns))


def promotion(credentials: Credentials, credential_set: str = "set-0") -> Promotion:
    return Promotion(
        credential_set=credential_set,
        auth_mode=credentials.auth_mode.value,
        credentials=seal_credentials(VAULT, credential_set, credentials),
        credentials_expires_at=credentials.expires_at,
        connection_config={"subdomain": "acme"},
        metadata=None,
        tags=None,
        end_user_row_id=None,
        account_id=None,
        webhook_url_override=None,
        setup=SetupState.DONE,
    )


def token(clock: FakeClock, minutes: float | None, **values: Any) -> Credentials:
    """An access token that lasts so long, with a refresh token."""
    expires_at = None if minutes is None else clock.now() + timedelta(minutes=minutes)
    stored = {"access_token": "access-0", "refresh_token": "refresh-0", **values}
    return Credentials(AuthMode.OAUTH2, stored, expires_at)


@pytest.fixture
async def house(store: Store, clock: FakeClock, chance: FakeChance) -> AsyncIterator[House]:
    """One node; more can be added."""
    environments = Environments(store, VAULT, clock, chance)
    await environments.ensure_defaults({}, None)
    environment = await environments.by_name("dev")
    assert environment is not None
    integrations = Integrations(store, VAULT, CATALOGUE, chance)
    endpoint, watch = TokenEndpoint(), Watch()
    house = House(store, clock, endpoint, watch, integrations, environment.row_id)
    house.node()
    yield house
    endpoint.open.set()
    for node in house.nodes:
        await node.close()


async def access(getting: Awaitable[Credentials]) -> str:
    return str((await getting).values["access_token"])


# --- sealing --------------------------------------------------------------------------------


def test_sealed_credentials_open_for_their_own_set_only(clock: FakeClock) -> None:
    """What was sealed comes back as it was, and not under another set's name."""
    credentials = token(clock, 5, raw={"a": 1})
    sealed = seal_credentials(VAULT, "one", credentials)
    assert open_credentials(VAULT, "one", sealed) == credentials
    with pytest.raises(CiphertextInvalid):
        open_credentials(VAULT, "two", sealed)
    with pytest.raises(CiphertextInvalid):
        open_credentials(VAULT, "one", VAULT.seal_json([1], context="one:credentials"))


async def test_driving_closes_the_steps() -> None:
    """A sending that fails ends the steps; one that works returns what they obtain."""
    endpoint = TokenEndpoint()
    endpoint.faults = [ProviderTimeout()]
    closed = False

    def steps() -> Any:
        nonlocal closed
        try:
            yield OutboundRequest("POST", "https://login.example.com/")
        finally:
            closed = True

    with pytest.raises(ProviderTimeout):
        await drive(steps(), endpoint.send)
    assert closed


# --- when -----------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [None, 15, 60])
async def test_credentials_that_last_are_handed_out_as_they_are(
    house: House, minutes: float | None
) -> None:
    """Nobody is asked while there are 15 minutes left, or no end is known."""
    row_id = await house.connect(token(house.clock, minutes))
    assert await access(house.fresh.get(row_id)) == "access-0"
    assert house.endpoint.asked == []


async def test_credentials_that_are_about_to_end_are_refreshed(house: House) -> None:
    """The refresh token buys new ones, which are stored with their end and what the answer adds."""
    house.endpoint.more = {"instance_url": "https://eu.example.com"}
    row_id = await house.connect(token(house.clock, 14.9))
    credentials = await house.fresh.get(row_id)
    assert credentials.values["access_token"] == "access-1"
    assert credentials.values["refresh_token"] == "refresh-1"
    assert house.endpoint.asked[0]["refresh_token"] == "refresh-0"
    assert house.endpoint.asked[0]["client_id"] == "the-client"
    row = await house.row(row_id)
    assert await house.stored(row_id) == credentials
    assert row.credentials_expires_at == credentials.expires_at
    assert row.connection_config == {
        "subdomain": "acme",
        "instance_url": "https://eu.example.com",
    }
    assert (row.refresh_owner, row.refresh_until) == (None, None)
    assert house.watch.refreshed == [row_id]
    assert await access(house.fresh.get(row_id)) == "access-1"
    assert len(house.endpoint.asked) == 1


async def test_the_definition_may_set_the_buffer(house: House) -> None:
    """A provider's own buffer, in seconds, replaces the 15 minutes."""
    row_id = await house.connect(token(house.clock, 2), provider="hasty")
    assert await access(house.fresh.get(row_id)) == "access-0"
    house.clock.move(61)
    assert await access(house.fresh.get(row_id)) == "access-1"


async def test_forcing_refreshes_what_is_not_due(house: House) -> None:
    """`force` asks the provider each time."""
    row_id = await house.connect(token(house.clock, None))
    assert await access(house.fresh.get(row_id, force=True)) == "access-1"
    assert await access(house.fresh.get(row_id, force=True)) == "access-2"


async def test_what_cannot_be_refreshed_is_handed_out(house: House) -> None:
    """Without a refresh token an expired token is what there is; a key is always what it is."""
    bare = replace(token(house.clock, -5), values={"access_token": "stale"})
    row_id = await house.connect(bare)
    key_id = await house.connect(
        Credentials(AuthMode.API_KEY, {"apiKey": "k"}), provider="key", name="k"
    )
    for force in (False, True):
        assert await access(house.fresh.get(row_id, force=force)) == "stale"
        assert (await house.fresh.get(key_id, force=force)).values == {"apiKey": "k"}
    assert house.endpoint.asked == []


# --- once -----------------------------------------------------------------------------------


async def test_fifty_callers_ask_once(house: House) -> None:
    """Everybody who wants the same credentials at the same time gets the same ones."""
    row_id = await house.connect(token(house.clock, 1))
    house.endpoint.open.clear()
    callers = [asyncio.create_task(access(house.fresh.get(row_id))) for _ in range(50)]
    await house.endpoint.arrived.wait()
    house.endpoint.open.set()
    assert set(await asyncio.gather(*callers)) == {"access-1"}
    assert len(house.endpoint.asked) == 1


async def test_every_caller_hears_of_the_failure_apart(house: House) -> None:
    """Callers add to the error they get, so each gets its own."""
    house.endpoint.faults = [REFUSED]
    row_id = await house.connect(token(house.clock, 1))
    results = await asyncio.gather(
        *(house.fresh.get(row_id) for _ in range(5)), return_exceptions=True
    )
    assert all(isinstance(result, InvalidCredentials) for result in results)
    assert len({id(result) for result in results}) == 5
    assert len(house.endpoint.asked) == 1


@pytest.mark.parametrize("force", [False, True])
async def test_two_nodes_ask_once(house: House, force: bool) -> None:
    """The second node waits for the first and takes what it got, forced or not."""
    other = house.node()
    row_id = await house.connect(token(house.clock, 1))
    house.endpoint.open.clear()
    first = asyncio.create_task(access(house.fresh.get(row_id, force=force)))
    await house.endpoint.arrived.wait()
    second = asyncio.create_task(access(other.get(row_id, force=force)))
    await house.clock.wait_for_sleepers(2)  # one keeps the lease, one waits for it
    house.endpoint.open.set()
    assert await first == "access-1"
    house.clock.move(0.05)
    assert await second == "access-1"
    assert len(house.endpoint.asked) == 1


async def test_a_slow_provider_does_not_let_the_second_node_in(house: House) -> None:
    """The lease is extended for as long as the answer takes."""
    other = house.node()
    row_id = await house.connect(token(house.clock, 1))
    house.endpoint.open.clear()
    first = asyncio.create_task(access(house.fresh.get(row_id)))
    await house.endpoint.arrived.wait()
    second = asyncio.create_task(access(other.get(row_id)))
    for _ in range(9):
        await house.clock.wait_for_sleepers(2)
        house.clock.move(3)
    await house.clock.wait_for_sleepers(2)
    assert len(house.endpoint.asked) == 1
    house.endpoint.open.set()
    await first
    house.clock.move(0.05)
    assert await second == "access-1"


async def test_a_node_that_died_is_waited_out(house: House) -> None:
    """A lease that nobody extends is free after ten seconds."""
    row_id = await house.connect(token(house.clock, 1))
    until = house.clock.now() + timedelta(seconds=10)
    await house.store.write(lambda tx: rows.take_lease(tx, row_id, "dead", until))
    getting = asyncio.create_task(access(house.fresh.get(row_id)))
    await house.clock.wait_for_sleepers(1)
    assert house.endpoint.asked == []
    house.clock.move(10)
    assert await getting == "access-1"


async def test_waiting_for_another_node_ends(house: House) -> None:
    """Somebody who never lets go is not waited for without end."""
    row_id = await house.connect(token(house.clock, 1))
    until = house.clock.now() + timedelta(days=1)
    await house.store.write(lambda tx: rows.take_lease(tx, row_id, "other", until))
    getting = asyncio.create_task(house.fresh.get(row_id))
    await house.clock.wait_for_sleepers(1)
    house.clock.move(36)
    with pytest.raises(CredentialsUnavailable):
        await getting
    assert house.endpoint.asked == []


async def test_the_second_node_respects_the_first_ones_failure(house: House) -> None:
    """A node that waited for a refresh that failed does not ask again at once."""
    other = house.node()
    house.endpoint.faults = [REFUSED]
    row_id = await house.connect(token(house.clock, 1))
    house.endpoint.open.clear()
    first = asyncio.create_task(house.fresh.get(row_id))
    await house.endpoint.arrived.wait()
    second = asyncio.create_task(other.get(row_id))
    await house.clock.wait_for_sleepers(2)
    house.endpoint.open.set()
    with pytest.raises(InvalidCredentials):
        await first
    house.clock.move(0.05)
    with pytest.raises(CredentialsBackingOff):
        await second
    assert len(house.endpoint.asked) == 1


# --- nothing is lost ------------------------------------------------------------------------


async def test_a_caller_that_goes_away_does_not_take_the_answer_along(house: House) -> None:
    """The refresh token that was bought is stored, although nobody waits for it."""
    row_id = await house.connect(token(house.clock, 1))
    house.endpoint.open.clear()
    caller = asyncio.create_task(house.fresh.get(row_id))
    await house.endpoint.arrived.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    house.endpoint.open.set()
    await house.fresh.close()
    assert (await house.stored(row_id)).values["refresh_token"] == "refresh-1"


async def test_an_answer_is_stored_although_the_database_was_away(house: House) -> None:
    """What a provider answered cannot be asked for again, so storing is tried until it works."""
    store = StoreWithOutages(house.store)
    node = house.node(store)
    row_id = await house.connect(token(house.clock, 1))
    house.endpoint.open.clear()
    getting = asyncio.create_task(access(node.get(row_id)))
    await house.endpoint.arrived.wait()
    store.outages = 3
    house.endpoint.open.set()
    for wait_s in (0.2, 0.4, 0.8):
        await house.clock.wait_for_sleepers(2)
        house.clock.move(wait_s)
    assert await getting == "access-1"
    assert (await house.stored(row_id)).values["refresh_token"] == "refresh-1"


async def test_a_node_that_lost_its_lease_still_stores_what_it_got(house: House) -> None:
    """A lease that ran out under a stalled node must not cost the refresh token it was given."""
    row_id = await house.connect(token(house.clock, 1))
    house.endpoint.open.clear()
    getting = asyncio.create_task(access(house.fresh.get(row_id)))
    await house.endpoint.arrived.wait()
    until = house.clock.now() + timedelta(seconds=10)
    await house.set(row_id, refresh_owner="other", refresh_until=until)
    house.endpoint.open.set()
    assert await getting == "access-1"
    row = await house.row(row_id)
    assert (await house.stored(row_id)).values["refresh_token"] == "refresh-1"
    assert row.refresh_owner == "other"


async def test_a_failure_does_not_undo_somebody_elses_success(house: House) -> None:
    """Of two nodes that overlapped after all, the one that got tokens counts."""
    house.endpoint.faults = [REFUSED]
    row_id = await house.connect(token(house.clock, 1))
    house.endpoint.open.clear()
    getting = asyncio.create_task(access(house.fresh.get(row_id)))
    await house.endpoint.arrived.wait()
    theirs = token(house.clock, 60, access_token="theirs")
    await house.set(row_id, credentials=seal_credentials(VAULT, "set-0", theirs))
    house.endpoint.open.set()
    assert await getting == "theirs"
    assert (await house.row(row_id)).refresh_attempts == 0
    assert house.watch.failures == []


async def test_new_keys_do_not_cost_the_answer(house: House) -> None:
    """Credentials that are sealed again while a provider answers are still the ones refreshed."""
    row_id = await house.connect(token(house.clock, 1))
    house.endpoint.open.clear()
    getting = asyncio.create_task(access(house.fresh.get(row_id)))
    await house.endpoint.arrived.wait()
    again = seal_credentials(VAULT, "set-0", token(house.clock, 1))
    await house.set(row_id, credentials=again)
    house.endpoint.open.set()
    assert await getting == "access-1"
    assert (await house.stored(row_id)).values["refresh_token"] == "refresh-1"


async def test_a_reconnect_wins_over_a_slow_refresh(house: House) -> None:
    """A refresh that was overtaken by a reconnect hands out the new credentials and stores none."""
    row_id = await house.connect(token(house.clock, 1))
    house.endpoint.open.clear()
    getting = asyncio.create_task(access(house.fresh.get(row_id)))
    await house.endpoint.arrived.wait()
    new = promotion(token(house.clock, 60, access_token="reconnected"), "set-1")
    await house.change(row_id, lambda tx, one: states.promote(tx, one, new))
    house.endpoint.open.set()
    assert await getting == "reconnected"
    assert (await house.stored(row_id)).values["access_token"] == "reconnected"
    assert house.watch.refreshed == []


async def test_a_deletion_keeps_the_answer_for_cleanup(house: House) -> None:
    """Who asked before the deletion gets nothing; cleanup gets the new token, not the dead one."""
    row_id = await house.connect(token(house.clock, 1))
    house.endpoint.open.clear()
    getting = asyncio.create_task(house.fresh.get(row_id))
    await house.endpoint.arrived.wait()
    await house.change(row_id, states.begin_deletion)
    house.endpoint.open.set()
    with pytest.raises(UnknownConnection):
        await getting
    assert await access(house.fresh.get(row_id, for_cleanup=True)) == "access-1"
    assert house.watch.refreshed == []


# --- an answer that never arrives -------------------------------------------------------------


async def lose_an_answer(house: House, row_id: int) -> None:
    """Leave a connection as a process does that is killed after the provider answered."""
    owner, until = "dead", house.clock.now() + timedelta(seconds=10)

    async def unit(tx: Tx) -> None:
        await rows.take_lease(tx, row_id, owner, until)
        assert await rows.mark_sent(tx, row_id, owner, until)

    await house.store.write(unit)
    house.endpoint.valid = "refresh-nobody-has"
    house.clock.move(10)


async def test_that_a_refresh_is_out_is_known_until_its_answer_is_stored(house: House) -> None:
    """Before anything is sent it is written down, and the stored answer takes it back."""
    row_id = await house.connect(token(house.clock, 1))
    house.endpoint.open.clear()
    getting = asyncio.create_task(access(house.fresh.get(row_id)))
    await house.endpoint.arrived.wait()
    assert (await house.row(row_id)).refresh_unanswered_at == house.clock.now()
    house.endpoint.open.set()
    await getting
    assert (await house.row(row_id)).refresh_unanswered_at is None
    assert house.watch.successes[0].message is None


@pytest.mark.parametrize(
    ("fault", "stays"),
    [
        (ProviderTimeout(sent=True), True),
        (ProviderTimeout(sent=False), False),
        (OutboundAnswer(200, {"content-type": "text/html"}, b"<html>"), True),
        (answer({}, 503), True),
        (answer({"error": "invalid_grant"}, 400), False),
    ],
)
async def test_only_an_answer_that_may_exist_is_missed(
    house: House, fault: Exception | OutboundAnswer, stays: bool
) -> None:
    """What never left and what was refused took no token along; silence and nonsense may have."""
    house.endpoint.faults = [fault]
    row_id = await house.connect(token(house.clock, 1))
    with pytest.raises(InvalidCredentials):
        await house.fresh.get(row_id)
    row = await house.row(row_id)
    assert (row.refresh_unanswered_at is not None) is stays
    assert row.upkeep_at is not None
    wait = row.upkeep_at - house.clock.now()
    assert wait == timedelta(seconds=30) if stays else wait >= timedelta(minutes=10)


async def test_a_refresh_token_that_was_lost_is_said_to_be(house: House) -> None:
    """Refused after an answer was lost, a connection is given up at once, with the reason."""
    row_id = await house.connect(token(house.clock, 1))
    await lose_an_answer(house, row_id)
    with pytest.raises(InvalidCredentials, match="cut off before its answer was stored"):
        await house.fresh.get(row_id)
    [failure] = house.watch.failures
    assert (failure.error_type, failure.exhausted) == ("refresh_token_lost", True)
    row = await house.row(row_id)
    assert (row.state, row.error_cause) == (ConnectionState.AUTH_ERROR, ErrorCause.REFRESH)
    assert row.refresh_unanswered_at is None
    with pytest.raises(CredentialsExhausted):
        await house.fresh.get(row_id)
    assert len(house.endpoint.asked) == 1


async def test_an_old_refresh_token_that_still_works_heals_the_loss(house: House) -> None:
    """Upkeep asks again with what there is, due or not; many providers take it for a while."""
    row_id = await house.connect(token(house.clock, 60))
    await lose_an_answer(house, row_id)
    house.endpoint.valid = "refresh-0"
    await house.fresh.keep_alive(row_id, never_checked)
    assert (await house.stored(row_id)).values["refresh_token"] == "refresh-1"
    [success] = house.watch.successes
    assert success.message is not None
    assert "took the same refresh token once more" in success.message
    assert (await house.row(row_id)).refresh_unanswered_at is None


async def test_a_loss_is_not_forgotten_by_a_refresh_that_never_left(house: House) -> None:
    """A provider that cannot be reached says nothing about what it did before."""
    row_id = await house.connect(token(house.clock, 1))
    await lose_an_answer(house, row_id)
    lost_at = (await house.row(row_id)).refresh_unanswered_at
    house.endpoint.faults = [ProviderTimeout(sent=False)]
    with pytest.raises(CredentialsUnavailable):
        await house.fresh.get(row_id)
    assert (await house.row(row_id)).refresh_unanswered_at == lost_at


async def test_nothing_is_sent_once_the_lease_is_somebody_elses(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that stalled between taking the lease and asking does not ask beside the next one."""
    row_id = await house.connect(token(house.clock, 1))
    until = house.clock.now() + timedelta(seconds=10)
    steps = house.fresh._steps

    async def stalled(*args: Any) -> Any:
        await house.set(row_id, refresh_owner="other", refresh_until=until)
        return await steps(*args)

    monkeypatch.setattr(house.fresh, "_steps", stalled)
    getting = asyncio.create_task(house.fresh.get(row_id))
    await house.clock.wait_for_sleepers(1)  # the other one's lease is waited for first
    await house.set(row_id, refresh_owner=None)
    house.clock.move(0.05)
    with pytest.raises(CredentialsUnavailable, match="took over"):
        await getting
    assert house.endpoint.asked == []


async def test_a_lease_that_ran_out_unnoticed_is_held_again_before_anything_is_sent(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that stalled for longer than its lease does not ask while another one may begin."""
    row_id = await house.connect(token(house.clock, 1))
    steps = house.fresh._steps

    async def stalled(*args: Any) -> Any:
        house.clock.move(11)
        return await steps(*args)

    monkeypatch.setattr(house.fresh, "_steps", stalled)
    house.endpoint.open.clear()
    first = asyncio.create_task(access(house.fresh.get(row_id)))
    await house.endpoint.arrived.wait()
    second = asyncio.create_task(access(house.node().get(row_id)))
    await house.clock.wait_for_sleepers(2)  # one keeps the lease, one waits for it
    house.endpoint.open.set()

    assert await first == "access-1"
    house.clock.move(0.05)
    assert await second == "access-1"
    assert len(house.endpoint.asked) == 1


# --- nobody asks ------------------------------------------------------------------------------


async def never_checked(row: rows.RefreshRow, credentials: Credentials) -> bool:
    raise AssertionError("what can be refreshed is not checked")


@pytest.mark.parametrize(("minutes", "is_asked"), [(24, True), (26, False)])
async def test_upkeep_refreshes_before_a_caller_would_have_to_wait(
    house: House, minutes: float, is_asked: bool
) -> None:
    """Ten minutes before credentials are due, upkeep takes them for due."""
    row_id = await house.connect(token(house.clock, minutes))
    await house.fresh.keep_alive(row_id, never_checked)
    assert len(house.endpoint.asked) == is_asked
    assert await access(house.fresh.get(row_id)) == ("access-1" if is_asked else "access-0")


async def test_upkeep_does_not_revive_what_was_refused(house: House) -> None:
    """A refused reconnect is final for upkeep as for everybody, an answer missing or not."""
    row_id = await house.connect(token(house.clock, 1))
    await house.change(row_id, lambda tx, one: states.refuse(tx, one, "operation"))
    await house.set(row_id, refresh_unanswered_at=house.clock.now())
    with pytest.raises(CredentialsExhausted):
        await house.fresh.keep_alive(row_id, never_checked)
    assert house.endpoint.asked == []
    assert (await house.row(row_id)).error_cause is ErrorCause.REFUSED


async def test_keys_are_checked_and_marked(house: House) -> None:
    """A no of the provider is a failure, a later yes ends it, and silence is neither."""
    row_id = await house.connect(
        Credentials(AuthMode.API_KEY, {"apiKey": "k"}), provider="key", name="k"
    )
    verdicts: list[Exception | bool] = [
        ConnectionTestFailed("It answered 401"),
        ProviderTimeout(),
        False,
        True,
    ]

    async def check(row: rows.RefreshRow, credentials: Credentials) -> bool:
        assert credentials.values == {"apiKey": "k"}
        verdict = verdicts.pop(0)
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    with pytest.raises(ConnectionTestFailed):
        await house.fresh.keep_alive(row_id, check)
    [failure] = house.watch.failures
    assert (failure.action, failure.error_type) == ("connection_test", "connection_test_failed")
    with pytest.raises(CredentialsBackingOff):
        await house.fresh.get(row_id)
    house.clock.move(31)
    with pytest.raises(ProviderTimeout):
        await house.fresh.keep_alive(row_id, check)
    await house.fresh.keep_alive(row_id, check)
    assert (await house.row(row_id)).refresh_attempts == 1
    await house.fresh.keep_alive(row_id, check)
    row = await house.row(row_id)
    assert (row.refresh_attempts, row.last_refresh_failure_at) == (0, None)
    assert [one.action for one in house.watch.successes] == ["connection_test"]


async def test_a_check_of_what_was_replaced_says_nothing(house: House) -> None:
    """A verdict about credentials that a reconnect replaced meanwhile marks nobody."""
    row_id = await house.connect(
        Credentials(AuthMode.API_KEY, {"apiKey": "k"}), provider="key", name="k"
    )

    async def check(row: rows.RefreshRow, credentials: Credentials) -> bool:
        new = promotion(Credentials(AuthMode.API_KEY, {"apiKey": "new"}), "set-1")
        await house.change(row_id, lambda tx, one: states.promote(tx, one, new))
        raise ConnectionTestFailed("It answered 401")

    with pytest.raises(ConnectionTestFailed):
        await house.fresh.keep_alive(row_id, check)
    assert (await house.row(row_id)).refresh_attempts == 0
    assert house.watch.failures == []


# --- failing --------------------------------------------------------------------------------


async def test_a_refusal_backs_off_for_thirty_seconds(house: House) -> None:
    """A failed refresh fails the call although the token still works, and keeps others away."""
    house.endpoint.faults = [REFUSED]
    row_id = await house.connect(token(house.clock, 10))
    with pytest.raises(InvalidCredentials, match="invalid_grant") as caught:
        await house.fresh.get(row_id)
    assert type(caught.value) is InvalidCredentials
    assert caught.value.status == 400
    assert caught.value.payload == {
        "status": 400,
        "error": "invalid_grant",
        "error_description": "revoked",
    }
    assert house.watch.failures == [
        RefreshFailure(
            "refresh_token",
            house.watch.failures[0].operation_id,
            "refresh_token_external_error",
            "The provider refused (400 invalid_grant): revoked",
            exhausted=False,
        )
    ]
    house.clock.move(29)
    with pytest.raises(CredentialsBackingOff) as backing_off:
        await house.fresh.get(row_id)
    assert (backing_off.value.status, backing_off.value.retry_after_s) == (424, 1)
    house.clock.move(1)
    assert await access(house.fresh.get(row_id)) == "access-2"
    row = await house.row(row_id)
    assert (row.refresh_attempts, row.last_refresh_failure_at) == (0, None)


@pytest.mark.parametrize("fault", [DOWN, ProviderTimeout("It did not answer in time.")])
async def test_a_provider_that_is_away_has_not_refused(
    house: House, fault: Exception | OutboundAnswer
) -> None:
    """A transient failure counts too, and says that trying again can help."""
    house.endpoint.faults = [fault]
    row_id = await house.connect(token(house.clock, 10))
    with pytest.raises(CredentialsUnavailable) as caught:
        await house.fresh.get(row_id)
    assert (caught.value.status, caught.value.retryable) == (424, True)
    assert caught.value.retry_after_s == 30
    assert (await house.row(row_id)).refresh_attempts == 1


async def test_an_answer_without_a_token_is_a_failure(house: House) -> None:
    """Nonsense counts as a failed refresh, of its own kind."""
    house.endpoint.faults = [OutboundAnswer(200, {"content-type": "text/html"}, b"<html>")]
    row_id = await house.connect(token(house.clock, 10))
    with pytest.raises(InvalidCredentials):
        await house.fresh.get(row_id)
    assert house.watch.failures[0].error_type == "refresh_token_parsing_error"


async def test_forcing_passes_over_the_back_off(house: House) -> None:
    """A person who asks for a refresh gets one at once."""
    house.endpoint.faults = [REFUSED]
    row_id = await house.connect(token(house.clock, 10))
    with pytest.raises(InvalidCredentials):
        await house.fresh.get(row_id)
    assert await access(house.fresh.get(row_id, force=True)) == "access-2"


async def fail_for_days(house: House, row_id: int, days: int) -> None:
    for day in range(days):
        if day:
            house.clock.set(house.clock.now() + timedelta(days=1))
        for _ in range(3):
            house.clock.move(31)
            house.endpoint.faults = [REFUSED]
            with pytest.raises(InvalidCredentials):
                await house.fresh.get(row_id)


async def test_four_days_of_failures_give_a_connection_up(house: House) -> None:
    """A day counts once, however often it failed; the fourth marks the connection."""
    row_id = await house.connect(token(house.clock, 10))
    await fail_for_days(house, row_id, 3)
    assert len(house.endpoint.asked) == 9
    assert (await house.row(row_id)).refresh_attempts == 3
    house.clock.set(house.clock.now() + timedelta(days=1))
    house.endpoint.faults = [REFUSED]
    with pytest.raises(InvalidCredentials):
        await house.fresh.get(row_id)
    row = await house.row(row_id)
    assert (row.state, row.error_cause) == (ConnectionState.AUTH_ERROR, ErrorCause.REFRESH)
    assert [one.exhausted for one in house.watch.failures] == [False] * 9 + [True]
    house.clock.move(60)
    with pytest.raises(CredentialsExhausted) as caught:
        await house.fresh.get(row_id)
    assert caught.value.status == 424
    assert len(house.endpoint.asked) == 10
    assert await access(house.fresh.get(row_id, force=True)) == "access-11"
    row = await house.row(row_id)
    assert (row.state, row.error_cause) == (ConnectionState.ACTIVE, None)
    assert row.refresh_attempts == 0


async def test_what_nobody_expected_is_a_failure_too(house: House) -> None:
    """A fault of this server is told as one, recorded, and not sent again at once."""
    house.endpoint.faults = [KeyError("nobody expected this")]
    row_id = await house.connect(token(house.clock, 10))
    with pytest.raises(RefreshFaulty) as caught:
        await house.fresh.get(row_id)
    assert (caught.value.status, caught.value.code) == (500, "invalid_credentials")
    assert [one.error_type for one in house.watch.failures] == ["refresh_token_internal_error"]
    with pytest.raises(CredentialsBackingOff):
        await house.fresh.get(row_id)


async def test_a_refused_reconnect_is_not_healed_by_refreshing(house: House) -> None:
    """Only a reconnect helps; cleanup may use and refresh what is left, and that heals nothing."""
    row_id = await house.connect(token(house.clock, 1))
    await house.change(row_id, lambda tx, one: states.refuse(tx, one, "operation"))
    for force in (False, True):
        with pytest.raises(CredentialsExhausted, match="refused"):
            await house.fresh.get(row_id, force=force)
    await house.change(row_id, states.begin_deletion)
    assert await access(house.fresh.get(row_id, for_cleanup=True)) == "access-1"
    row = await house.row(row_id)
    assert (row.state, row.error_cause) == (ConnectionState.DELETING, ErrorCause.REFUSED)
    assert house.watch.refreshed == []


async def test_a_refusal_that_overtakes_a_refresh_wins(house: House) -> None:
    """Tokens that arrive after a refused reconnect are kept for cleanup, given to nobody."""
    row_id = await house.connect(token(house.clock, 1))
    house.endpoint.open.clear()
    getting = asyncio.create_task(house.fresh.get(row_id))
    await house.endpoint.arrived.wait()
    await house.change(row_id, lambda tx, one: states.refuse(tx, one, "operation"))
    house.endpoint.open.set()
    with pytest.raises(CredentialsExhausted):
        await getting
    connection = await house.store.read(lambda tx: connection_rows.get(tx, row_id))
    assert connection is not None
    assert connection.error_cause is ErrorCause.REFUSED
    assert connection.error_operation_id == "operation"
    assert (await house.stored(row_id)).values["refresh_token"] == "refresh-1"


async def test_cleanup_uses_what_still_works(house: House) -> None:
    """Cleanup gets a token that still works, and does not ask for another on and on."""
    row_id = await house.connect(token(house.clock, 1))
    await house.change(row_id, states.begin_deletion)
    with pytest.raises(UnknownConnection):
        await house.fresh.get(row_id)
    house.endpoint.faults = [REFUSED]
    for _ in range(3):
        assert await access(house.fresh.get(row_id, for_cleanup=True)) == "access-0"
    assert len(house.endpoint.asked) == 1
    assert house.watch.failures == []
    house.clock.move(61)
    house.endpoint.faults = [REFUSED]
    with pytest.raises(InvalidCredentials):
        await house.fresh.get(row_id, for_cleanup=True)
    with pytest.raises(CredentialsBackingOff):
        await house.fresh.get(row_id, for_cleanup=True)


async def test_connections_that_are_gone_have_no_credentials(house: House) -> None:
    """Neither a row that never was nor one that was erased hands anything out."""
    row_id = await house.connect(token(house.clock, None))
    await house.change(row_id, states.begin_deletion)
    await house.change(row_id, states.finish_deletion)
    for missing in (row_id, 999_999):
        for for_cleanup in (False, True):
            with pytest.raises(UnknownConnection):
                await house.fresh.get(missing, for_cleanup=for_cleanup)


async def test_a_mode_is_driven_for_nobody_yet(house: House) -> None:
    """Credentials can be obtained before there is a connection."""
    mode = mode_for(AuthMode.API_KEY)
    integration = await house.integrations.create(
        house.environment_id, NewIntegration(integration_id="k", provider="key")
    )
    ctx = ModeContext(CATALOGUE.get("key"), integration, {}, datetime.fromisoformat("2026-01-05"))
    obtained = await house.fresh.obtain(mode.from_input(ctx, {"apiKey": "k"}))
    assert obtained.credentials.values == {"apiKey": "k"}
