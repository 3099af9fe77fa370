"""The proxy over real sockets: streams, redirects, refusals, and a whole fake provider."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from carrick.auth import mode_for
from carrick.egress import Egress, EgressPolicy
from carrick.errors import (
    ConnectionTestFailed,
    EgressDenied,
    InvalidHeaders,
    ProviderTimeout,
    ProviderUnavailable,
    ProviderUnreachable,
)
from carrick.model.auth import AuthMode, Credentials
from carrick.model.clock import SystemChance, SystemClock
from carrick.model.environment import Integration, IntegrationState
from carrick.providers import load_catalogue
from carrick.proxy import Proxy, ProxyCall, Target
from carrick.testing.fake_provider import FakeProvider

CATALOGUE = load_catalogue()


class Server:
    """A bare HTTP server that answers what a test tells it to."""

    def __init__(self) -> None:
        self.app = web.Application()
        self.app.router.add_route("*", "/{path:.*}", self._answer)
        self.runner = web.AppRunner(self.app)
        self.seen: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.handler: Any = None
        self.url = ""

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        self.bodies.append(await request.read())
        answer: web.StreamResponse = await self.handler(request)
        return answer

    async def start(self) -> None:
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        port = self.runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server on a free port."""
    started = Server()
    await started.start()
    yield started
    await started.runner.cleanup()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A proxy that may call loopback."""
    egress = Egress(EgressPolicy(["127.0.0.0/8"]))
    yield Proxy(egress, SystemClock(), SystemChance())
    await egress.close()


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    """A provider with accounts and tokens."""
    async with FakeProvider() as running:
        yield running


def target(name: str, values: dict[str, str], **config: str) -> Target:
    provider = CATALOGUE.get(name)
    credentials = Credentials(AuthMode(provider.auth_mode), values)
    integration = Integration(1, 1, name, name, None, IntegrationState.ACTIVE, None)

    async def read() -> Credentials:
        return credentials

    return Target(provider, integration, config, read)


def keyed(server: Server) -> Target:
    return target("api-key", {"apiKey": "k-123456"}, base_url=server.url)


async def test_a_stream_is_not_held_back(proxy: Proxy, server: Server) -> None:
    """The reader has the first piece before the server has written the second."""
    first_was_read = asyncio.Event()

    async def slowly(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(status=206, headers={"X-Part": "1"})
        await answer.prepare(request)
        await answer.write(b"first")
        await first_was_read.wait()
        await answer.write(b"second")
        return answer

    server.handler = slowly
    async with proxy.stream(ProxyCall("GET", "/x"), keyed(server)) as streamed:
        assert (streamed.status, streamed.headers["x-part"]) == (206, "1")
        assert "transfer-encoding" not in streamed.headers
        pieces = []
        async for piece in streamed.chunks():
            pieces.append(piece)
            first_was_read.set()
        assert pieces == [b"first", b"second"]


async def test_a_large_answer_streams_past_the_limit_of_whole_ones(
    proxy: Proxy, server: Server
) -> None:
    """The limit protects memory, and a stream needs none."""
    size = 24 * 1024 * 1024

    async def large(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * size)

    server.handler = large
    async with proxy.stream(ProxyCall("GET", "/x"), keyed(server)) as streamed:
        assert streamed.headers["content-length"] == str(size)
        assert sum([len(piece) async for piece in streamed.chunks()]) == size


async def test_an_encoded_stream_is_passed_on_as_it_is(proxy: Proxy, server: Server) -> None:
    """Whoever asked for gzip gets the provider's own bytes."""
    packed = gzip.compress(b"hello")

    async def encoded(request: web.Request) -> web.Response:
        assert request.headers["accept-encoding"] == "gzip"
        return web.Response(body=packed, headers={"content-encoding": "gzip"})

    server.handler = encoded
    call = ProxyCall("GET", "/x", headers={"accept-encoding": "gzip"})
    async with proxy.stream(call, keyed(server)) as streamed:
        assert streamed.headers["content-encoding"] == "gzip"
        assert b"".join([piece async for piece in streamed.chunks()]) == packed


async def test_what_is_sent_arrives_as_built(proxy: Proxy, server: Server) -> None:
    """Method, path with encoded slash, query, headers and bytes; a caller's Host does not count."""

    async def plainly(request: web.Request) -> web.Response:
        return web.json_response({"ok": True}, status=201)

    server.handler = plainly
    headers = {"X-Mine": "1", "Host": "evil.example", "Content-Type": "text/plain"}
    call = ProxyCall("PROPFIND", "/a%2Fb/c d?x=%20y", headers, {"z": "ä"}, b"\x00body")
    answer = await proxy.call(call, keyed(server))
    assert (answer.status, answer.json()) == (201, {"ok": True})
    seen = server.seen[0]
    assert (seen.method, seen.raw_path) == ("PROPFIND", "/a%2Fb/c%20d?x=%20y&z=%C3%A4")
    assert seen.headers["host"] == server.url.removeprefix("http://")
    assert seen.headers["authorization"] == "Bearer k-123456"
    assert (seen.headers["x-mine"], seen.headers["content-type"]) == ("1", "text/plain")
    assert server.bodies == [b"\x00body"]


async def test_a_header_cannot_smuggle_another(proxy: Proxy, server: Server) -> None:
    """Line breaks in a caller's header are refused before anything is sent."""
    call = ProxyCall("GET", "/x", headers={"x": "a\r\nx-evil: 1"})
    with pytest.raises(InvalidHeaders):
        await proxy.call(call, keyed(server))
    assert server.seen == []


async def test_a_redirect_to_another_server_carries_no_credentials(
    proxy: Proxy, server: Server
) -> None:
    """The download link of a file store is followed, without the key."""
    other = Server()
    await other.start()

    async def content(request: web.Request) -> web.Response:
        return web.Response(body=b"file")

    async def elsewhere(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"{other.url}/file")

    server.handler, other.handler = elsewhere, content
    try:
        answer = await proxy.call(ProxyCall("GET", "/x"), keyed(server))
        assert (answer.status, answer.body) == (200, b"file")
        assert "authorization" in server.seen[0].headers
        assert "authorization" not in other.seen[0].headers
    finally:
        await other.runner.cleanup()


async def test_nobody_at_the_address_is_unreachable(proxy: Proxy, server: Server) -> None:
    """And certainly nothing was sent."""
    await server.runner.cleanup()
    with pytest.raises(ProviderUnreachable) as caught:
        await proxy.call(ProxyCall("POST", "/x"), keyed(server))
    assert caught.value.sent is False


async def test_private_addresses_need_permission(server: Server) -> None:
    """A connection's own address does not open the server's network."""
    egress = Egress(EgressPolicy())
    proxy = Proxy(egress, SystemClock(), SystemChance())
    try:
        with pytest.raises(EgressDenied):
            await proxy.call(ProxyCall("GET", "/x"), keyed(server))
    finally:
        await egress.close()
    assert server.seen == []


async def test_a_deadline_ends_a_hanging_call(proxy: Proxy, provider: FakeProvider) -> None:
    """A function's time limit reaches the socket."""
    account = provider.add_account("org-a")
    provider.fail("hang", path="/services/oauth2/userinfo")
    to = target("salesforce", {"access_token": account.access_token}, instance_url=provider.url)
    deadline = SystemClock().monotonic() + 0.2
    with pytest.raises(ProviderTimeout):
        await proxy.call(ProxyCall("GET", "/services/oauth2/userinfo"), to, deadline=deadline)


async def test_salesforce_is_called_at_its_instance_url(
    proxy: Proxy, provider: FakeProvider
) -> None:
    """The real catalogue entry works against a server on loopback."""
    account = provider.add_account("org-a")
    to = target("salesforce", {"access_token": account.access_token}, instance_url=provider.url)
    answer = await proxy.call(ProxyCall("GET", "/services/oauth2/userinfo"), to)
    assert answer.json()["organization_id"] == account.organization_id


async def test_a_provider_tells_good_credentials_from_bad_ones(
    proxy: Proxy, provider: FakeProvider
) -> None:
    """Yes, no, and could not tell are three different outcomes."""
    account = provider.add_account("org-a")
    good = target("salesforce", {"access_token": account.access_token}, instance_url=provider.url)
    await proxy.verify(good)
    bad = target("salesforce", {"access_token": "nonsense"}, instance_url=provider.url)
    with pytest.raises(ConnectionTestFailed, match="401"):
        await proxy.verify(bad)
    provider.fail("status", path="/services/oauth2/userinfo", status=503)
    with pytest.raises(ProviderUnavailable):
        await proxy.verify(good)
    provider.recover()
    provider.fail("close", path="/services/oauth2/userinfo", times=9)
    with pytest.raises(ProviderUnreachable):
        await proxy.verify(good)


@pytest.mark.parametrize("provider", CATALOGUE.all(), ids=lambda provider: provider.name)
def test_every_built_in_provider_has_a_mode_that_is_offered(provider: Any) -> None:
    """The catalogue promises nothing that cannot be connected."""
    assert mode_for(provider.auth_mode).auth_mode is provider.auth_mode
