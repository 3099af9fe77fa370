"""Credentials that nobody asks for are kept alive and checked, and no provider is stampeded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.lifecycle.house import House

from carrick.app import running
from carrick.environments import NewIntegration
from carrick.lifecycle.upkeep import Upkeep
from carrick.model.clock import Clock, SystemClock
from carrick.model.connection import ConnectionState, ErrorCause
from carrick.settings import Settings
from carrick.store import connections as rows
from carrick.store import upkeep as table
from carrick.testing.fake_provider import Account, FakeProvider

DAY = timedelta(days=1)
PROVIDERS = """
checked-key:
  display_name: Checked key
  auth_mode: API_KEY
  docs: https://www.rfc-editor.org/rfc/rfc6750
  connection_config:
    base_url: { type: string, title: Address, description: Of the API, format: uri }
  credentials:
    apiKey: { type: string, title: Key, description: The key, secret: true }
  proxy:
    base_url: ${connectionConfig.base_url}
    headers: { authorization: "Bearer ${apiKey}" }
    verification: { method: GET, endpoints: [/api/me] }
"""


@asynccontextmanager
async def kept(
    store_url: str, directory: Path, provider: FakeProvider, clock: Clock | None = None
) -> AsyncIterator[House]:
    """A server whose own upkeep is off, with an integration of tokens and one of keys."""
    directory.mkdir()
    postgres = store_url.startswith("postgres")
    if not postgres:
        Path(store_url.removeprefix("sqlite:///")).rename(directory / "carrick.db")
    (directory / "providers.yaml").write_text(PROVIDERS)
    settings = Settings(
        data_dir=directory,
        database_url=store_url if postgres else None,
        encryption_key="AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        egress_allow=("127.0.0.0/8",),
        webhook_urls={"dev": provider.notification_url},
        providers_file=directory / "providers.yaml",
        background_refresh=0,
    )
    async with running(settings, clock=clock, migrate_first=True) as app:
        environment = await app.rooms.environments.by_name("dev")
        assert environment is not None
        for made in (
            NewIntegration(integration_id="keys", provider="checked-key"),
            NewIntegration(
                integration_id="tokens",
                provider="oauth2",
                credentials={
                    "type": "OAUTH2",
                    "client_id": provider.client_id,
                    "client_secret": provider.client_secret,
                },
                integration_config={"token_url": f"{provider.url}/oauth/token"},
            ),
        ):
            await app.rooms.integrations.create(environment.row_id, made)
        yield House(app, provider, environment)


@pytest.fixture
async def house(store_url: str, tmp_path: Path, provider: FakeProvider) -> AsyncIterator[House]:
    """See `kept`."""
    async with kept(store_url, tmp_path / "data", provider) as opened:
        yield opened


@pytest.fixture
def upkeep(house: House) -> Upkeep:
    """The room under test, not running."""
    return Upkeep(house.app.rooms, at_once=2, idle=DAY)


async def age(house: House, row_id: int, **columns: Any) -> None:
    """Make a connection one that nobody has used or refreshed for two days."""
    long_ago = house.app.rooms.clock.now() - 2 * DAY
    aged = {"last_fetched_at": long_ago, "last_refresh_success_at": long_ago, "upkeep_at": long_ago}
    await house.app.rooms.store.write(
        lambda tx: rows.change(tx, row_id, {**aged, "created_at": long_ago, **columns})
    )


async def with_tokens(house: House, account: Account, name: str = "one") -> int:
    """Connect an account by tokens that end in a minute, and let it be forgotten."""
    body = {
        "type": "OAUTH2",
        "access_token": account.access_token,
        "refresh_token": account.refresh_token,
        "expires_at": (house.app.rooms.clock.now() + timedelta(minutes=1)).isoformat(),
    }
    made = await house.connect(
        account, name, integration_id="tokens", body=body, connection_config={}
    )
    await age(house, made.connection.row_id)
    return made.connection.row_id


async def with_key(house: House, account: Account, name: str = "one") -> int:
    """Connect an account by its key, and let it be forgotten."""
    made = await house.connect(account, name, integration_id="keys")
    await age(house, made.connection.row_id)
    return made.connection.row_id


async def integration(house: House, name: str) -> int:
    """Return the row id of an integration."""
    found = await house.app.rooms.integrations.get(house.environment.row_id, name)
    assert found is not None
    return found.row_id


async def logged(house: House, action: str) -> list[Any]:
    """Return operations of one kind, the oldest first."""
    found = await house.app.rooms.operations.list(house.environment.row_id)
    return [one for one in reversed(found) if one.action == action]


async def test_tokens_that_nobody_uses_are_kept_alive(
    house: House, provider: FakeProvider, upkeep: Upkeep
) -> None:
    """An idle connection is refreshed once, recorded, and left alone for the next day."""
    account = provider.add_account("idle")
    row_id = await with_tokens(house, account)
    tokens = await integration(house, "tokens")

    await upkeep.tend(tokens)
    await upkeep.tend(tokens)

    assert len(provider.calls_to("POST", "/oauth/token")) == 1
    stored = await house.app.rooms.fresh.stored(row_id)
    assert stored.values["access_token"] == account.access_token
    [operation] = await logged(house, "refresh_token")
    assert (operation.state, operation.connection_id) == ("success", "one")
    due = await house.app.rooms.store.read(
        lambda tx: table.due_integrations(tx, house.app.rooms.clock.now())
    )
    assert due == []


async def test_a_key_that_nobody_uses_is_checked(
    house: House, provider: FakeProvider, upkeep: Upkeep
) -> None:
    """A key the provider takes stays; one it refuses marks the connection and tells the app."""
    good, bad = provider.add_account("good"), provider.add_account("bad")
    await with_key(house, good, "good")
    row_id = await with_key(house, bad, "bad")
    bad.api_key = "another one by now"

    await upkeep.tend(await integration(house, "keys"))

    states = {one.connection_id: one.state for one in await logged(house, "connection_test")}
    assert states == {"good": "success", "bad": "failed"}
    marked = await house.row(row_id)
    assert (marked.state, marked.refresh_attempts) == (ConnectionState.ACTIVE, 1)
    await provider.until(lambda: any(b"refresh" in one.body for one in provider.notifications))
    [told] = [one.json() for one in provider.notifications if one.json()["success"] is False]
    assert (told["operation"], told["connectionId"]) == ("refresh", "bad")
    assert told["error"]["type"] == "connection_test_failed"


async def test_a_provider_that_is_away_is_left_alone(
    house: House, provider: FakeProvider, upkeep: Upkeep
) -> None:
    """After a few connections without an answer the rest waits, and nobody loses a key over it."""
    for number in range(12):
        await with_key(house, provider.add_account(f"a{number}"), f"c{number}")
    provider.fail("status", path="/api/me", status=503, times=None)
    before = len(provider.calls_to("GET", "/api/me"))

    await upkeep.tend(await integration(house, "keys"))

    assert len(provider.calls_to("GET", "/api/me")) - before == 4
    tests = await logged(house, "connection_test")
    assert [one.error["code"] for one in tests] == ["provider_unavailable"] * 4
    found = [
        await house.app.rooms.connections.find(house.environment.row_id, "keys", f"c{number}")
        for number in range(12)
    ]
    assert all(one is not None and one.error_operation_id is None for one in found)


async def test_what_was_refused_stays_refused(
    house: House, provider: FakeProvider, upkeep: Upkeep
) -> None:
    """A connection whose reconnect was refused is not looked after, however due it is."""
    row_id = await with_tokens(house, provider.add_account("refused"))
    await age(
        house,
        row_id,
        state=ConnectionState.AUTH_ERROR.value,
        error_cause=ErrorCause.REFUSED.value,
        refresh_unanswered_at=house.app.rooms.clock.now(),
    )

    await upkeep.tend(await integration(house, "tokens"))

    assert provider.calls_to("POST", "/oauth/token") == []
    assert (await house.row(row_id)).error_cause is ErrorCause.REFUSED


async def test_nodes_share_what_is_due(house: House, provider: FakeProvider) -> None:
    """Two nodes that look at the same time refresh each connection once between them."""
    accounts = [provider.add_account(f"a{number}") for number in range(10)]
    for account in accounts:
        await with_tokens(house, account, account.name)
    nodes = [Upkeep(house.app.rooms, at_once=2, idle=DAY) for _ in range(2)]
    tokens = await integration(house, "tokens")

    await asyncio.gather(*(node.tend(tokens) for node in nodes))

    assert len(provider.calls_to("POST", "/oauth/token")) == len(accounts)


class PonderousTime(SystemClock):
    """A clock by which a provider takes minutes for every check."""

    def __init__(self, provider: FakeProvider) -> None:
        self._provider = provider

    def now(self) -> datetime:
        """Return the present moment."""
        return super().now() + timedelta(minutes=4) * len(self._provider.calls_to("GET", "/api/me"))


async def test_a_page_that_takes_long_stays_with_its_node(
    store_url: str, tmp_path: Path, provider: FakeProvider
) -> None:
    """However slow the provider, the other nodes leave what is claimed to the one that works."""
    async with kept(store_url, tmp_path / "data", provider, PonderousTime(provider)) as house:
        for number in range(8):
            await with_key(house, provider.add_account(f"a{number}"), f"c{number}")
        before = len(provider.calls_to("GET", "/api/me"))
        busy, idle = (Upkeep(house.app.rooms, at_once=1, idle=DAY) for _ in range(2))
        keys = await integration(house, "keys")

        working = asyncio.create_task(busy.tend(keys))
        while not working.done():
            if len(provider.calls_to("GET", "/api/me")) > before:
                await idle.tend(keys)
            await asyncio.sleep(0)

        await working
        assert len(provider.calls_to("GET", "/api/me")) - before == 8


async def test_one_that_cannot_be_looked_after_stops_nobody(
    house: House, provider: FakeProvider, upkeep: Upkeep
) -> None:
    """Credentials that cannot be opened are left to their callers; the others are refreshed."""
    broken = await with_tokens(house, provider.add_account("broken"), "broken")
    account = provider.add_account("whole")
    await with_tokens(house, account, "whole")
    await age(house, broken, credentials=b"nothing that opens")

    await upkeep.tend(await integration(house, "tokens"))

    assert len(provider.calls_to("POST", "/oauth/token")) == 1
    [refreshed] = await logged(house, "refresh_token")
    assert refreshed.connection_id == "whole"


async def test_the_loop_finds_what_is_due(house: House, provider: FakeProvider) -> None:
    """Running, it needs nobody to say where to look."""
    await with_tokens(house, provider.add_account("idle"))
    upkeep = Upkeep(house.app.rooms, at_once=2, idle=DAY)
    running_upkeep = asyncio.create_task(upkeep.run())
    try:
        await provider.until(lambda: len(provider.calls_to("POST", "/oauth/token")) == 1)
    finally:
        running_upkeep.cancel()
        await asyncio.gather(running_upkeep, return_exceptions=True)
