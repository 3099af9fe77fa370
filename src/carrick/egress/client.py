"""The client behind every outbound call: bounded in size and time, to permitted addresses only."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from carrick.egress.address import prepared, redirected
from carrick.egress.certificates import ClientContexts
from carrick.egress.decoding import ACCEPTED, Decoder
from carrick.egress.faults import translated
from carrick.egress.policy import EgressPolicy
from carrick.egress.resolver import CheckedResolver
from carrick.errors import CarrickError, ProviderAnswerTooLarge, ProviderTimeout
from carrick.model.http import OutboundAnswer, OutboundRequest

MAX_ANSWER_BYTES = 10 * 1024 * 1024
#: The most redirects one call may follow.
MAX_REDIRECTS = 5
#: Seconds one address gets to accept a connection; there may be another.
_CONNECT_S = 10.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})
#: Larger bodies are written in pieces, so that one upload does not hold up everybody else.
_WRITE_WHOLE_BYTES = 512 * 1024


@dataclass
class StreamedAnswer:
    """An answer whose body has not been read yet."""

    status: int
    headers: dict[str, str]
    _response: aiohttp.ClientResponse = field(repr=False)
    _decoder: Decoder = field(repr=False)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives.

        Raises:
            ProviderUnreachable: The connection broke.
            ProviderTimeout: Nothing came for too long.
        """
        with translated(_host(self._response.url)):
            async for piece in self._response.content.iter_any():
                for decoded in self._decoder.decode(piece):
                    yield decoded
        self._decoder.finish()


class Egress:
    """Makes every outbound call of this server. Keeps connections, never cookies."""

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        user_agent: str = "carrick",
    ) -> None:
        self._policy = policy
        self._max_answer_bytes = max_answer_bytes
        self._defaults = {"user-agent": user_agent}
        self._contexts = ClientContexts()
        self._resolver: CheckedResolver | None = None
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        request: OutboundRequest,
        *,
        timeout_s: float = 60.0,
        max_bytes: int | None = None,
        follow: int = 0,
    ) -> OutboundAnswer:
        """Send a request and read the whole answer.

        Args:
            request: What to send.
            timeout_s: Seconds for all of it: name, connection, redirects and body.
            max_bytes: The largest body accepted, as sent and as decoded.
            follow: How many redirects to follow; the one after the last is the answer.

        Raises:
            EgressDenied: The address, or one it redirects to, is not one this server may call.
            ProviderUnreachable: There was no connection, or it broke; `sent` says which.
            ProviderTimeout: The time was up.
            ProviderAnswerTooLarge: The body passes the limit.
            ProviderAnswerInvalid: What came back is not HTTP, or its encoding is damaged.
        """
        limit = self._max_answer_bytes if max_bytes is None else max_bytes
        url, ready = prepared(request, self._defaults, encodings=ACCEPTED)
        response = await self._open(url, ready, _Budget(timeout_s), follow)
        try:
            decoder = Decoder(response.headers.get("Content-Encoding"))
            with translated(_host(response.url)):
                body = await _read(response, decoder, limit)
        finally:
            response.close()  # does nothing to a connection whose answer was read to its end
        return OutboundAnswer(response.status, _headers(response, decoder.changes), body)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        request: OutboundRequest,
        *,
        timeout_s: float = 60.0,
        follow: int = 0,
        decode: bool = False,
    ) -> AsyncIterator[StreamedAnswer]:
        """Send a request and hand out the answer before its body is read.

        Args:
            request: What to send.
            timeout_s: Seconds until the answer begins, and for each pause within it.
            follow: How many redirects to follow.
            decode: Whether to undo the body's encoding instead of passing it on as it is.

        Raises:
            EgressDenied, ProviderUnreachable, ProviderTimeout, ProviderAnswerInvalid: As `send`.
        """
        # aiohttp would ask for what it could decode, which is not what the caller can.
        defaults = self._defaults | {"accept-encoding": "identity"}
        url, ready = prepared(request, defaults, encodings=ACCEPTED if decode else None)
        response = await self._open(url, ready, _Budget(timeout_s, whole=False), follow)
        try:
            decoder = Decoder(response.headers.get("Content-Encoding") if decode else None)
            headers = _headers(response, decoder.changes)
            yield StreamedAnswer(response.status, headers, response, decoder)
        finally:
            response.close()

    async def check(self, request: OutboundRequest, *, look_up: bool = True) -> None:
        """Refuse a request that may not be sent, without sending it.

        A name that cannot be looked up now passes: sending looks again.

        Args:
            request: What would be sent.
            look_up: Whether to ask what a name stands for, which can take long.

        Raises:
            EgressDenied: The address is not one this server may call.
            InvalidHeaders: The request is not valid HTTP.
        """
        url, _ = prepared(request, {})
        host = _host(url)
        if _is_literal(url):
            self._policy.demand(host, host)
            return
        if not look_up:
            return
        self._client()
        assert self._resolver is not None
        with contextlib.suppress(OSError):
            await self._resolver.resolve(host, url.port or 0, socket.AF_UNSPEC)

    async def close(self) -> None:
        """Close every connection."""
        session, resolver = self._session, self._resolver
        self._session = self._resolver = None
        if session is not None:
            await session.close()
        if resolver is not None:
            await resolver.close()

    async def _open(
        self, url: URL, ready: OutboundRequest, budget: _Budget, follow: int
    ) -> aiohttp.ClientResponse:
        hops = 0
        try:
            while True:
                response = await self._ask(url, ready, budget)
                location = response.headers.get("Location")
                followed = hops < min(follow, MAX_REDIRECTS)
                if response.status not in _REDIRECTS or not location or not followed:
                    return response
                response.release()
                hops += 1
                url, ready = redirected(url, ready, response.status, location)
        except CarrickError as error:
            error.sent = error.sent or hops > 0  # the first address has seen it
            raise

    async def _ask(
        self, url: URL, request: OutboundRequest, budget: _Budget
    ) -> aiohttp.ClientResponse:
        host = _host(url)
        own = request.client_certificate
        context = True if own is None else self._contexts.of(own)
        if _is_literal(url):
            # aiohttp does not ask its resolver about these.
            self._policy.demand(host, host)
        data: bytes | io.BytesIO | None = request.body
        if request.body is not None and len(request.body) > _WRITE_WHOLE_BYTES:
            data = io.BytesIO(request.body)
        with translated(host):
            return await self._client().request(
                request.method,
                url,
                headers=request.headers,
                data=data,
                allow_redirects=False,
                skip_auto_headers=("Content-Type",),
                timeout=budget.timeout(host),
                ssl=context,
            )

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._resolver = CheckedResolver(self._policy)
            connector = aiohttp.TCPConnector(
                resolver=self._resolver,
                limit=0,  # one provider that hangs must not use up everybody's connections
                limit_per_host=256,
                keepalive_timeout=15,
                socket_factory=self._make_socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                middlewares=(_never_sent_twice,),
                max_line_size=32 * 1024,
                max_field_size=64 * 1024,
            )
        return self._session

    def _make_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        # The last look, at the very address the socket will be connected to.
        family, kind, protocol, _, where = address
        self._policy.demand(str(where[0]), str(where[0]))
        return socket.socket(family=family, type=kind, proto=protocol)


class _Budget:
    """The time a call may take, redirects included."""

    def __init__(self, timeout_s: float, *, whole: bool = True) -> None:
        self._timeout_s = timeout_s
        self._whole = whole
        self._ends = asyncio.get_running_loop().time() + timeout_s

    def timeout(self, host: str) -> aiohttp.ClientTimeout:
        if not self._whole:
            pause = self._timeout_s
            return aiohttp.ClientTimeout(
                total=None, connect=pause, sock_connect=min(pause, _CONNECT_S), sock_read=pause
            )
        left = self._ends - asyncio.get_running_loop().time()
        if left <= 0:
            raise ProviderTimeout(f"{host} did not answer in time.", sent=False)
        return aiohttp.ClientTimeout(total=left, sock_connect=min(left, _CONNECT_S))


async def _never_sent_twice(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from quietly repeating a write whose connection broke.

    It repeats what the HTTP specification calls idempotent, PUT and DELETE among it; whether a
    write may be sent again is the journal's decision.
    """
    if request.method in _REPEATABLE:
        return await handler(request)
    with translated(_host(request.url)):
        return await handler(request)


async def _read(response: aiohttp.ClientResponse, decoder: Decoder, limit: int) -> bytes:
    announced = response.content_length
    if announced is not None and announced > limit and response.method != "HEAD":
        raise _too_large(response, limit)
    pieces: list[bytes] = []
    arrived = kept = 0
    async for piece in response.content.iter_any():
        arrived += len(piece)
        for decoded in decoder.decode(piece):
            kept += len(decoded)
            if kept > limit:
                raise _too_large(response, limit)
            pieces.append(decoded)
        if arrived > limit:
            raise _too_large(response, limit)
    decoder.finish()
    return b"".join(pieces)


def _too_large(response: aiohttp.ClientResponse, limit: int) -> ProviderAnswerTooLarge:
    return ProviderAnswerTooLarge(
        f"The answer of {_host(response.url)} is larger than {limit} bytes."
    )


def _headers(response: aiohttp.ClientResponse, was_decoded: bool) -> dict[str, str]:
    gone = {"transfer-encoding"}
    if was_decoded:
        gone |= {"content-encoding", "content-length"}
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        lowered = name.lower()
        if lowered not in gone:
            headers[lowered] = f"{headers[lowered]}, {value}" if lowered in headers else value
    return headers


def _host(url: URL) -> str:
    return url.raw_host or "the provider"


def _is_literal(url: URL) -> bool:
    host = url.raw_host or ""
    return ":" in host or (host.replace(".", "").isdigit() and host.count(".") == 3)
