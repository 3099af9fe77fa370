"""The other end of the proxy in memory, and accounts to call it for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from carrick.errors import (
    CarrickError,
)
from carrick.model.auth import Credentials
from carrick.model.environment import Integration, IntegrationState
from carrick.model.http import OutboundAnswer, OutboundRequest
from carrick.model.provider import Provider
from carrick.providers import Catalogue, load_catalogue
from carrick.proxy import Proxy, ProxyCall, Target

CATALOGUE = load_catalogue()
Reply = OutboundAnswer | CarrickError | Callable[[OutboundRequest], OutboundAnswer]


@dataclass
class Arriving:
    status: int
    headers: Mapping[str, str]
    pieces: list[bytes]
    left: int = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece


@dataclass
class Wire:
    """The other end: keeps what is sent and answers from a list, the last answer for ever."""

    replies: list[Reply] = field(default_factory=lambda: [answer(200)])
    requests: list[OutboundRequest] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)
    follows: list[int] = field(default_factory=list)
    open: int = 0

    async def send(
        self, request: OutboundRequest, *, timeout_s: float, max_bytes: int | None, follow: int
    ) -> OutboundAnswer:
        self.requests.append(request)
        self.timeouts.append(timeout_s)
        self.follows.append(follow)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, CarrickError):
            raise reply
        return reply if isinstance(reply, OutboundAnswer) else reply(request)

    @asynccontextmanager
    async def stream(
        self, request: OutboundRequest, *, timeout_s: float, follow: int
    ) -> AsyncIterator[Arriving]:
        reply = await self.send(request, timeout_s=timeout_s, max_bytes=None, follow=follow)
        self.open += 1
        try:
            yield Arriving(reply.status, reply.headers, [reply.body[:3], reply.body[3:]])
        finally:
            self.open -= 1

    async def check(self, request: OutboundRequest, *, look_up: bool) -> None:
        self.requests.append(request)


def answer(
    status: int, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> OutboundAnswer:
    return OutboundAnswer(status, headers or {}, body)


def provider(**entry: Any) -> Provider:
    """A provider that is called with an API key."""
    definition = {
        "display_name": "Acme",
        "auth_mode": "API_KEY",
        "credentials": {"apiKey": {"title": "Key"}},
        **entry,
    }
    definition["proxy"] = {"base_url": "https://api.acme.example/v2", **entry.get("proxy", {})}
    return Catalogue(()).with_definitions({"acme": definition}, origin="test").get("acme")


def integration(**changes: Any) -> Integration:
    values: dict[str, Any] = {
        "row_id": 1,
        "environment_id": 1,
        "integration_id": "acme",
        "provider": "acme",
        "display_name": None,
        "state": IntegrationState.ACTIVE,
        "credentials": None,
    }
    return Integration(**{**values, **changes})


SAMPLES: Mapping[str, Mapping[str, Any]] = {
    "API_KEY": {"apiKey": "k-123456"},
    "OAUTH2": {"access_token": "at-1", "refresh_token": "rt-1"},
    "OAUTH2_CC": {"token": "cc-1", "client_id": "i", "client_secret": "s"},
    "BASIC": {"username": "u", "password": "p"},
    "NONE": {},
}


def target(
    of: Provider | None = None,
    *,
    values: Mapping[str, Any] | None = None,
    developer: Integration | None = None,
    metadata: Mapping[str, Any] | None = None,
    **connection_config: Any,
) -> Target:
    of = of or provider(proxy={"headers": {"x-api-key": "${apiKey}"}})
    credentials = Credentials(of.auth_mode, values or SAMPLES[of.auth_mode])

    async def read() -> Credentials:
        return credentials

    return Target(of, developer or integration(), connection_config, read, metadata)


async def sent(proxy: Proxy, wire: Wire, to: Target, **call: Any) -> OutboundRequest:
    """Make one call and return what left."""
    await proxy.call(ProxyCall(**{"method": "GET", "endpoint": "/x", **call}), to)
    return wire.requests[-1]


def headers_of(request: OutboundRequest) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}
