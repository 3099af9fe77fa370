"""The only room that opens outbound sockets, against real servers that behave badly."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from carrick.egress import Egress, EgressPolicy, StreamedAnswer
from carrick.errors import (
    EgressDenied,
    InvalidHeaders,
    ProviderAnswerInvalid,
    ProviderAnswerTooLarge,
    ProviderTimeout,
    ProviderUnreachable,
    SettingsInvalid,
)
from carrick.model.http import OutboundRequest

LOOPBACK = ("127.0.0.0/8",)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    """An egress that may call IPv4 loopback and nothing else that is private."""
    egress = Egress(EgressPolicy(LOOPBACK), max_answer_bytes=1_000_000)
    yield egress
    await egress.close()


@contextlib.asynccontextmanager
async def serving(**handlers: Handler) -> AsyncIterator[str]:
    """A web server with a path for each handler."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    for name, handler in handlers.items():
        app.router.add_route("*", f"/{name}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def speaking(*pieces: bytes, hangs: bool = False) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A raw server: reads a request, says the pieces, then closes or hangs; shows what it read."""
    heard: list[bytes] = []
    over = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        for piece in pieces:
            writer.write(piece)
        await writer.drain()
        if hangs:
            await over.wait()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", heard
    finally:
        over.set()
        server.close()
        await server.wait_closed()


async def echo(request: web.Request) -> web.Response:
    """Answer with what arrived."""
    return web.json_response(
        {
            "method": request.method,
            "path": request.raw_path,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": (await request.read()).decode(),
        },
        headers=[("Set-Cookie", "session=1"), ("X-Twice", "a"), ("X-Twice", "b")],
    )


async def read_all(answer: StreamedAnswer) -> bytes:
    return b"".join([piece async for piece in answer.chunks()])


def redirect_to(location: str, status: int = 302) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": location})

    return handler


# --- which addresses ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "198.18.0.1",
        "::1",
        "::",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::8.8.8.8",
        "2002:7f00:1::",
        "2001:0:1::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "not an address",
    ],
)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    """Private, loopback, link-local, metadata, and IPv4 hidden in IPv6 are all out of reach."""
    assert not EgressPolicy().permits(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
)
def test_public_addresses_are_permitted(address: str) -> None:
    """The public internet may be called, by way of NAT64 as well."""
    assert EgressPolicy().permits(address)


def test_allowed_networks_are_permitted() -> None:
    """The settings open private networks one by one, and nothing beside them."""
    policy = EgressPolicy(("127.0.0.1", "fd00::/8", "10.0.0.0/8"))
    assert policy.permits("127.0.0.1")
    assert policy.permits("::ffff:10.2.3.4")
    assert policy.permits("fd12::1")
    assert not policy.permits("127.0.0.2")
    assert not policy.permits("::1")


def test_a_setting_that_is_no_network_is_refused() -> None:
    """A typing error in the settings is found at start, and named."""
    with pytest.raises(SettingsInvalid, match="CARRICK_EGRESS_ALLOW"):
        EgressPolicy(("localhost",))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "localhost",
        "LOCALHOST",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "0.0.0.0",
        "169.254.169.254",
        "\uff11\uff12\uff17.0.0.1",
    ],
)
async def test_no_notation_of_a_private_address_gets_through(host: str) -> None:
    """However an address is written, the socket never opens."""
    async with speaking(b"HTTP/1.1 200 OK\r\n\r\n") as (url, heard):
        port = url.split(":")[2].rstrip("/")
        egress = Egress(EgressPolicy())
        try:
            for attempt in (egress.send, egress.check):
                with pytest.raises(EgressDenied):
                    await attempt(OutboundRequest("GET", f"http://{host}:{port}/"))
        finally:
            await egress.close()
        assert heard == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "//example.com/",
        "example.com",
        "http://",
        "http://exa mple.com/",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://example.com/\r\nX: y",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://host.0x1/",
        "",
    ],
)
async def test_only_complete_http_addresses_are_called(egress: Egress, url: str) -> None:
    """Other schemes, relative addresses and broken ones are refused before anything is opened."""
    with pytest.raises(EgressDenied):
        await egress.send(OutboundRequest("GET", url))


async def test_a_name_reaches_only_its_permitted_addresses(egress: Egress) -> None:
    """A name with IPv6 and IPv4 addresses is called on the one that is allowed; Host stays."""
    async with serving(x=echo) as url:
        answer = await egress.send(
            OutboundRequest("GET", f"{url}/x".replace("127.0.0.1", "localhost"))
        )
    assert answer.json()["headers"]["host"].startswith("localhost:")


async def test_checking_sends_nothing(egress: Egress) -> None:
    """An address can be judged without calling it; a name that nobody knows yet passes."""
    async with speaking(b"") as (url, heard):
        await egress.check(OutboundRequest("POST", url))
        await egress.check(OutboundRequest("POST", "http://unheard-of.invalid/"))
        assert heard == []


# --- what goes out --------------------------------------------------------------------------


async def test_a_request_arrives_as_it_was_built(egress: Egress) -> None:
    """Method, path, query, headers and body are sent as they are, and nothing is invented."""
    async with serving(**{"a%2Fb": echo}) as url:
        request = OutboundRequest(
            "report", f"{url}/a%2Fb?x=1+2&y=%7e", {"X-Key": "k", "Connection": "close"}, b"body"
        )
        seen = (await egress.send(request)).json()
    assert (seen["method"], seen["path"], seen["body"]) == ("REPORT", "/a%2Fb?x=1+2&y=%7e", "body")
    assert seen["headers"]["x-key"] == "k"
    assert seen["headers"]["user-agent"] == "carrick"
    assert not seen["headers"].keys() & {"content-type", "cookie", "connection"}


async def test_a_large_body_is_sent_whole(egress: Egress) -> None:
    """Several megabytes go up without a warning and with their length announced."""

    async def count(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.content_length} {len(await request.read())}")

    async with serving(x=count) as url:
        answer = await egress.send(OutboundRequest("POST", f"{url}/x", {}, b"x" * 3_000_000))
    assert answer.text() == "3000000 3000000"


@pytest.mark.parametrize(
    "request_",
    [
        OutboundRequest("GET", "http://example.com/", {"X": "a\r\nY: b"}),
        OutboundRequest("GET", "http://example.com/", {"X: y\r\nZ": "a"}),
        OutboundRequest("GET /evil HTTP/1.1\r\n", "http://example.com/"),
    ],
)
async def test_a_request_cannot_carry_a_second_one(
    egress: Egress, request_: OutboundRequest
) -> None:
    """Line breaks in a method, a header's name or its value are refused."""
    with pytest.raises(InvalidHeaders):
        await egress.send(request_)


async def test_a_user_name_in_the_address_becomes_a_header(egress: Egress) -> None:
    """Basic credentials in an address are sent as such, unless the caller brings others."""
    async with serving(x=echo) as url:
        named = url.replace("http://", "http://me:s%20cret@") + "/x"
        with_basic = await egress.send(OutboundRequest("GET", named))
        own = await egress.send(OutboundRequest("GET", named, {"authorization": "Bearer t"}))
    assert with_basic.json()["headers"]["authorization"] == "Basic bWU6cyBjcmV0"
    assert own.json()["headers"]["authorization"] == "Bearer t"


async def test_no_cookies_and_no_proxies(egress: Egress, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one answer sets is not sent with the next call, and the environment is not consulted."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with serving(x=echo) as url:
        first = await egress.send(OutboundRequest("GET", f"{url}/x"))
        second = await egress.send(OutboundRequest("GET", f"{url}/x"))
    assert first.header("set-cookie") == "session=1"
    assert first.header("X-Twice") == "a, b"
    assert "cookie" not in second.json()["headers"]


async def test_connections_are_kept(egress: Egress) -> None:
    """Calls to one server share a connection."""
    ports = set()

    async def note(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        return web.Response(text="x")

    async with serving(x=note) as url:
        for _ in range(3):
            await egress.send(OutboundRequest("GET", f"{url}/x"))
    assert len(ports) == 1


# --- what goes wrong ------------------------------------------------------------------------


async def test_a_refused_connection_was_not_sent(egress: Egress) -> None:
    """Nobody listening is told apart from a connection that broke."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ProviderUnreachable, match=r"127\.0\.0\.1 could not be reached") as caught:
        await egress.send(OutboundRequest("POST", f"http://127.0.0.1:{port}/?secret=1"))
    assert caught.value.sent is False
    assert "secret" not in caught.value.message


async def test_an_unknown_name_was_not_sent(egress: Egress) -> None:
    """A name that does not resolve is the provider's unreachability, not a refusal of ours."""
    with pytest.raises(ProviderUnreachable) as caught:
        await egress.send(OutboundRequest("POST", "http://unheard-of.invalid/"))
    assert caught.value.sent is False


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_a_broken_connection_may_have_been_sent(egress: Egress, method: str) -> None:
    """A write whose connection closes without an answer is reported, never quietly repeated."""
    async with speaking() as (url, heard):
        with pytest.raises(ProviderUnreachable) as caught:
            await egress.send(OutboundRequest(method, url))
    assert caught.value.sent is True
    assert len(heard) == 1


async def test_a_server_that_hangs_times_out(egress: Egress) -> None:
    """Silence ends at the time limit, and counts as sent."""
    async with speaking(hangs=True) as (url, _):
        with pytest.raises(ProviderTimeout) as caught:
            await egress.send(OutboundRequest("POST", url), timeout_s=0.1)
    assert caught.value.sent is True


async def test_the_time_limit_covers_the_body(egress: Egress) -> None:
    """A body that begins and never ends is cut off at the time limit."""
    start = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
    async with speaking(start, hangs=True) as (url, _):
        with pytest.raises(ProviderTimeout):
            await egress.send(OutboundRequest("GET", url), timeout_s=0.1)


async def test_a_body_that_breaks_off_is_no_answer(egress: Egress) -> None:
    """Half a body is not handed out as if it were all."""
    async with speaking(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc") as (url, _):
        with pytest.raises(ProviderUnreachable) as caught:
            await egress.send(OutboundRequest("POST", url))
    assert caught.value.sent is True


async def test_an_answer_that_is_not_http(egress: Egress) -> None:
    """A server that speaks something else is told apart from one that is away."""
    async with speaking(b"SSH-2.0-OpenSSH_9.6\r\n\r\n") as (url, _):
        with pytest.raises(ProviderAnswerInvalid) as caught:
            await egress.send(OutboundRequest("POST", url))
    assert caught.value.sent is True


async def test_a_server_without_tls_is_unreachable_by_https(egress: Egress) -> None:
    """A failed handshake means that nothing was sent."""
    async with serving(x=echo) as url:
        with pytest.raises(ProviderUnreachable) as caught:
            await egress.send(OutboundRequest("GET", url.replace("http://", "https://")))
    assert caught.value.sent is False


async def test_an_html_answer_is_an_answer(egress: Egress) -> None:
    """Whatever the body is, it is handed over; what it means is for others to say."""

    async def page(request: web.Request) -> web.Response:
        return web.Response(status=502, text="<h1>Bad gateway</h1>", content_type="text/html")

    async with serving(x=page) as url:
        answer = await egress.send(OutboundRequest("GET", f"{url}/x"))
    assert (answer.status, answer.text()) == (502, "<h1>Bad gateway</h1>")


# --- how much comes back --------------------------------------------------------------------


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_past_the_limit_is_cut_off(egress: Egress, announced: bool) -> None:
    """20 MB are not read into memory, whether the length is announced or not."""
    written = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal written
        answer = web.StreamResponse()
        if announced:
            answer.content_length = 20_000_000
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                await answer.write(b"x" * 100_000)
                written += 100_000
        return answer

    async with serving(x=flood) as url:
        with pytest.raises(ProviderAnswerTooLarge, match="1000000") as caught:
            await egress.send(OutboundRequest("GET", f"{url}/x"))
    assert caught.value.sent is True
    assert written < 20_000_000


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_bomb_does_not_go_off(egress: Egress, encoding: str) -> None:
    """A small encoded body that decodes to 1 GB is stopped at the limit."""
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    megabyte = b"\0" * 1_000_000
    bomb = pack(megabyte * 100)
    if encoding == "gzip":
        bomb *= 10  # members one after another are one body
    decoded = 0

    async def send_bomb(request: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": encoding})

    async with serving(x=send_bomb) as url:
        with pytest.raises(ProviderAnswerTooLarge):
            await egress.send(OutboundRequest("GET", f"{url}/x"))
        async with egress.stream(OutboundRequest("GET", f"{url}/x"), decode=True) as answer:
            async for piece in answer.chunks():
                decoded += len(piece)
                assert len(piece) <= 64 * 1024
                if decoded > 2_000_000:
                    break


async def test_empty_members_do_not_run_for_ever(egress: Egress) -> None:
    """A body that decodes to nothing is bounded by what arrives."""
    nothing = gzip.compress(b"", mtime=0) * 60_000

    async def send_nothing(request: web.Request) -> web.Response:
        return web.Response(body=nothing, headers={"Content-Encoding": "gzip"})

    async with serving(x=send_nothing) as url:
        with pytest.raises(ProviderAnswerTooLarge):
            await egress.send(OutboundRequest("GET", f"{url}/x"))


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b"hello ", mtime=0) + gzip.compress(b"world", mtime=0)),
        ("x-gzip", gzip.compress(b"hello world", mtime=0)),
        ("deflate", zlib.compress(b"hello world")),
        ("deflate", zlib.compress(b"hello world")[2:-4]),
        ("identity", b"hello world"),
    ],
)
async def test_encoded_answers_are_decoded(egress: Egress, encoding: str, body: bytes) -> None:
    """gzip, zlib and bare deflate come out as they went in, without a trace in the headers."""

    async def send_encoded(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "gzip, deflate"
        return web.Response(body=body, headers={"Content-Encoding": encoding})

    async with serving(x=send_encoded) as url:
        asked = OutboundRequest("GET", f"{url}/x", {"accept-encoding": "br"})
        answer = await egress.send(asked)
    assert answer.text() == "hello world"
    assert encoding == "identity" or answer.header("content-encoding") is None


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("gzip", b"not gzip"), ("gzip", gzip.compress(b"x" * 100, mtime=0)[:-9]), ("br", b"x")],
)
async def test_damaged_encodings_are_reported(egress: Egress, encoding: str, body: bytes) -> None:
    """A body that is not what its header says, is cut off, or was not asked for, is an error."""

    async def send_damaged(request: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": encoding})

    async with serving(x=send_damaged) as url:
        with pytest.raises(ProviderAnswerInvalid):
            await egress.send(OutboundRequest("GET", f"{url}/x"))


async def test_a_head_answer_has_no_body_to_measure(egress: Egress) -> None:
    """The length a HEAD answer announces is not one that will come."""

    async def head(request: web.Request) -> web.StreamResponse:
        return web.Response(headers={"Content-Length": "99999999", "Content-Encoding": "gzip"})

    async with serving(x=head) as url:
        answer = await egress.send(OutboundRequest("HEAD", f"{url}/x"))
    assert (answer.status, answer.body) == (200, b"")


# --- redirects ------------------------------------------------------------------------------


async def test_redirects_are_answers_unless_followed(egress: Egress) -> None:
    """A redirect is handed over; with `follow` its target is asked."""
    async with serving(x=redirect_to("/y"), y=echo) as url:
        plain = await egress.send(OutboundRequest("GET", f"{url}/x"))
        followed = await egress.send(OutboundRequest("GET", f"{url}/x"), follow=1)
    assert (plain.status, plain.header("location")) == (302, "/y")
    assert followed.json()["path"] == "/y"


async def test_at_most_five_redirects(egress: Egress) -> None:
    """A loop ends with the redirect after the fifth, whatever was asked for."""
    asked = 0

    async def loop(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=302, headers={"Location": "/x"})

    async with serving(x=loop) as url:
        answer = await egress.send(OutboundRequest("GET", f"{url}/x"), follow=50)
    assert (answer.status, asked) == (302, 6)


@pytest.mark.parametrize(
    "location",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]:80/",
        "file:///etc/passwd",
        "//0x0a000001/",
    ],
)
async def test_a_redirect_is_judged_like_an_address(egress: Egress, location: str) -> None:
    """A permitted server cannot lead to one that is not, and the error says the first was sent."""
    async with serving(x=redirect_to(location)) as url:
        with pytest.raises(EgressDenied) as caught:
            await egress.send(OutboundRequest("POST", f"{url}/x"), follow=5)
    assert caught.value.sent is True


async def test_a_redirect_to_nowhere_was_sent(egress: Egress) -> None:
    """When the first server has seen a write, a failure behind it is not `not sent`."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with serving(x=redirect_to(f"http://127.0.0.1:{port}/", 307)) as url:
        with pytest.raises(ProviderUnreachable) as caught:
            await egress.send(OutboundRequest("POST", f"{url}/x"), follow=1)
    assert caught.value.sent is True


@pytest.mark.parametrize(
    ("status", "method", "becomes"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (302, "PUT", "PUT"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (307, "POST", "POST"),
        (308, "DELETE", "DELETE"),
    ],
)
async def test_redirected_methods_follow_fetch(
    egress: Egress, status: int, method: str, becomes: str
) -> None:
    """What becomes GET loses its body; what keeps its method keeps it."""
    seen: list[tuple[str, bytes, bool]] = []

    async def note(request: web.Request) -> web.Response:
        seen.append((request.method, await request.read(), "Content-Type" in request.headers))
        return web.Response()

    headers = {"Content-Type": "text/plain"}
    async with serving(x=redirect_to("/y", status), y=note) as url:
        await egress.send(OutboundRequest(method, f"{url}/x", headers, b"body"), follow=1)
    kept = becomes == method and method != "HEAD"
    assert seen[0][0] == becomes
    assert (seen[0][1] == b"body") == kept or method == "HEAD"
    assert seen[0][2] == (becomes == method)


async def test_credentials_do_not_cross_origins(egress: Egress) -> None:
    """Authorization, cookies and key headers of any name stay with the server they are for."""
    headers = {"Authorization": "Bearer t", "Cookie": "a=b", "X-Api-Key": "k", "Accept": "a/b"}
    async with (
        serving(y=echo) as other,
        serving(x=redirect_to(f"{other}/y"), z=redirect_to("/w"), w=echo) as url,
    ):
        away = await egress.send(OutboundRequest("GET", f"{url}/x", headers), follow=1)
        same = await egress.send(OutboundRequest("GET", f"{url}/z", headers), follow=1)
    assert not away.json()["headers"].keys() & {"authorization", "cookie", "x-api-key"}
    assert away.json()["headers"]["accept"] == "a/b"
    assert same.json()["headers"]["authorization"] == "Bearer t"
    assert same.json()["headers"]["x-api-key"] == "k"


# --- streams --------------------------------------------------------------------------------


async def test_a_stream_hands_out_the_body_as_it_is(egress: Egress) -> None:
    """A stream is not decoded, not bounded, and begins before the body is there."""
    body = gzip.compress(b"x" * 100, mtime=0)
    go_on = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Encoding": "gzip", "X-Kind": "stream"})
        await answer.prepare(request)
        await answer.write(body[:10])
        await go_on.wait()
        await answer.write(body[10:])
        await answer.write_eof()
        return answer

    async with (
        serving(x=slow) as url,
        egress.stream(OutboundRequest("GET", f"{url}/x")) as answer,
    ):
        chunks = answer.chunks()
        received = await anext(chunks)
        go_on.set()
        received += b"".join([piece async for piece in chunks])
    assert (answer.status, answer.headers["x-kind"]) == (200, "stream")
    assert answer.headers["content-encoding"] == "gzip"
    assert received == body


async def test_a_stream_that_pauses_too_long_times_out(egress: Egress) -> None:
    """The limit of a stream is on its pauses, not on its length."""
    start = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
    async with (
        speaking(start, hangs=True) as (url, _),
        egress.stream(OutboundRequest("GET", url), timeout_s=0.1) as answer,
    ):
        with pytest.raises(ProviderTimeout):
            await read_all(answer)


async def test_a_stream_that_breaks_off_is_reported(egress: Egress) -> None:
    """A cut-off download is an error, not an end."""
    async with (
        speaking(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc") as (url, _),
        egress.stream(OutboundRequest("GET", url)) as answer,
    ):
        with pytest.raises(ProviderUnreachable):
            await read_all(answer)


async def test_closing_twice_is_closing_once() -> None:
    """An egress that was never used, or is closed already, closes all the same."""
    egress = Egress(EgressPolicy())
    await egress.close()
    await egress.close()
