"""The engine of one process: PgQueuer's in-memory adapter, woken after each commit."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Coroutine
from datetime import datetime, timedelta
from itertools import islice

import structlog
from pgqueuer import InMemoryDriver, InMemoryQueries, QueueManager

from carrick.engine.drains import Drain, Drains
from carrick.engine.queue import (
    BATCH,
    ENTRYPOINT,
    HORIZON_S,
    WakeUp,
    builders,
    handle_with,
    settings,
)
from carrick.engine.sweep import Due, Sweep
from carrick.lifecycle.turns import Turns
from carrick.model.clock import Clock
from carrick.store.mailboxes import Mailbox
from carrick.store.unit import Tx

#: Wake-ups kept in memory at most; the sweep finds the mailboxes of those beyond.
_MOST_WAITING = 100_000
#: Delayed wake-ups are grouped by this many a second, so that their timers stay few.
_SLOTS_A_SECOND = 20

_log = structlog.get_logger(__name__)


class EmbeddedEngine:
    """Wakes mailboxes inside one process. Nothing it holds outlives it; nothing has to."""

    def __init__(
        self,
        *,
        drain: Drain,
        due: Due,
        clock: Clock,
        node_id: str,
        turns: Turns,
        sweep_s: float = 2.0,
    ) -> None:
        self._clock = clock
        self._node_id = node_id
        self._concurrency = max(turns.places, 2 * BATCH)
        self._drains = Drains(drain, turns, clock)
        self._sweep = Sweep(due, self._drains, clock=clock, interval_s=sweep_s)
        names = settings()
        self._queries = InMemoryQueries(InMemoryDriver(), *builders(names))
        self._manager = QueueManager(self._queries, channel=names.channel)
        handle_with(self._manager, self._look)
        self._waiting: dict[str, WakeUp] = {}
        self._news = asyncio.Event()
        self._handed_on = 0
        self._looked = asyncio.Event()
        self._slots: dict[int, list[WakeUp]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    async def wake_in(
        self, tx: Tx, mailbox: Mailbox, *, event_id: int, attempt: int, due_at: datetime
    ) -> None:
        """Ask for a look at the mailbox once the transaction is durable and the event is due."""
        wake_up = WakeUp(mailbox, event_id, attempt)
        delay_s = (due_at - tx.now).total_seconds()
        if delay_s <= 0:
            tx.after_commit(functools.partial(self._wake, wake_up))
        elif delay_s <= HORIZON_S:
            tx.after_commit(functools.partial(self._wake_later, wake_up, delay_s))

    async def start(self) -> None:
        """Begin to look at mailboxes: those with something due at once."""
        self._spawn(
            "engine-queue",
            self._manager.run(
                dequeue_timeout=timedelta(seconds=30),
                batch_size=BATCH,
                max_concurrent_tasks=self._concurrency,
                log_aggregation_interval=timedelta(0),
            ),
        )
        self._spawn("engine-feed", self._feed())
        self._spawn("engine-sweep", self._sweep.run())

    async def stop(self, limit_s: float = 30.0) -> None:
        """Begin nothing more, and wait for what is running.

        Args:
            limit_s: After this long, what is still running is cancelled.
        """
        self._is_stopping = True
        self._manager.shutdown.set()
        for task in self._tasks:
            if task.get_name() != "engine-queue":
                task.cancel()
        await self._drains.finish(limit_s)
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _wake(self, wake_up: WakeUp) -> None:
        if len(self._waiting) < _MOST_WAITING and not self._is_stopping:
            self._waiting[wake_up.key] = wake_up
            self._news.set()

    def _wake_later(self, wake_up: WakeUp, delay_s: float) -> None:
        if self._is_stopping:
            return
        slot = math.ceil((self._clock.monotonic() + delay_s) * _SLOTS_A_SECOND)
        if slot in self._slots:
            self._slots[slot].append(wake_up)
        else:
            self._slots[slot] = [wake_up]
            self._spawn("engine-timer", self._wake_at(slot))

    async def _wake_at(self, slot: int) -> None:
        await self._clock.sleep(slot / _SLOTS_A_SECOND - self._clock.monotonic())
        for wake_up in self._slots.pop(slot):
            self._wake(wake_up)

    async def _feed(self) -> None:
        """Hand wake-ups on, few at a time: the adapter looks at all it has at every turn."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                while self._handed_on >= self._concurrency:
                    self._looked.clear()
                    await self._looked.wait()
                await self._hand_on(self._concurrency - self._handed_on)

    async def _hand_on(self, most: int) -> None:
        keys: list[str | None] = list(islice(self._waiting, most))
        batch = [self._waiting.pop(key) for key in keys if key is not None]
        added = await self._queries.enqueue(
            [ENTRYPOINT] * len(batch),
            [wake_up.payload for wake_up in batch],
            [0] * len(batch),
            dedupe_key=keys,
            on_conflict="skip",
        )
        self._handed_on += sum(job_id is not None for job_id in added)
        # The adapter keeps a row of every step of every job for ever.
        await self._queries.clear_queue_log()

    async def _look(self, mailbox: Mailbox) -> None:
        try:
            await self._drains.run(mailbox)
        finally:
            self._handed_on -= 1
            self._looked.set()

    def _spawn(self, name: str, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("engine_task_failed", task=task.get_name(), error=repr(error))
