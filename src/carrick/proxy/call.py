"""What the proxy is asked, on whose behalf, and what it sends through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from carrick.model.auth import Credentials
from carrick.model.environment import Integration
from carrick.model.http import OutboundAnswer, OutboundRequest
from carrick.model.provider import Provider

#: Reads the credentials as they are now; asked again after a 401 and before each retry.
CredentialSource = Callable[[], Awaitable[Credentials]]

#: Called before every outward send; raises when the caller may no longer send.
BeforeSend = Callable[[], Awaitable[None]]

#: Called before a call goes out once more, each time that an earlier try of it may have been
#: carried out; raises when it may not.
BeforeResend = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class ProxyCall:
    """An API call as its author wrote it: no credentials, no address but a path.

    `retries` counts the tries after the first. `retry_on` adds statuses that are tried again.
    """

    method: str
    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    params: Mapping[str, Any] | str | None = None
    body: bytes | None = field(default=None, repr=False)
    retries: int = 0
    retry_on: tuple[int, ...] = ()
    base_url_override: str | None = None


@dataclass(frozen=True)
class Target:
    """Whose account is called: a connection, or a candidate that is not one yet."""

    provider: Provider
    integration: Integration
    connection_config: Mapping[str, Any]
    credentials: CredentialSource = field(repr=False)
    metadata: Mapping[str, Any] | None = field(default=None, repr=False)


class Streamed(Protocol):
    """An answer whose body has not arrived yet."""

    @property
    def status(self) -> int:
        """The provider's status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers with lower-case names."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives."""


class Outbound(Protocol):
    """What the proxy needs of `carrick.egress.Egress`."""

    async def send(
        self, request: OutboundRequest, *, timeout_s: float, max_bytes: int | None, follow: int
    ) -> OutboundAnswer:
        """Send a request and return the whole answer."""

    def stream(
        self, request: OutboundRequest, *, timeout_s: float, follow: int
    ) -> AbstractAsyncContextManager[Streamed]:
        """Send a request and hand over the answer as it arrives."""

    async def check(self, request: OutboundRequest, *, look_up: bool) -> None:
        """Refuse a request that may not be sent, without sending it."""
