"""The drains that run on this node: at most one per connection, each when its turn has come."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import structlog

from carrick.errors import StoreUnavailable
from carrick.lifecycle.turns import Turns
from carrick.model.clock import Clock
from carrick.store.mailboxes import Mailbox

Drain = Callable[[int], Awaitable[None]]

#: Mailboxes of one integration that wait here for a turn; the sweep finds those beyond.
MOST_WAITING = 256

_log = structlog.get_logger(__name__)


class Drains:
    """Runs `drain` for connections, and keeps its errors from everybody else."""

    def __init__(self, drain: Drain, turns: Turns, clock: Clock) -> None:
        self._drain = drain
        self._turns = turns
        self._clock = clock
        self._running: dict[int, asyncio.Task[None]] = {}
        self._wanted_again: set[int] = set()
        #: By integration, in the order they came; dictionaries, because sets have no order.
        self._waiting: dict[int, dict[int, None]] = {}
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at = math.inf
        self._is_stopping = False
        #: Integrations of which more came than may wait here.
        self._crowded: set[int] = set()
        #: Set when the last of those that waited here has begun, and there is more.
        self.hungry = asyncio.Event()

    @property
    def count(self) -> int:
        """How many connections are being drained."""
        return len(self._running)

    def is_known(self, mailbox: Mailbox) -> bool:
        """Whether that mailbox is being drained, or waits for its turn."""
        connection = mailbox.connection_row_id
        waiting = self._waiting.get(mailbox.integration_row_id, {})
        return connection in self._running or connection in waiting

    async def run(self, mailbox: Mailbox) -> None:
        """Drain a mailbox and come back when that is done, or when it has to wait for its turn.

        When it is being drained already, that drain is followed by one more look and this call
        comes back at once: what it was called for may have been written after the last look.
        """
        if mailbox.connection_row_id in self._running:
            self._wanted_again.add(mailbox.connection_row_id)
            return
        self.offer(mailbox)
        task = self._running.get(mailbox.connection_row_id)
        if task is not None:
            # Shielded: losing the queue's connection must not stop the functions that run.
            await asyncio.shield(task)

    def offer(self, mailbox: Mailbox) -> bool:
        """Have a mailbox drained now or when its turn comes; `False` leaves it to the sweep."""
        if self._is_stopping or self._turns.leaves(mailbox.connection_row_id):
            return False
        waiting = self._waiting.setdefault(mailbox.integration_row_id, {})
        if len(waiting) >= MOST_WAITING:
            self._crowded.add(mailbox.integration_row_id)
            return False
        waiting[mailbox.connection_row_id] = None
        self.begin_what_may(mailbox.integration_row_id)
        return True

    async def finish(self, limit_s: float) -> None:
        """Begin nothing more, wait for what is running, then cancel what is left at the limit."""
        self._is_stopping = True
        self._waiting.clear()
        if self._alarm is not None:
            self._alarm.cancel()
        limit = asyncio.create_task(self._clock.sleep(limit_s), name="drains-limit")
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

    # --- turns ------------------------------------------------------------------------------

    def begin_what_may(self, first: int | None = None) -> None:
        """Begin what has a turn now, the integrations taking theirs one after another.

        Args:
            first: Look at that integration alone, if something of it waits here.
        """
        may = [first] if first in self._waiting else list(self._waiting)
        while may:
            may = [integration for integration in may if self._begin_one(integration)]
        self._set_alarm()

    def _begin_one(self, integration_row_id: int) -> bool:
        waiting = self._waiting[integration_row_id]
        if not self._turns.take(integration_row_id):
            return False
        connection_row_id = next(iter(waiting))
        del waiting[connection_row_id]
        self._running[connection_row_id] = asyncio.create_task(
            self._run(Mailbox(connection_row_id, integration_row_id)),
            name=f"drain-{connection_row_id}",
        )
        if waiting:
            return True
        del self._waiting[integration_row_id]
        if integration_row_id in self._crowded:
            self._crowded.discard(integration_row_id)
            self.hungry.set()
        return False

    def _set_alarm(self) -> None:
        """Look again when time alone opens the way for something that waits."""
        waits = [self._turns.opens_in(integration) for integration in self._waiting]
        soonest = min((wait for wait in waits if wait is not None), default=math.inf)
        rings_at = self._clock.monotonic() + soonest
        if rings_at >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = rings_at
        self._alarm = asyncio.create_task(self._ring(soonest), name="drains-alarm")

    async def _ring(self, wait_s: float) -> None:
        await self._clock.sleep(wait_s)
        self._alarm, self._alarm_at = None, math.inf
        self.begin_what_may()

    # --- one drain --------------------------------------------------------------------------

    async def _run(self, mailbox: Mailbox) -> None:
        connection_row_id = mailbox.connection_row_id
        try:
            await self._look(connection_row_id)
            while connection_row_id in self._wanted_again:
                self._wanted_again.discard(connection_row_id)
                await self._look(connection_row_id)
        finally:
            # No await between the last look at `_wanted_again` and here: nothing slips between.
            del self._running[connection_row_id]
            self._wanted_again.discard(connection_row_id)
            self._turns.give_back(mailbox.integration_row_id)
            self.begin_what_may()

    async def _look(self, connection_row_id: int) -> None:
        try:
            await self._drain(connection_row_id)
        except StoreUnavailable as error:  # the store says it itself, once and not for each of us
            _log.debug("drain_interrupted", connection_row_id=connection_row_id, reason=str(error))
        except Exception as error:
            # The outermost layer of this task: the event is still in its mailbox, for the sweep.
            _log.exception("drain_failed", connection_row_id=connection_row_id, error=str(error))
