"""The popup against real servers: the socket's frames, and a callback that another node gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from tests.integration.server import PATIENCE_S, ServerProcess

from carrick.testing.fake_provider import FakeProvider


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    """A provider on loopback with somebody to sign in."""
    async with FakeProvider() as running:
        running.add_account("org-a")
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A browser: it keeps cookies, also those of an address without a name."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        yield session


async def integrate(server: ServerProcess, provider: FakeProvider) -> None:
    """Configure the provider."""
    await server.integrate(
        "oauth",
        provider="oauth2",
        credentials={
            "type": "OAUTH2",
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
        },
        integration_config={
            "authorization_url": f"{provider.url}/oauth/authorize",
            "token_url": f"{provider.url}/oauth/token",
            "base_url": provider.url,
        },
    )


async def session_token(server: ServerProcess) -> str:
    """Return the token of a new connect session."""
    answer = await server.call("POST", "/connect/sessions", {"end_user": {"id": "u1"}})
    assert answer.status == 201, answer.text
    return str(answer.json["data"]["token"])


async def heard(socket: aiohttp.ClientWebSocketResponse) -> Any:
    """Return the next frame."""
    async with asyncio.timeout(PATIENCE_S):
        return await socket.receive_json()


def popup_url(server: ServerProcess, token: str, socket_id: str, **query: str) -> str:
    """Return the address the client sends its popup to."""
    more = "".join(f"&{name}={text}" for name, text in query.items())
    return (
        f"{server.url}/oauth/connect/oauth"
        f"?connect_session_token={token}&ws_client_id={socket_id}{more}"
    )


@pytest.fixture
async def server(tmp_path: Path, provider: FakeProvider) -> AsyncIterator[ServerProcess]:
    """A server with an OAuth integration."""
    async with ServerProcess(tmp_path, provider) as running:
        await integrate(running, provider)
        yield running


async def test_the_socket_hears_of_the_connection(
    server: ServerProcess, http: aiohttp.ClientSession
) -> None:
    """A name at once, the outcome after the callback, then a clean end."""
    token = await session_token(server)
    async with http.ws_connect(server.url) as socket:
        ack = await heard(socket)
        assert set(ack) == {"message_type", "ws_client_id"}
        assert ack["message_type"] == "connection_ack"
        async with http.get(popup_url(server, token, ack["ws_client_id"])) as page:
            assert page.status == 200, await page.text()
            assert page.url.path == "/oauth/callback"
        frame = await heard(socket)
        assert frame["message_type"] == "success"
        assert frame["provider_config_key"] == "oauth"
        assert frame["is_pending"] is False
        closing = await socket.receive(timeout=PATIENCE_S)
        assert (closing.type, closing.data) == (aiohttp.WSMsgType.CLOSE, 1000)
    target = f"/connections/{frame['connection_id']}?provider_config_key=oauth"
    assert (await server.call("GET", target)).status == 200


async def test_the_socket_hears_of_a_refusal(
    server: ServerProcess, http: aiohttp.ClientSession
) -> None:
    """The provider says no: an error frame, and the page says so too."""
    token = await session_token(server)
    async with http.ws_connect(server.url) as socket:
        ack = await heard(socket)
        await socket.send_str("what nobody asked for")
        deny = {"authorization_params[deny]": "1"}
        async with http.get(popup_url(server, token, ack["ws_client_id"], **deny)) as page:
            assert page.status == 400
            assert "access_denied" in await page.text()
        frame = await heard(socket)
        assert (frame["message_type"], frame["error_type"]) == ("error", "callback_err")


async def test_the_socket_hears_what_the_popup_shows_as_json(
    server: ServerProcess, http: aiohttp.ClientSession
) -> None:
    """A dead session: 401 in the popup, and the client that waits is told as well."""
    async with http.ws_connect(server.url) as socket:
        ack = await heard(socket)
        token = "nango_connect_session_" + "0" * 64
        async with http.get(popup_url(server, token, ack["ws_client_id"])) as answer:
            assert answer.status == 401
        assert (await heard(socket))["error_type"] == "unknown_connect_session_token"


async def test_a_server_that_stops_lets_its_sockets_go(
    server: ServerProcess, http: aiohttp.ClientSession
) -> None:
    """A socket that waits does not keep a server from stopping."""
    async with http.ws_connect(server.url) as socket:
        await heard(socket)
        async with asyncio.timeout(PATIENCE_S):
            assert await server.terminate() == 0
            closing = await socket.receive()
        assert closing.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


@pytest.mark.parametrize("backend", [pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_a_callback_at_another_node_reaches_the_socket(
    tmp_path: Path, provider: FakeProvider, empty_store_url: str, http: aiohttp.ClientSession
) -> None:
    """The socket is at one node and the popup at another: the outcome is relayed."""
    first = ServerProcess(tmp_path / "1", provider, {"CARRICK_DATABASE_URL": empty_store_url})
    settings = {**first.settings, "CARRICK_ENCRYPTION_KEY": first.encryption_key}
    second = ServerProcess(tmp_path / "2", provider, settings, secret_key=first.secret_key)
    for one in (first, second):
        one.directory.mkdir()
    async with first, second:
        await integrate(first, provider)
        token = await session_token(first)
        async with http.ws_connect(first.url) as socket:
            ack = await heard(socket)
            async with http.get(popup_url(second, token, ack["ws_client_id"])) as page:
                assert page.status == 200, await page.text()
                assert urlsplit(str(page.url)).netloc == urlsplit(second.url).netloc
            assert (await heard(socket))["message_type"] == "success"
