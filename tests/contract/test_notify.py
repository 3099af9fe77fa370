"""Notifications are written with what they tell of and delivered at least once, in order."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from carrick.environments import Environments
from carrick.errors import (
    CarrickError,
    EgressDenied,
    NotFound,
    OperationNotRetryable,
    ProviderTimeout,
    StoreUnavailable,
)
from carrick.model.environment import Environment
from carrick.model.http import OutboundAnswer, OutboundRequest
from carrick.notify import (
    ConnectionFacts,
    Deliveries,
    Fault,
    Notifier,
    connection_created,
    refresh_failed,
)
from carrick.operations import OperationFilter, Operations
from carrick.store import notifications as table
from carrick.store.notifications import Claim, NotificationFilter, Room, StoredNotification
from carrick.store.unit import Store, Tx, Unit
from carrick.testing.clock import FakeChance, FakeClock
from carrick.vault import Vault

PRIMARY = "https://app.example/hook?key=hidden"
SECONDARY = "https://spare.example/hook"
TEN = Room(in_all=10, at_each=10, in_use={})
Tell = Callable[..., Awaitable[None]]
Answers = list[int | CarrickError | OutboundAnswer]


class Receiver:
    """Stands for the developer's app: answers as told, 200 otherwise, and remembers."""

    def __init__(self) -> None:
        self.received: list[OutboundRequest] = []
        self.answers: dict[str, Answers] = defaultdict(list)
        self.open = asyncio.Event()
        self.open.set()
        #: Addresses that never answer.
        self.hung: set[str] = set()
        self.waiting = 0

    async def send(self, request: OutboundRequest, *, timeout_s: float) -> OutboundAnswer:
        """Receive a request, once the receiver is open."""
        assert timeout_s <= 20
        self.waiting += 1
        try:
            await self.open.wait()
            if request.url in self.hung:
                await asyncio.Event().wait()
        finally:
            self.waiting -= 1
        self.received.append(request)
        told = self.answers[request.url]
        answer = told.pop(0) if told else 200
        if isinstance(answer, CarrickError):
            raise answer
        if isinstance(answer, OutboundAnswer):
            return answer
        return OutboundAnswer(answer, {}, b"a body nobody keeps")

    def said(self, url: str = PRIMARY) -> list[str]:
        """Return the connection ids that were received, in order."""
        return [
            json.loads(request.body or b"")["connectionId"]
            for request in self.received
            if request.url == url
        ]


@pytest.fixture
def environments(store: Store, clock: FakeClock) -> Environments:
    """Environments, for their signing keys."""
    return Environments(store, Vault({"k": bytes(32)}, "k"), clock, FakeChance(1))


@pytest.fixture
async def dev(environments: Environments) -> Environment:
    """An environment with one address."""
    made = (await environments.create("dev")).environment
    return await environments.update_settings(made.row_id, {"primary_url": PRIMARY})


@pytest.fixture
def operations(store: Store, clock: FakeClock) -> Operations:
    """Where deliveries are logged."""
    return Operations(store, clock, FakeChance(2))


@pytest.fixture
def receiver() -> Receiver:
    """The developer's app."""
    return Receiver()


Build = Callable[..., Notifier]


@pytest.fixture
def build(
    store: Store,
    environments: Environments,
    operations: Operations,
    receiver: Receiver,
    clock: FakeClock,
) -> Build:
    """Build a notifier; each is a node of its own."""
    built = 0

    def build(**changes: Any) -> Notifier:
        nonlocal built
        built += 1
        values: dict[str, Any] = {
            "send": receiver.send,
            "clock": clock,
            "chance": FakeChance(100 + built),
            **changes,
        }
        return Notifier(values.pop("store", store), environments, operations, **values)

    return build


@pytest.fixture
def notifier(build: Build) -> Notifier:
    """The room under test, not running."""
    return build()


@asynccontextmanager
async def _running(notifier: Notifier) -> AsyncIterator[None]:
    task = asyncio.create_task(notifier.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _facts(environment: Environment, connection_id: str = "c1", row_id: int = 7) -> ConnectionFacts:
    return ConnectionFacts(environment, "gh", connection_id, "github", "OAUTH2", row_id, {})


@pytest.fixture
def tell(store: Store, dev: Environment, clock: FakeClock) -> Tell:
    """Write that a connection was made, each a moment after the one before."""

    async def tell(
        notifier: Notifier,
        connection_id: str = "c1",
        row_id: int = 7,
        environment: Environment = dev,
    ) -> None:
        async def unit(tx: Tx) -> None:
            await notifier.write_in(
                tx, connection_created(_facts(environment, connection_id, row_id))
            )

        clock.move(0.001)
        await store.write(unit)

    return tell


async def _stored(store: Store, environment: Environment) -> list[StoredNotification]:
    async def unit(tx: Tx) -> list[StoredNotification]:
        return await table.list_for(tx, environment.row_id, NotificationFilter(limit=1000))

    return list(reversed(await store.read(unit)))


async def _until_state(store: Store, environment: Environment, *states: str) -> None:
    async with asyncio.timeout(10):
        while [one.state for one in await _stored(store, environment)] != list(states):
            await asyncio.sleep(0.005)


async def _is_due_in_5_s(tx: Tx) -> bool:
    return await table.is_any_due(tx, tx.now + timedelta(seconds=5), TEN)


async def _until_attempts(store: Store, environment: Environment, *attempts: int) -> None:
    async with asyncio.timeout(10):
        while [one.attempt for one in await _stored(store, environment)] != list(attempts):
            await asyncio.sleep(0.005)


# --- writing --------------------------------------------------------------------------------


async def test_a_notification_is_undone_with_what_it_tells_of(
    store: Store, notifier: Notifier, dev: Environment
) -> None:
    """Written in a transaction that is rolled back, it is never sent."""

    async def unit(tx: Tx) -> None:
        await notifier.write_in(tx, connection_created(_facts(dev)))
        raise LookupError

    with pytest.raises(LookupError):
        await store.write(unit)

    assert await _stored(store, dev) == []


async def test_nothing_is_written_when_nobody_listens(
    store: Store, tell: Tell, notifier: Notifier, environments: Environments
) -> None:
    """Without an address there is no row."""
    silent = (await environments.create("silent")).environment

    await tell(notifier, environment=silent)

    assert await _stored(store, silent) == []


async def test_each_address_is_told_by_itself(
    store: Store,
    tell: Tell,
    notifier: Notifier,
    environments: Environments,
    dev: Environment,
    receiver: Receiver,
) -> None:
    """An address that is down holds up the other one not at all."""
    both = await environments.update_settings(dev.row_id, {"secondary_url": SECONDARY})
    receiver.answers[SECONDARY] = [500, 500, 500]
    async with _running(notifier):
        await tell(notifier, "c1", environment=both)
        await tell(notifier, "c2", environment=both)
        await _until_state(store, dev, "delivered", "waiting", "delivered", "waiting")

    assert receiver.said(PRIMARY) == ["c1", "c2"]
    assert receiver.said(SECONDARY) == ["c1"]


# --- delivery -------------------------------------------------------------------------------


async def test_a_notification_is_sent_at_once_and_signed(
    store: Store,
    tell: Tell,
    notifier: Notifier,
    environments: Environments,
    dev: Environment,
    receiver: Receiver,
    clock: FakeClock,
) -> None:
    """Committing is enough: it is sent without the clock moving, signed over the bytes sent."""
    async with _running(notifier):
        await clock.wait_for_sleepers(2)
        await tell(notifier)
        await _until_state(store, dev, "delivered")

    [request] = receiver.received
    key = (await environments.signing_key(dev.row_id)).encode()
    body = request.body or b""
    assert (request.method, request.url) == ("POST", PRIMARY)
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"].startswith("carrick/")
    assert request.headers["X-Nango-Hmac-Sha256"] == hmac.new(key, body, "sha256").hexdigest()
    assert request.headers["X-Nango-Signature"] == hashlib.sha256(key + body).hexdigest()
    [stored] = await _stored(store, dev)
    assert request.headers["webhook-id"] == stored.id
    assert request.headers["webhook-timestamp"] == str(int(clock.now().timestamp()))
    assert (stored.attempt, stored.last_answer) == (1, {"status": 200})
    assert stored.finished_at == clock.now()


async def test_what_was_written_before_the_start_is_sent(
    store: Store, tell: Tell, notifier: Notifier, dev: Environment, receiver: Receiver
) -> None:
    """Notifications of an earlier process are found at the start."""
    await tell(notifier)

    async with _running(notifier):
        await _until_state(store, dev, "delivered")

    assert receiver.said() == ["c1"]


async def test_a_failed_delivery_is_tried_again(
    store: Store,
    tell: Tell,
    notifier: Notifier,
    dev: Environment,
    receiver: Receiver,
    clock: FakeClock,
) -> None:
    """Trouble that can pass is waited out, with the same id and a fresh signature."""
    receiver.answers[PRIMARY] = [503, ProviderTimeout(), 200]
    async with _running(notifier):
        await tell(notifier)
        await _until_attempts(store, dev, 1)
        [first] = await _stored(store, dev)
        assert first.due_at == clock.now() + timedelta(seconds=3)
        assert first.last_answer == {"status": 503}
        await clock.advance(2.9)
        assert len(receiver.received) == 1
        await clock.advance(0.2)
        await _until_attempts(store, dev, 2)
        await clock.advance(7)
        await _until_state(store, dev, "delivered")

    ids = {request.headers["webhook-id"] for request in receiver.received}
    times = {request.headers["webhook-timestamp"] for request in receiver.received}
    assert (len(receiver.received), len(ids), len(times)) == (3, 1, 3)


async def test_retry_after_is_honoured(
    store: Store,
    tell: Tell,
    notifier: Notifier,
    dev: Environment,
    receiver: Receiver,
    clock: FakeClock,
) -> None:
    """A receiver that asks for a minute gets a minute."""
    receiver.answers[PRIMARY] = [OutboundAnswer(429, {"retry-after": "60"}, b"")]
    async with _running(notifier):
        await tell(notifier)
        await _until_attempts(store, dev, 1)
        await clock.advance(59)
        assert len(receiver.received) == 1
        await clock.advance(2)
        await _until_state(store, dev, "delivered")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (404, {"status": 404}),
        (302, {"status": 302}),
        (EgressDenied("private"), {"error": "egress_denied: private"}),
    ],
)
async def test_a_final_refusal_is_not_tried_again(
    store: Store,
    tell: Tell,
    notifier: Notifier,
    dev: Environment,
    receiver: Receiver,
    operations: Operations,
    answer: int | CarrickError,
    said: dict[str, Any],
) -> None:
    """A redirect, a client error or a forbidden address ends it, and the log says so."""
    receiver.answers[PRIMARY] = [answer]
    async with _running(notifier):
        await tell(notifier)
        await _until_state(store, dev, "failed")

    [stored] = await _stored(store, dev)
    assert (len(receiver.received), stored.last_answer) == (1, said)
    [logged] = await operations.list(dev.row_id, OperationFilter(types=["webhook"]))
    assert (logged.state, logged.action, logged.connection_id) == (
        "failed",
        "connection_create",
        "c1",
    )
    assert logged.meta["url"] == "https://app.example/hook"
    assert "hidden" not in repr(logged)


async def test_an_address_that_is_none_does_not_stop_the_others(
    store: Store,
    tell: Tell,
    notifier: Notifier,
    environments: Environments,
    dev: Environment,
    receiver: Receiver,
) -> None:
    """A broken address fails by itself."""
    broken = await environments.update_settings(dev.row_id, {"secondary_url": "http://[broken"})
    receiver.answers["http://[broken"] = [EgressDenied("not a URL")]
    async with _running(notifier):
        await tell(notifier, environment=broken)
        await tell(notifier, "c2", 8)
        await _until_state(store, dev, "delivered", "failed", "delivered")


async def test_a_delivery_is_logged(
    store: Store,
    notifier: Notifier,
    dev: Environment,
    receiver: Receiver,
    operations: Operations,
) -> None:
    """A delivered notification is an operation of its connection."""

    async def unit(tx: Tx) -> None:
        await notifier.write_in(tx, refresh_failed(_facts(dev), Fault("x", "y")))

    async with _running(notifier):
        await store.write(unit)
        await _until_state(store, dev, "delivered")

    [logged] = await operations.list(dev.row_id)
    assert (logged.type, logged.action, logged.state) == (
        "webhook",
        "connection_refresh",
        "success",
    )
    assert (logged.integration_id, logged.connection_row_id) == ("gh", 7)
    assert logged.meta["attempts"] == 1


async def test_after_a_day_it_has_failed(
    store: Store,
    tell: Tell,
    notifier: Notifier,
    dev: Environment,
    receiver: Receiver,
    clock: FakeClock,
) -> None:
    """An address that is down for a day is given up, after a last try."""
    receiver.answers[PRIMARY] = [500] * 1000
    attempts = 0
    async with _running(notifier):
        await tell(notifier)
        while True:
            attempts += 1
            await _until_attempts(store, dev, attempts)
            [stored] = await _stored(store, dev)
            if stored.state == "failed":
                break
            clock.set(stored.due_at)
            notifier.wake()

    assert stored.finished_at == stored.created_at + timedelta(hours=24)
    assert 30 < attempts < 45


# --- order and leases -----------------------------------------------------------------------


async def test_notifications_of_one_connection_keep_their_order(
    store: Store,
    tell: Tell,
    notifier: Notifier,
    dev: Environment,
    receiver: Receiver,
    clock: FakeClock,
) -> None:
    """A later one waits for an earlier one of its connection; other connections do not."""
    receiver.answers[PRIMARY] = [500]
    async with _running(notifier):
        await tell(notifier, "first", row_id=1)
        await _until_attempts(store, dev, 1)
        await tell(notifier, "second", row_id=1)
        await tell(notifier, "third", row_id=1)
        await tell(notifier, "other", row_id=2)
        await _until_attempts(store, dev, 1, 0, 0, 1)
        await clock.advance(4)
        await _until_state(store, dev, *["delivered"] * 4)

    assert receiver.said() == ["first", "other", "first", "second", "third"]


async def test_many_are_sent_at_once_but_not_too_many(
    store: Store, tell: Tell, notifier: Notifier, dev: Environment, receiver: Receiver
) -> None:
    """A slow receiver is called at most 8 times at once, and in the end gets everything."""
    receiver.open.clear()
    for number in range(50):
        await tell(notifier, f"c{number}", row_id=number + 1)
    async with _running(notifier):
        async with asyncio.timeout(10):
            while receiver.waiting < 8:
                await asyncio.sleep(0.005)
        assert receiver.waiting == 8
        receiver.open.set()
        await _until_state(store, dev, *["delivered"] * 50)

    assert sorted(receiver.said()) == sorted(f"c{number}" for number in range(50))


async def test_a_receiver_that_hangs_holds_up_nobody_else(
    store: Store,
    tell: Tell,
    notifier: Notifier,
    environments: Environments,
    dev: Environment,
    receiver: Receiver,
) -> None:
    """However much waits for a dead address, another environment's notifications go out."""
    other = (await environments.create("other")).environment
    other = await environments.update_settings(other.row_id, {"primary_url": SECONDARY})
    receiver.hung.add(PRIMARY)
    for number in range(300):
        await tell(notifier, f"c{number}", row_id=number + 1)
    await tell(notifier, "alive", row_id=1000, environment=other)
    async with _running(notifier):
        await _until_state(store, other, "delivered")
        assert receiver.said(SECONDARY) == ["alive"]


async def test_an_address_that_failed_is_tried_one_at_a_time(
    store: Store,
    tell: Tell,
    notifier: Notifier,
    dev: Environment,
    receiver: Receiver,
    clock: FakeClock,
) -> None:
    """Until it takes something, one delivery at a time is enough to see it recover."""
    receiver.answers[PRIMARY] = [503]
    async with _running(notifier):
        await tell(notifier, "first", row_id=1)
        await _until_attempts(store, dev, 1)
        receiver.open.clear()
        for number in range(5):
            await tell(notifier, f"c{number}", row_id=number + 2)
        await clock.wait_for_sleepers(2)
        async with asyncio.timeout(10):
            while receiver.waiting < 1:
                await asyncio.sleep(0.005)
        await clock.advance(1)
        assert receiver.waiting == 1
        receiver.open.set()
        await _until_state(store, dev, "waiting", *["delivered"] * 5)


# --- the record -----------------------------------------------------------------------------


@pytest.fixture
def deliveries(store: Store, notifier: Notifier) -> Deliveries:
    """The record under test."""
    return Deliveries(store, notifier.wake)


async def test_every_attempt_is_kept(
    store: Store,
    tell: Tell,
    notifier: Notifier,
    deliveries: Deliveries,
    dev: Environment,
    receiver: Receiver,
    clock: FakeClock,
) -> None:
    """What was answered when, bounded, and without what the address keeps secret."""
    answer = OutboundAnswer(503, {}, b"no: hidden is wrong\x00 " + b"x" * 5000)
    receiver.answers[PRIMARY] = [answer, ProviderTimeout("It did not answer in time.")]
    async with _running(notifier):
        await tell(notifier)
        await _until_attempts(store, dev, 1)
        await clock.advance(4)
        await _until_attempts(store, dev, 2)
        await clock.advance(7)
        await _until_state(store, dev, "delivered")

    [stored] = await _stored(store, dev)
    found, attempts = await deliveries.get(dev.row_id, stored.id)
    assert found == stored
    assert [(one.number, one.status, one.error) for one in attempts] == [
        (1, 503, None),
        (2, None, "provider_timeout: It did not answer in time."),
        (3, 200, None),
    ]
    assert attempts[0].answer is not None
    assert attempts[0].answer.startswith("no: [secret] is wrong  xxx")
    assert len(attempts[0].answer) == 1024
    assert attempts[1].at - attempts[0].at >= timedelta(seconds=3)


async def test_notifications_are_listed_by_what_they_are_about(
    store: Store, tell: Tell, notifier: Notifier, deliveries: Deliveries, dev: Environment
) -> None:
    """Filters narrow the list, and the last id of a page leads to the next."""
    for number in range(5):
        await tell(notifier, f"c{number % 2}", row_id=number % 2 + 1)

    async def ids(**wanted: Any) -> list[str | None]:
        found = await deliveries.list(dev.row_id, NotificationFilter(**wanted))
        return [one.connection_id for one in found]

    assert await ids(connection_id="c1") == ["c1", "c1"]
    assert await ids(states=["delivered"]) == []
    assert await ids(kinds=["connection_create"], integration_id="gh", limit=2) == ["c0", "c1"]
    first = await deliveries.list(dev.row_id, NotificationFilter(limit=3))
    rest = await deliveries.list(dev.row_id, NotificationFilter(limit=3, before=first[-1].id))
    assert [one.id for one in (*first, *rest)] == [
        one.id for one in reversed(await _stored(store, dev))
    ]
    with pytest.raises(NotFound):
        await deliveries.get(dev.row_id + 1, first[0].id)


async def test_what_was_given_up_is_sent_again_on_request(
    store: Store,
    tell: Tell,
    notifier: Notifier,
    deliveries: Deliveries,
    dev: Environment,
    receiver: Receiver,
    clock: FakeClock,
) -> None:
    """A person's retry sends under the same id, at once; what was delivered is not sent again."""
    receiver.answers[PRIMARY] = [404]
    async with _running(notifier):
        await tell(notifier)
        await _until_state(store, dev, "failed")
        clock.move(3 * 24 * 3600)
        [given_up] = await _stored(store, dev)
        await deliveries.send_again(dev.row_id, given_up.id)
        await _until_state(store, dev, "delivered")

    assert {one.headers["webhook-id"] for one in receiver.received} == {given_up.id}
    _, attempts = await deliveries.get(dev.row_id, given_up.id)
    assert [one.status for one in attempts] == [404, 200]
    with pytest.raises(OperationNotRetryable):
        await deliveries.send_again(dev.row_id, given_up.id)
    with pytest.raises(NotFound):
        await deliveries.send_again(dev.row_id, "nothing")


async def test_a_redirect_that_keeps_the_request_is_followed(
    store: Store, tell: Tell, notifier: Notifier, dev: Environment, receiver: Receiver
) -> None:
    """307 and 308 lead on with body and signatures; each address goes through egress anew."""
    receiver.answers[PRIMARY] = [OutboundAnswer(308, {"location": "/moved"}, b"")]
    async with _running(notifier):
        await tell(notifier)
        await _until_state(store, dev, "delivered")

    first, second = receiver.received
    assert second.url == "https://app.example/moved"
    assert (second.body, second.headers) == (first.body, first.headers)


@pytest.mark.parametrize(
    ("location", "calls"),
    [("https://app.example/hook?key=hidden", 6), ("http://app.example/hook", 1)],
)
async def test_a_redirect_that_leads_nowhere_ends(
    store: Store,
    tell: Tell,
    notifier: Notifier,
    dev: Environment,
    receiver: Receiver,
    location: str,
    calls: int,
) -> None:
    """Five redirects are the most, and none leads away from https."""
    answer = OutboundAnswer(307, {"location": location}, b"")
    receiver.answers[PRIMARY] = [answer] * 10
    async with _running(notifier):
        await tell(notifier)
        await _until_state(store, dev, "failed")

    assert len(receiver.received) == calls


# --- many nodes -----------------------------------------------------------------------------


async def test_two_nodes_send_each_notification_once(
    store: Store, tell: Tell, build: Build, dev: Environment, receiver: Receiver
) -> None:
    """What one node holds the other one leaves alone."""
    nodes = [build(), build()]
    for number in range(60):
        await tell(nodes[0], f"c{number}", row_id=number % 20 + 1)
    # On SQLite a start voids all claims: one process uses such a store, so one node is enough.
    async with _running(nodes[0]):
        if store.is_postgres:
            async with _running(nodes[1]):
                await _until_state(store, dev, *["delivered"] * 60)
        else:
            await _until_state(store, dev, *["delivered"] * 60)

    said = receiver.said()
    assert sorted(said) == sorted(f"c{number}" for number in range(60))
    for row in range(20):
        of_one = [one for one in said if int(one[1:]) % 20 == row]
        assert of_one == [f"c{row}", f"c{row + 20}", f"c{row + 40}"]


async def test_what_a_dead_node_held_is_sent_after_its_lease(
    store: Store,
    tell: Tell,
    notifier: Notifier,
    dev: Environment,
    receiver: Receiver,
    clock: FakeClock,
) -> None:
    """A claim that nobody concludes lapses; an embedded server voids claims at its start."""
    await tell(notifier)

    async def claim(tx: Tx) -> list[StoredNotification]:
        by = Claim("dead", tx.now, tx.now + timedelta(seconds=45))
        return await table.claim(tx, by, TEN)

    assert len(await store.write(claim)) == 1
    assert await store.write(claim) == []
    async with _running(notifier):
        if store.is_postgres:
            clock.move(44)
            assert not await store.read(lambda tx: table.is_any_due(tx, tx.now, TEN))
            clock.move(1)
            notifier.wake()
        await _until_state(store, dev, "delivered")


async def test_an_app_that_takes_its_time_is_told_once(
    store: Store,
    tell: Tell,
    notifier: Notifier,
    dev: Environment,
    receiver: Receiver,
    clock: FakeClock,
) -> None:
    """A claim is extended for as long as its holder lives and sends."""
    receiver.open.clear()
    async with _running(notifier):
        await tell(notifier)
        async with asyncio.timeout(10):
            while receiver.waiting == 0:
                await asyncio.sleep(0.005)
            for _ in range(6):
                await clock.wait_for_sleepers(2)  # the look for what is due, and the extension
                clock.move(2.5)
                while await store.read(_is_due_in_5_s):
                    await asyncio.sleep(0.005)
        receiver.open.set()
        await _until_state(store, dev, "delivered")

    assert receiver.said() == ["c1"]


async def test_a_result_of_a_lapsed_claim_does_not_count(
    store: Store, tell: Tell, notifier: Notifier, dev: Environment
) -> None:
    """A node that was too slow cannot write over what the next one found out."""
    await tell(notifier)

    def claim_by(owner: str) -> Unit[list[StoredNotification]]:
        async def unit(tx: Tx) -> list[StoredNotification]:
            by = Claim(owner, tx.now + timedelta(minutes=1), tx.now + timedelta(minutes=2))
            return await table.claim(tx, by, TEN)

        return unit

    [held] = await store.write(claim_by("a"))
    result = table.Attempted("failed", 1, held.due_at, {"status": 400}, held.due_at)

    async def conclude(tx: Tx) -> bool:
        return await table.conclude(tx, held.id, "b", result)

    assert not await store.write(conclude)
    assert [one.state for one in await _stored(store, dev)] == ["waiting"]


async def test_one_that_cannot_be_sent_does_not_stop_the_others(
    store: Store, tell: Tell, build: Build, dev: Environment, receiver: Receiver
) -> None:
    """An unexpected error of one delivery leaves the loop running."""

    async def send(request: OutboundRequest, *, timeout_s: float) -> OutboundAnswer:
        if b'"bad"' in (request.body or b""):
            raise ValueError("unexpected")
        return await receiver.send(request, timeout_s=timeout_s)

    notifier = build(send=send)
    async with _running(notifier):
        await tell(notifier, "bad", row_id=1)
        await tell(notifier, "good", row_id=2)
        await _until_state(store, dev, "waiting", "delivered")

    assert (await _stored(store, dev))[0].last_answer == {"error": "ValueError"}


async def test_a_store_that_does_not_answer_is_waited_for(
    store: Store, tell: Tell, build: Build, dev: Environment, receiver: Receiver, clock: FakeClock
) -> None:
    """The loop outlives an unreachable database and goes on when it is back."""

    class Flaky:
        is_postgres = True
        is_down = True

        async def write(self, unit: Unit[Any]) -> Any:
            return await self._pass(store.write(unit))

        async def read(self, unit: Unit[Any], *, scans: bool = False) -> Any:
            return await self._pass(store.read(unit, scans=scans))

        async def _pass(self, call: Awaitable[Any]) -> Any:
            if self.is_down:
                await asyncio.gather(call, return_exceptions=True)
                raise StoreUnavailable("down")
            return await call

    flaky = Flaky()
    notifier = build(store=flaky)
    await tell(notifier)
    async with _running(notifier):
        await clock.wait_for_sleepers(2)  # the extension of claims sleeps as well
        assert receiver.received == []
        flaky.is_down = False
        await clock.advance(6)
        await _until_state(store, dev, "delivered")
