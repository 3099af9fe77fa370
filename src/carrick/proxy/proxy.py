"""Authenticated calls: built, sent, tried again, and handed back whole or as they arrive."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from carrick.errors import (
    CarrickError,
    MissingConnectionConfig,
    ProviderTimeout,
    ProviderUnreachable,
)
from carrick.model.auth import Credentials
from carrick.model.clock import Chance, Clock
from carrick.model.http import NOBODY_KNOWS, OutboundAnswer, OutboundRequest
from carrick.proxy.build import build_request
from carrick.proxy.call import BeforeResend, BeforeSend, Outbound, ProxyCall, Streamed, Target
from carrick.proxy.facts import find_facts
from carrick.proxy.retry import MAX_WAIT_S, is_retryable, wait_of_answer, wait_of_our_own
from carrick.proxy.verify import verify

SEND_TIMEOUT_S = 60.0
_REDIRECTS = 5


class _Answered(Protocol):
    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


A = TypeVar("A", bound=_Answered)


class _Channel(Protocol[A]):
    """One way of sending: the answer whole, or as it arrives."""

    async def send(self, request: OutboundRequest, timeout_s: float, follow: int) -> A: ...
    def document(self, answer: A) -> Any: ...
    async def discard(self, answer: A) -> None: ...


@dataclass(frozen=True)
class _Errand(Generic[A]):
    """A call under way: what, for whom, and until when."""

    call: ProxyCall
    target: Target
    channel: _Channel[A]
    random: str
    before_send: BeforeSend | None
    deadline: float | None
    trusted: bool = False
    before_resend: BeforeResend | None = None

    @property
    def rule(self) -> Mapping[str, Any]:
        found = self.target.provider.proxy.get("retry")
        return found if isinstance(found, Mapping) else {}


@dataclass
class _Doubt:
    """Whether a try of a call may have been carried out although no answer says so."""

    is_there: bool = False


class Proxy:
    """Makes API calls for connections with credentials injected."""

    def __init__(
        self, egress: Outbound, clock: Clock, chance: Chance, *, max_bytes: int | None = None
    ) -> None:
        self._egress = egress
        self._clock = clock
        self._chance = chance
        self._max_bytes = max_bytes

    async def call(
        self,
        call: ProxyCall,
        target: Target,
        *,
        before_send: BeforeSend | None = None,
        before_resend: BeforeResend | None = None,
        deadline: float | None = None,
    ) -> OutboundAnswer:
        """Make a call and return the whole answer, whatever its status.

        Args:
            call: What to ask.
            target: Whose account to ask about, with the source of the credentials.
            before_send: Runs before every try; what it raises ends the call.
            before_resend: Runs before it when an earlier try may have been carried out.
            deadline: On the clock's `monotonic()`: no try begins and no wait ends after it.

        Raises:
            ProviderUnreachable: No answer, after the retries; `sent` speaks of all of them.
            MissingConnectionConfig, InvalidConnectionConfig: The address cannot be made.
            BaseUrlOverrideNotAllowed: The credentials may not be sent there.
            EgressDenied, ProviderAnswerTooLarge, ProviderAnswerInvalid: As `Egress.send`.
        """
        whole = _Whole(self._egress, self._max_bytes)
        errand = _Errand(
            call,
            target,
            whole,
            self._random(),
            before_send,
            deadline,
            before_resend=before_resend,
        )
        return await self._run(errand)

    @asynccontextmanager
    async def stream(
        self,
        call: ProxyCall,
        target: Target,
        *,
        before_send: BeforeSend | None = None,
        deadline: float | None = None,
    ) -> AsyncIterator[Streamed]:
        """Make a call and hand over the last try's answer as it arrives; see `call`.

        Status, end-to-end headers and encoded bytes are the provider's own. A body that breaks
        off raises `ProviderUnreachable` from `chunks()`.
        """
        async with self._arriving(call, target, before_send, deadline) as answer:
            yield answer

    async def demand_possible(self, target: Target) -> None:
        """Refuse an account that no call could ever be made for, without asking anybody.

        An address is judged where it is one; a name is, whenever it is called.

        Raises:
            EgressDenied: Its server is at an address that this server may not call.
            InvalidHeaders: What identifies it holds characters that no header can carry.
        """
        credentials = await target.credentials()
        with contextlib.suppress(MissingConnectionConfig):  # functions may call whole addresses
            request = build_request(
                ProxyCall("GET", ""),
                target,
                credentials,
                now=self._clock.now(),
                random=self._random(),
                nonce=self._chance.token_hex(16),
            )
            await self._egress.check(request, look_up=False)

    async def verify(
        self,
        target: Target,
        *,
        before_send: BeforeSend | None = None,
        deadline: float | None = None,
    ) -> None:
        """Ask the provider whether it accepts the target's credentials.

        The checks of its definition are made in order; the first 2xx is a yes, and a provider
        without a check accepts everything.

        Raises:
            ConnectionTestFailed: It said no.
            ProviderUnreachable: It could not be asked; as `ProviderUnavailable`, it could not
                say (408, 425, 429, 5xx).
        """

        async def ask(call: ProxyCall) -> Streamed:
            async with self._arriving(call, target, before_send, deadline, trusted=True) as answer:
                return answer

        await verify(ask, target.provider, self._clock.now())

    async def find_facts(
        self,
        target: Target,
        *,
        given: Collection[str] = (),
        previous: Mapping[str, Any] | None = None,
        deadline: float | None = None,
    ) -> dict[str, str]:
        """Ask what the provider's definition wants known about the target's account.

        Args:
            target: The account.
            given: Keys of `connection_config` that are not to be found out.
            previous: The `connection_config` of the connection that is connected again.
            deadline: As in `call`.

        Raises:
            ConnectionTestFailed: The provider refused, or its answer lacks a value.
            ProviderUnreachable: It could not be asked, or could not say.
        """
        whole = _Whole(self._egress, self._max_bytes)

        async def ask(call: ProxyCall, known: Target) -> OutboundAnswer:
            errand = _Errand(call, known, whole, self._random(), None, deadline, trusted=True)
            return await self._run(errand)

        return await find_facts(
            ask, target, given=given, previous=previous or {}, now=self._clock.now()
        )

    @asynccontextmanager
    async def _arriving(
        self,
        call: ProxyCall,
        target: Target,
        before_send: BeforeSend | None,
        deadline: float | None,
        *,
        trusted: bool = False,
    ) -> AsyncIterator[Streamed]:
        arriving = _AsItArrives(self._egress)
        random = self._random()
        try:
            yield await self._run(
                _Errand(call, target, arriving, random, before_send, deadline, trusted)
            )
        finally:
            await arriving.close()

    def _random(self) -> str:
        return self._chance.uuid4()

    async def _run(self, errand: _Errand[A]) -> A:
        doubt = _Doubt()
        try:
            return await self._answered(errand, doubt)
        except CarrickError as error:
            # What ends the last try, or keeps it from being made, does not undo an earlier one.
            error.sent = error.sent or doubt.is_there
            raise

    async def _answered(self, errand: _Errand[A], doubt: _Doubt) -> A:
        tried = 0
        may_reread = True
        credentials = await errand.target.credentials()
        while True:
            try:
                answer = await self._try(errand, credentials)
            except ProviderUnreachable as error:
                doubt.is_there = doubt.is_there or error.sent
                wait = self._fitting_wait(errand, tried, None)
                if wait is None:
                    raise
            else:
                if answer.status == 401 and may_reread:
                    may_reread = False
                    fresh = await errand.target.credentials()
                    if fresh.values != credentials.values:
                        await errand.channel.discard(answer)
                        credentials = fresh
                        continue
                if not is_retryable(
                    answer.status, answer.headers, errand.rule, errand.call.retry_on
                ):
                    return answer
                wait = self._fitting_wait(errand, tried, answer)
                if wait is None:
                    return answer
                doubt.is_there = doubt.is_there or answer.status in NOBODY_KNOWS
                await errand.channel.discard(answer)
            tried += 1
            await self._clock.sleep(wait)
            credentials = await errand.target.credentials()
            if doubt.is_there and errand.before_resend is not None:
                await errand.before_resend()

    async def _try(self, errand: _Errand[A], credentials: Credentials) -> A:
        request = build_request(
            errand.call,
            errand.target,
            credentials,
            now=self._clock.now(),
            random=errand.random,
            nonce=self._chance.token_hex(16),
            trusted=errand.trusted,
        )
        if errand.before_send is not None:
            await errand.before_send()
        timeout_s = SEND_TIMEOUT_S
        if errand.deadline is not None:
            timeout_s = min(timeout_s, errand.deadline - self._clock.monotonic())
            if timeout_s <= 0:
                raise ProviderTimeout("The time for this call is up.", sent=False)
        # A redirect could carry the body elsewhere, and with it what the provider's entry adds.
        follow = 0 if errand.target.provider.proxy.get("body") else _REDIRECTS
        return await errand.channel.send(request, timeout_s, follow)

    def _fitting_wait(self, errand: _Errand[A], tried: int, answer: A | None) -> float | None:
        """Return the seconds until the next try; `None` when there is none or no time for it."""
        if tried >= errand.call.retries:
            return None
        wait: float | None = None
        if answer is not None:
            document = errand.channel.document(answer) if "in_body" in errand.rule else None
            wait = wait_of_answer(answer.headers, errand.rule, document, self._clock.now())
        if wait is None:
            wait = wait_of_our_own(tried, self._chance)
        if wait > MAX_WAIT_S:
            return None
        ends = errand.deadline
        return None if ends is not None and self._clock.monotonic() + wait >= ends else wait


class _Whole:
    """Reads every answer to its end."""

    def __init__(self, egress: Outbound, max_bytes: int | None) -> None:
        self._egress = egress
        self._max_bytes = max_bytes

    async def send(self, request: OutboundRequest, timeout_s: float, follow: int) -> OutboundAnswer:
        return await self._egress.send(
            request, timeout_s=timeout_s, max_bytes=self._max_bytes, follow=follow
        )

    def document(self, answer: OutboundAnswer) -> Any:
        try:
            return answer.json()
        except ValueError:
            return None

    async def discard(self, answer: OutboundAnswer) -> None:
        """Nothing is open."""


class _AsItArrives:
    """Keeps the last answer open until it is closed."""

    def __init__(self, egress: Outbound) -> None:
        self._egress = egress
        self._open = AsyncExitStack()

    async def send(self, request: OutboundRequest, timeout_s: float, follow: int) -> Streamed:
        answer = await self._open.enter_async_context(
            self._egress.stream(request, timeout_s=timeout_s, follow=follow)
        )
        return _EndToEnd(answer)

    def document(self, answer: Streamed) -> Any:
        """Return nothing: a body that was read here could not be handed over any more."""

    async def discard(self, answer: Streamed) -> None:
        await self.close()

    async def close(self) -> None:
        await self._open.aclose()


#: About one connection (RFC 9110 §7.6.1), or about the provider's own origin in a browser.
_NOT_PASSED_ON = frozenset(
    {
        "alt-svc",
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "strict-transport-security",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def end_to_end(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of an answer that may be passed on to whoever asked for it."""
    named = {name.strip().lower() for name in headers.get("connection", "").split(",")}
    return {
        name: value
        for name, value in headers.items()
        if name not in _NOT_PASSED_ON
        and name not in named
        and not name.startswith("access-control-")
    }


class _EndToEnd:
    def __init__(self, answer: Streamed) -> None:
        self._answer = answer
        self.status = answer.status
        self.headers: Mapping[str, str] = end_to_end(answer.headers)

    def chunks(self) -> AsyncIterator[bytes]:
        return self._answer.chunks()
