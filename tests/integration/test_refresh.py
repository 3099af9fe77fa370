"""Refreshing by real servers: asked once by two of them, and killed where it hurts most."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.integration.killed import KilledServer
from tests.integration.server import PATIENCE_S, Answer, ServerProcess

from carrick.testing.fake_provider import Account, FakeProvider

GET = "/connections/one?provider_config_key=tokens"


async def with_tokens(server: ServerProcess, account: Account, **credentials: Any) -> None:
    """Connect an account by tokens under an integration of their own."""
    await server.integrate(
        "tokens",
        provider="oauth2",
        credentials={
            "type": "OAUTH2",
            "client_id": server.provider.client_id,
            "client_secret": server.provider.client_secret,
        },
        integration_config={"token_url": f"{server.provider.url}/oauth/token"},
    )
    await reconnect(server, account, **credentials)


async def reconnect(server: ServerProcess, account: Account, **credentials: Any) -> None:
    """Import an account's tokens."""
    tokens = {
        "type": "OAUTH2",
        "access_token": account.access_token,
        "refresh_token": account.refresh_token,
        **credentials,
    }
    answer = await server.connect(
        account, provider_config_key="tokens", credentials=tokens, connection_config={}
    )
    assert answer.status == 201, answer.text


@contextlib.asynccontextmanager
async def cut_off(directory: Path, grace_s: float) -> AsyncIterator[tuple[KilledServer, Account]]:
    """A server that died holding the answer to a refresh, and was started again."""
    async with FakeProvider(rotate_refresh_tokens=True, refresh_grace_s=grace_s) as provider:
        account = provider.add_account("one")
        server = KilledServer(directory, provider, kill_at="refresh-answered")
        async with server:
            await with_tokens(server, account)
            with pytest.raises((aiohttp.ClientError, OSError)):
                await server.call("GET", f"{GET}&force_refresh=true")
            await server.start_again()
            yield server, account


async def test_a_lost_refresh_token_is_known_told_and_mended_by_a_reconnect(
    tmp_path: Path,
) -> None:
    """Killed between answer and store: the loss is found unasked, said, and ended by connecting."""
    async with cut_off(tmp_path, grace_s=0) as (server, account):
        found = await server.until(
            lambda: server.call("GET", GET), lambda answer: answer.status == 424
        )
        shown = found.json["error"]["payload"]["connection"]
        [error] = shown["errors"]
        operation = (await server.call("GET", f"/operations/{error['log_id']}")).json["data"]
        await server.provider.until(
            lambda: any(
                one.json()["operation"] == "refresh" for one in server.provider.notifications
            )
        )

        assert (found.code, shown["credentials"]) == ("invalid_credentials", {})
        assert (operation["type"], operation["action"]) == ("auth", "refresh_token")
        assert operation["error"]["code"] == "refresh_token_lost"
        assert "cut off before its answer was stored" in operation["error"]["message"]
        told = server.provider.notifications[-1].json()
        assert (told["success"], told["error"]["type"]) == (False, "refresh_token_lost")
        forced = await server.call("GET", f"{GET}&force_refresh=true")
        assert (forced.status, forced.code) == (400, "invalid_credentials")

        server.provider.issue_tokens(account)
        await reconnect(server, account)
        assert (await server.call("GET", GET)).json["errors"] == []


async def test_an_old_refresh_token_is_tried_while_the_provider_takes_it(tmp_path: Path) -> None:
    """Killed between answer and store at a provider with a grace period: it mends itself."""
    async with cut_off(tmp_path, grace_s=60) as (server, account):
        await server.provider.until(
            lambda: len(server.provider.calls_to("POST", "/oauth/token")) == 2, timeout_s=PATIENCE_S
        )
        found = await server.until(
            lambda: server.call("GET", GET),
            lambda answer: answer.json["credentials"]["access_token"] == account.access_token,
        )
        [operation] = await server.operations(action="refresh_token")

        assert found.json["errors"] == []
        assert operation["state"] == "success"
        assert "took the same refresh token once more" in operation["message"]


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("query", "delay_s"),
    [
        pytest.param("", 1.0, id="due"),
        # Longer than a lease lasts that nobody extends, and than it takes every caller to arrive.
        pytest.param("&force_refresh=true", 12.0, id="forced"),
    ],
)
async def test_two_servers_ask_a_provider_once(
    tmp_path: Path, postgres_url: str, query: str, delay_s: float
) -> None:
    """Fifty callers at two servers, one slow provider that rotates: one request, one token."""
    async with FakeProvider(rotate_refresh_tokens=True) as provider:
        account = provider.add_account("one")
        settings = {"CARRICK_DATABASE_URL": postgres_url}
        first = ServerProcess(tmp_path / "first", provider, settings)
        second = ServerProcess(
            tmp_path / "second",
            provider,
            settings,
            secret_key=first.secret_key,
            encryption_key=first.encryption_key,
        )
        async with first, second:
            due = {} if query else {"expires_at": "2020-01-01T00:00:00Z"}
            await with_tokens(first, account, **due)
            provider.fail("slow", path="/oauth/token", delay_s=delay_s)
            calls = [server.call("GET", GET + query) for server in (first, second) * 25]
            answers: list[Answer] = await asyncio.gather(*calls)
            assert len(provider.calls_to("POST", "/oauth/token")) == 1
            # What was stored is what the provider takes next: it takes each token once.
            later = [
                await server.call("GET", f"{GET}&force_refresh=true") for server in (second, first)
            ]

        assert Counter(answer.status for answer in answers) == {200: 50}
        assert len({answer.json["credentials"]["access_token"] for answer in answers}) == 1
        assert [answer.status for answer in later] == [200, 200]
        assert later[1].json["credentials"]["access_token"] == account.access_token
