"""When a call is tried again, with what, and how its answer is handed over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.proxy_wire import (
    CATALOGUE,
    Wire,
    answer,
    headers_of,
    integration,
    provider,
    target,
)

from carrick.errors import (
    ProviderTimeout,
    ProviderUnreachable,
    ResultLost,
)
from carrick.model.auth import Credentials
from carrick.model.http import OutboundAnswer
from carrick.proxy import Proxy, ProxyCall, Target
from carrick.testing.clock import FakeChance, FakeClock


@pytest.fixture
def wire() -> Wire:
    """What the proxy sends through."""
    return Wire()


@pytest.fixture
def proxy(wire: Wire, clock: FakeClock, chance: FakeChance) -> Proxy:
    """A proxy with a still clock."""
    return Proxy(wire, clock, chance)


# --- retries --------------------------------------------------------------------------------


async def outcome(
    proxy: Proxy, clock: FakeClock, call: ProxyCall, to: Target, **options: Any
) -> tuple[OutboundAnswer, float]:
    """Make a call, moving the clock as far as it waits; return the answer and the time waited."""
    began = clock.monotonic()
    task = asyncio.create_task(proxy.call(call, to, **options))
    while not task.done():
        await clock.advance(0)
        if not task.done():
            await clock.advance(1)
    return task.result(), clock.monotonic() - began


def retrying(**changes: Any) -> ProxyCall:
    return ProxyCall(**{"method": "GET", "endpoint": "/x", "retries": 3, **changes})


@pytest.mark.parametrize("status", [429, 500, 503, 599])
async def test_throttling_and_server_errors_are_tried_again(
    proxy: Proxy, wire: Wire, clock: FakeClock, status: int
) -> None:
    """After 3, 6 and 12 seconds; the last answer is the answer."""
    wire.replies = [answer(status)]
    found, waited = await outcome(proxy, clock, retrying(), target())
    assert (found.status, len(wire.requests), waited) == (status, 4, 21)


@pytest.mark.parametrize(
    "first", [ProviderTimeout(sent=True), answer(504)], ids=["no answer", "a gateway gave up"]
)
async def test_a_try_that_never_left_does_not_undo_the_one_before(
    proxy: Proxy, wire: Wire, clock: FakeClock, first: Any
) -> None:
    """Whoever made the call hears that it may have been carried out, and before it goes again."""
    heard = []

    async def hear() -> None:
        heard.append(len(wire.requests))

    wire.replies = [first, ProviderUnreachable(sent=False)]
    call = retrying(method="POST", retries=2)
    with pytest.raises(ProviderUnreachable) as raised:
        await outcome(proxy, clock, call, target(), before_resend=hear)
    assert raised.value.sent
    assert heard == [1, 2]


@pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 403, 404, 422])
async def test_other_answers_are_final(
    proxy: Proxy, wire: Wire, clock: FakeClock, status: int
) -> None:
    """Asking again would not change them."""
    wire.replies = [answer(status)]
    found, waited = await outcome(proxy, clock, retrying(), target())
    assert (found.status, len(wire.requests), waited) == (status, 1, 0)


async def test_without_retries_the_first_answer_counts(proxy: Proxy, wire: Wire) -> None:
    """The default is none."""
    wire.replies = [answer(503)]
    assert (await proxy.call(ProxyCall("GET", "/x"), target())).status == 503
    wire.replies = [ProviderUnreachable("gone")]
    with pytest.raises(ProviderUnreachable, match="gone"):
        await proxy.call(ProxyCall("GET", "/x"), target())
    assert len(wire.requests) == 2


async def test_a_lost_connection_is_tried_again(proxy: Proxy, wire: Wire, clock: FakeClock) -> None:
    """Also a timeout; what the provider says then is the answer."""
    wire.replies = [ProviderUnreachable(), ProviderTimeout(), answer(201)]
    found, waited = await outcome(proxy, clock, retrying(), target())
    assert (found.status, waited) == (201, 9)


async def test_the_caller_may_add_statuses(proxy: Proxy, wire: Wire, clock: FakeClock) -> None:
    """`retry_on` adds to what is tried again anyway."""
    wire.replies = [answer(409), answer(503), answer(200)]
    found, _ = await outcome(proxy, clock, retrying(retry_on=(409,)), target())
    assert (found.status, len(wire.requests)) == (200, 3)


WAITS: list[tuple[dict[str, Any], dict[str, str], bytes, float]] = [
    ({}, {"retry-after": "7"}, b"", 7),
    ({}, {"retry-after": "Mon, 05 Jan 2026 09:00:11 GMT"}, b"", 11),
    ({}, {"retry-after": "soon"}, b"", 3),
    ({"after": ["x-wait"]}, {"x-wait": "5"}, b"", 5),
    ({"after": "X-Wait"}, {"x-wait": "5", "retry-after": "9"}, b"", 9),
    ({"at": ["x-reset", "x-other"]}, {"x-reset": "1767603610", "x-other": "1767603605"}, b"", 10),
    ({"at": ["x-reset"]}, {"x-reset": "1767603610000"}, b"", 10),
    ({"at": ["x-reset"]}, {"x-reset": "2026-01-05T09:00:04Z"}, b"", 4),
    ({"at": ["x-reset"]}, {"x-reset": "1500000000"}, b"", 0),
    (
        {"in_body": {"path": "error.text", "value": r"in (\d+) s", "strategy": "after"}},
        {},
        b'{"error": {"text": "try in 8 s"}}',
        8,
    ),
    (
        {"in_body": {"path": "until", "strategy": "at"}},
        {},
        b'{"until": "2026-01-05T09:00:06+00:00"}',
        6,
    ),
    ({"in_body": {"path": "a"}}, {}, b"not json", 3),
    ({"in_body": {"path": "a", "value": "x"}}, {}, b'{"a": {"b": 1}}', 3),
]


@pytest.mark.parametrize(("rule", "headers", "body", "wait"), WAITS)
async def test_the_provider_says_how_long_to_wait(
    proxy: Proxy,
    wire: Wire,
    clock: FakeClock,
    rule: dict[str, Any],
    headers: dict[str, str],
    body: bytes,
    wait: float,
) -> None:
    """In headers of its own, by Retry-After, or in the body; the longest of them wins."""
    wire.replies = [answer(429, headers, body), answer(200)]
    of = provider(proxy={"retry": rule})
    found, waited = await outcome(proxy, clock, retrying(retries=1), target(of))
    assert (found.status, waited) == (200, wait)


@pytest.mark.parametrize(
    ("status", "headers", "tries"),
    [
        (403, {}, 2),
        (503, {}, 1),
        (555, {}, 2),
        (510, {}, 2),
        (429, {}, 1),
        (404, {"x-left": "0"}, 2),
        (404, {"x-left": "1"}, 1),
        (200, {"x-left": "0"}, 1),
    ],
)
async def test_a_provider_may_name_what_is_worth_another_try(
    proxy: Proxy,
    wire: Wire,
    clock: FakeClock,
    status: int,
    headers: dict[str, str],
    tries: int,
) -> None:
    """Its list replaces the usual one; an empty allowance counts as throttling."""
    rule = {"error_code": ["403", "510-512", "55x", "555"], "remaining": "X-Left"}
    wire.replies = [answer(status, headers)]
    await outcome(proxy, clock, retrying(retries=1), target(provider(proxy={"retry": rule})))
    assert len(wire.requests) == tries


async def test_too_long_a_wait_is_no_wait(proxy: Proxy, wire: Wire, clock: FakeClock) -> None:
    """An hour is the caller's to spend, so the answer is handed back at once."""
    wire.replies = [answer(429, {"retry-after": "3600"})]
    found, waited = await outcome(proxy, clock, retrying(), target())
    assert (found.status, waited, len(wire.requests)) == (429, 0, 1)


async def test_a_deadline_bounds_waits_and_sends(
    proxy: Proxy, wire: Wire, clock: FakeClock
) -> None:
    """A wait that would end after it is not begun, a send gets what time is left."""
    wire.replies = [answer(503)]
    deadline = clock.monotonic() + 10
    found, waited = await outcome(proxy, clock, retrying(), target(), deadline=deadline)
    assert (found.status, waited) == (503, 9)
    assert wire.timeouts == [10, 7, 1]


async def test_nothing_is_sent_after_the_deadline(
    proxy: Proxy, wire: Wire, clock: FakeClock
) -> None:
    """The call fails as a timeout that certainly sent nothing."""
    with pytest.raises(ProviderTimeout) as caught:
        await proxy.call(retrying(), target(), deadline=clock.monotonic())
    assert caught.value.sent is False
    assert wire.requests == []


async def test_every_send_is_asked_for(proxy: Proxy, wire: Wire, clock: FakeClock) -> None:
    """The hook runs before each try, and what it raises ends the call."""
    wire.replies = [answer(503)]
    asked = 0

    async def may_send() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise ResultLost

    with pytest.raises(ResultLost):
        await outcome(proxy, clock, retrying(), target(), before_send=may_send)
    assert len(wire.requests) == 2


# --- credentials that change -----------------------------------------------------------------


def changing(*tokens: str) -> Target:
    """A target whose credentials are read as one after the other, the last for ever."""
    left = list(tokens)
    github = CATALOGUE.get("github")

    async def read() -> Credentials:
        token = left.pop(0) if len(left) > 1 else left[0]
        return Credentials(github.auth_mode, {"access_token": token})

    return Target(github, integration(), {}, read)


async def test_a_401_is_tried_again_with_changed_credentials(proxy: Proxy, wire: Wire) -> None:
    """Somebody else may have refreshed them meanwhile; no retries are needed for that."""
    wire.replies = [answer(401), answer(200)]
    found = await proxy.call(ProxyCall("POST", "/x"), changing("old", "new"))
    assert found.status == 200
    tokens = [headers_of(request)["authorization"] for request in wire.requests]
    assert tokens == ["Bearer old", "Bearer new"]


async def test_a_401_with_the_same_credentials_is_final(proxy: Proxy, wire: Wire) -> None:
    """The same question would get the same answer."""
    wire.replies = [answer(401)]
    assert (await proxy.call(ProxyCall("GET", "/x"), changing("old"))).status == 401
    assert len(wire.requests) == 1


async def test_a_401_is_tried_again_once(proxy: Proxy, wire: Wire) -> None:
    """Credentials that keep changing do not make a loop."""
    wire.replies = [answer(401)]
    found = await proxy.call(ProxyCall("GET", "/x"), changing("a", "b", "c", "d"))
    assert found.status == 401
    assert len(wire.requests) == 2


async def test_a_retry_uses_the_credentials_of_its_time(
    proxy: Proxy, wire: Wire, clock: FakeClock
) -> None:
    """After a long wait the old token may be gone."""
    wire.replies = [answer(503), answer(200)]
    await outcome(proxy, clock, retrying(), changing("old", "new"))
    assert headers_of(wire.requests[1])["authorization"] == "Bearer new"


# --- streaming ------------------------------------------------------------------------------


async def test_a_stream_keeps_status_and_end_to_end_headers(proxy: Proxy, wire: Wire) -> None:
    """What concerned one connection, or the provider's own origin, is left out."""
    headers = {
        "content-type": "text/csv",
        "content-encoding": "gzip",
        "etag": "x",
        "connection": "close, X-Hop",
        "x-hop": "1",
        "keep-alive": "5",
        "access-control-allow-origin": "*",
        "strict-transport-security": "max-age=1",
    }
    wire.replies = [answer(206, headers, b"abcdef")]
    async with proxy.stream(ProxyCall("GET", "/x"), target()) as streamed:
        assert streamed.status == 206
        assert streamed.headers == {
            "content-type": "text/csv",
            "content-encoding": "gzip",
            "etag": "x",
        }
        assert wire.open == 1
        assert [piece async for piece in streamed.chunks()] == [b"abc", b"def"]
    assert wire.open == 0


async def test_a_stream_is_tried_again_before_it_is_handed_over(
    proxy: Proxy, wire: Wire, clock: FakeClock
) -> None:
    """Answers that are not the last are closed."""
    wire.replies = [answer(503, {"retry-after": "1"}), ProviderUnreachable(), answer(200)]

    async def read() -> int:
        async with proxy.stream(retrying(), target()) as streamed:
            assert wire.open == 1
            return streamed.status

    task = asyncio.create_task(read())
    await clock.wait_for_sleepers()
    assert wire.open == 0
    await clock.advance(60)
    assert await task == 200
    assert (len(wire.requests), wire.open) == (3, 0)


async def test_a_stream_that_is_left_early_is_closed(proxy: Proxy, wire: Wire) -> None:
    """An error of the reader does not leak the connection."""
    with pytest.raises(RuntimeError):
        async with proxy.stream(ProxyCall("GET", "/x"), target()):
            raise RuntimeError
    assert wire.open == 0
