"""Delivery of notifications: claim what is due, sign it, send it, write down what became of it.

A claim is a short lease, extended while its holder lives, so whatever a stopped process held is
sent by another one: at least once each, and those of one connection to one address in the order
they were written.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from importlib.metadata import version
from typing import Protocol
from urllib.parse import urljoin

import structlog

from carrick.environments import Environments
from carrick.errors import CarrickError, StoreUnavailable
from carrick.model.clock import Chance, Clock
from carrick.model.faults import NO_FAULTS, Faults, Point
from carrick.model.http import OutboundAnswer, OutboundRequest
from carrick.notify.answer import answer_shown, url_shown
from carrick.notify.body import stable_json
from carrick.notify.notification import Notification, addresses
from carrick.notify.signature import signature_headers
from carrick.notify.verdict import judge_answer, judge_silence
from carrick.operations import Opening, Operations
from carrick.store import notifications as table
from carrick.store.notifications import Attempt, Attempted, Claim, Room, StoredNotification
from carrick.store.unit import Store, Tx

_TIMEOUT_S = 20.0
#: How long a claim outlives a process that died with it.
_HELD = timedelta(seconds=8)
_EXTENDED_EVERY_S = 2.5
_AT_ONCE = 128
#: How many of these may go to one address, which others must not have to wait for.
_AT_ONE_ADDRESS = 8
#: Redirects that keep method and body; after others it would be another request.
_FOLLOWED = frozenset({307, 308})
_MOST_REDIRECTS = 5
#: How often it looks although nobody woke it: for what other nodes wrote or left behind.
_EVERY_S = 5.0
#: Kinds that the log has another name for.
_ACTIONS = {"connection_override": "connection_create"}
_log = structlog.get_logger(__name__)


class Send(Protocol):
    """How a request leaves: `Egress.send`."""

    async def __call__(self, request: OutboundRequest, *, timeout_s: float) -> OutboundAnswer:
        """Send a request and return the whole answer."""


class Notifier:
    """Tells the developer's app what happened."""

    def __init__(
        self,
        store: Store,
        environments: Environments,
        operations: Operations,
        *,
        send: Send,
        clock: Clock,
        chance: Chance,
        webhook_urls: Mapping[str, str] | None = None,
        faults: Faults = NO_FAULTS,
    ) -> None:
        """Build it.

        Args:
            store: Where notifications wait.
            environments: Whose signing keys are used.
            operations: Where deliveries are logged.
            send: How a request leaves.
            clock: What time it is.
            chance: Ids and jitter.
            webhook_urls: Addresses from the settings, by environment name.
            faults: What happens at fault points.
        """
        self._store = store
        self._environments = environments
        self._operations = operations
        self._send = send
        self._clock = clock
        self._chance = chance
        self._webhook_urls = dict(webhook_urls or {})
        self._faults = faults
        self._owner = chance.uuid4()
        self._woken = asyncio.Event()
        #: What is under way, by address.
        self._sending: Counter[str] = Counter()
        #: The ids of the same.
        self._claimed: set[str] = set()
        self._ailing: set[str] = set()
        self._user_agent = f"carrick/{version('carrick')}"

    async def write_in(self, tx: Tx, notification: Notification) -> None:
        """Write a notification in the transaction it tells of; delivery starts after it.

        Nothing is written when there is nobody to tell.
        """
        urls = addresses(notification, self._webhook_urls)
        if not urls:
            return
        body = stable_json(notification.body)
        for url in urls:
            values = {
                "id": self._chance.uuid4(),
                "environment_id": notification.environment.row_id,
                "connection_row_id": notification.connection_row_id,
                "integration_id": notification.body.get("providerConfigKey"),
                "connection_id": notification.body.get("connectionId"),
                "kind": notification.kind,
                "url": url,
                "body": body,
            }
            await table.insert_notification(tx, values)
        await self._faults.reached(Point.NOTIFICATION_WRITTEN)
        tx.after_commit(self.wake)

    def wake(self) -> None:
        """Look for due notifications now."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver what is due, until cancelled."""
        is_first = True
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_claims(), name="notification-claims")
            while True:
                self._woken.clear()
                # One moment for both looks: what becomes due between them is not missed.
                now = self._clock.now()
                wait_s = _EVERY_S
                try:
                    if is_first and not self._store.is_postgres:
                        await self._store.write(table.release_all)
                    is_first = False
                    for notification in await self._claim(now):
                        if notification.id in self._claimed:
                            continue  # lapsed while the store was away, and is ours again
                        task = group.create_task(self._deliver(notification))
                        self._sending[notification.url] += 1
                        self._claimed.add(notification.id)
                        task.add_done_callback(partial(self._sent, notification))
                    wait_s = await self._until_next(now)
                except StoreUnavailable as error:
                    _log.debug("notifications_not_read", reason=error.message)
                await self._pause(wait_s)

    def _sent(self, notification: StoredNotification, task: asyncio.Task[None]) -> None:
        self._claimed.discard(notification.id)
        self._sending[notification.url] -= 1
        self._sending += Counter()  # forget addresses where nothing is under way
        self.wake()  # there is room again, and the next one of that connection may go

    async def _claim(self, now: datetime) -> list[StoredNotification]:
        left = _AT_ONCE - self._sending.total()
        if left <= 0:
            return []
        by = Claim(self._owner, now, now + _HELD)
        room = Room(left, _AT_ONE_ADDRESS, dict(self._sending), frozenset(self._ailing))

        async def unit(tx: Tx) -> list[StoredNotification]:
            return await table.claim(tx, by, room)

        # A look costs a read; only what is found costs a write.
        is_due = await self._store.read(lambda tx: table.is_any_due(tx, now, room))
        return await self._store.write(unit) if is_due else []

    async def _keep_claims(self) -> None:
        """Extend what is under way again and again: an app may take its time to answer."""
        while True:
            await self._clock.sleep(_EXTENDED_EVERY_S)
            ids = sorted(self._claimed)
            if not ids:
                continue

            async def unit(tx: Tx, ids: list[str] = ids) -> None:
                await table.extend(tx, self._owner, ids, tx.now + _HELD)

            with contextlib.suppress(StoreUnavailable):  # the next turn may still be in time
                await self._store.write(unit)

    async def _until_next(self, now: datetime) -> float:
        async def unit(tx: Tx) -> datetime | None:
            return await table.next_due(tx, now)

        due = await self._store.read(unit)
        if due is None:
            return _EVERY_S
        return min((due - self._clock.now()).total_seconds(), _EVERY_S)

    async def _pause(self, seconds: float) -> None:
        waits = {
            asyncio.ensure_future(self._woken.wait()),
            asyncio.ensure_future(self._clock.sleep(seconds)),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _deliver(self, notification: StoredNotification) -> None:
        await self._faults.reached(Point.NOTIFICATION_CLAIMED)
        try:
            result, attempt = await self._attempt(notification)
            await self._faults.reached(Point.NOTIFICATION_SENT)
            (self._ailing.add if _ails(result) else self._ailing.discard)(notification.url)

            async def unit(tx: Tx) -> None:
                if not await table.conclude(tx, notification.id, self._owner, result):
                    return
                await table.insert_attempt(tx, attempt)
                if result.finished_at is not None:
                    await self._record(tx, notification, result)

            await self._store.write(unit)
            await self._faults.reached(Point.NOTIFICATION_RECORDED)
        except StoreUnavailable as error:
            # The claim lapses and somebody sends it again: twice is better than never.
            _log.debug("notification_not_concluded", id=notification.id, reason=error.message)

    async def _attempt(self, notification: StoredNotification) -> tuple[Attempted, Attempt]:
        at, started = self._clock.now(), self._clock.monotonic()
        answer: OutboundAnswer | None = None
        try:
            key = await self._environments.signing_key(notification.environment_id)
            answer = await self._asked(self._request(notification, key))
        except StoreUnavailable:
            raise
        except Exception as error:  # one that cannot be sent must not stop the others
            if not isinstance(error, CarrickError):
                # Not the exception itself: some renderers show local variables, and the key is one.
                trace = "".join(traceback.format_tb(error.__traceback__))
                reason = type(error).__name__
                _log.error("notification_not_sent", id=notification.id, reason=reason, trace=trace)
            result = judge_silence(notification, error, self._clock.now(), self._chance)
        else:
            result = judge_answer(notification, answer, self._clock.now(), self._chance)
        shown = answer_shown(notification.url, answer.text()) if answer is not None else None
        return result, Attempt(
            notification_id=notification.id,
            number=result.attempt,
            at=at,
            duration_ms=round((self._clock.monotonic() - started) * 1000),
            status=answer.status if answer is not None else None,
            error=result.last_answer.get("error"),
            answer=self._operations.scrubber.scrub_text(shown) if shown is not None else None,
        )

    async def _asked(self, request: OutboundRequest) -> OutboundAnswer:
        """Send a request, and again where it is redirected to; each address is checked anew."""
        ends = self._clock.monotonic() + _TIMEOUT_S
        answer = await self._send(request, timeout_s=_TIMEOUT_S)
        for _ in range(_MOST_REDIRECTS):
            location = answer.header("location")
            if answer.status not in _FOLLOWED or not location:
                break
            url = urljoin(request.url, location)
            left = ends - self._clock.monotonic()
            if left <= 0 or (request.url.startswith("https:") and not url.startswith("https:")):
                break
            request = replace(request, url=url)
            answer = await self._send(request, timeout_s=left)
        return answer

    def _request(self, notification: StoredNotification, key: str) -> OutboundRequest:
        body = notification.body.encode()
        signatures = signature_headers(
            key,
            body,
            message_id=notification.id,
            timestamp_s=int(self._clock.now().timestamp()),
        )
        headers = {
            "Content-Type": "application/json",
            "User-Agent": self._user_agent,
            **signatures,
        }
        return OutboundRequest("POST", notification.url, headers, body)

    async def _record(self, tx: Tx, notification: StoredNotification, result: Attempted) -> None:
        body = json.loads(notification.body)
        delivered = result.state == table.DELIVERED
        opening = Opening(
            environment_id=notification.environment_id,
            type="webhook",
            action=_ACTIONS.get(notification.kind, notification.kind),
            integration_id=body.get("providerConfigKey"),
            provider=body.get("provider"),
            connection_row_id=notification.connection_row_id,
            connection_id=body.get("connectionId"),
            message="Notification delivered" if delivered else "Notification not delivered",
            meta={
                "notification_id": notification.id,
                "url": url_shown(notification.url),
                "attempts": result.attempt,
                "answer": dict(result.last_answer),
            },
        )
        operation_id = await self._operations.open_in(tx, opening)
        error = None if delivered else {"name": "notification_failed", **result.last_answer}
        state = "success" if delivered else "failed"
        await self._operations.close_in(tx, operation_id, state=state, error=error)


def _ails(result: Attempted) -> bool:
    """Whether an address did not take what it was sent, for a reason that holds for all of it."""
    return result.state == table.WAITING
