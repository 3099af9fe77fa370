"""The drains that run on this node: at most one per connection, a bounded number in all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from carrick.model.clock import Clock

Drain = Callable[[int], Awaitable[None]]

_log = structlog.get_logger(__name__)


class Drains:
    """Runs `drain` for connections, and keeps its errors from everybody else."""

    def __init__(self, drain: Drain, *, concurrency: int) -> None:
        self._drain = drain
        self._concurrency = concurrency
        self._turns = asyncio.Semaphore(concurrency)
        self._running: dict[int, asyncio.Task[None]] = {}
        self._wanted_again: set[int] = set()
        self._ended = asyncio.Event()

    @property
    def count(self) -> int:
        """How many connections are being drained, or wait for their turn."""
        return len(self._running)

    @property
    def room(self) -> int:
        """How many more may begin without waiting for a turn."""
        return max(0, self._concurrency - len(self._running))

    def is_running(self, connection_row_id: int) -> bool:
        """Whether that connection is being drained, or waits for its turn."""
        return connection_row_id in self._running

    async def run(self, connection_row_id: int) -> None:
        """Drain a connection and come back when that is done.

        When it is being drained already, that drain is followed by one more look and this call
        comes back at once: what it was called for may have been written after the last look.
        """
        if connection_row_id in self._running:
            self._wanted_again.add(connection_row_id)
            return
        # Shielded: losing the queue's connection must not stop the functions that are running.
        await asyncio.shield(self.begin(connection_row_id))

    def begin(self, connection_row_id: int) -> asyncio.Task[None]:
        """Start to drain a connection that is not being drained."""
        task = asyncio.create_task(self._run(connection_row_id), name=f"drain-{connection_row_id}")
        self._running[connection_row_id] = task
        return task

    async def wait_for_one(self) -> None:
        """Come back when any drain has ended; at once when none is running."""
        if self._running:
            self._ended.clear()
            await self._ended.wait()

    async def finish(self, clock: Clock, limit_s: float) -> None:
        """Wait for what is running, then cancel what is still there at the limit."""
        limit = asyncio.create_task(clock.sleep(limit_s), name="drains-limit")
        while self._running and not limit.done():
            await asyncio.wait(
                {limit, *self._running.values()}, return_when=asyncio.FIRST_COMPLETED
            )
        self.cancel()
        limit.cancel()
        await asyncio.wait({limit, *self._running.values()})

    def cancel(self) -> None:
        """Stop every drain where it is: their leases expire, another node takes them over."""
        for task in self._running.values():
            task.cancel()

    async def _run(self, connection_row_id: int) -> None:
        try:
            async with self._turns:
                await self._look(connection_row_id)
                while connection_row_id in self._wanted_again:
                    self._wanted_again.discard(connection_row_id)
                    await self._look(connection_row_id)
        finally:
            # No await between the last look at `_wanted_again` and here: nothing slips between.
            del self._running[connection_row_id]
            self._wanted_again.discard(connection_row_id)
            self._ended.set()

    async def _look(self, connection_row_id: int) -> None:
        try:
            await self._drain(connection_row_id)
        except Exception as error:
            # The outermost layer of this task: the event is still in its mailbox, for the sweep.
            _log.exception("drain_failed", connection_row_id=connection_row_id, error=str(error))
