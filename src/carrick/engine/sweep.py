"""Finds mailboxes with something due that no wake-up has brought: after a crash, or by time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from carrick.engine.drains import MOST_WAITING, Drain, Drains
from carrick.errors import StoreUnavailable
from carrick.model.clock import Clock
from carrick.store.mailboxes import Mailbox

__all__ = ["Drain", "Due", "Sweep"]

#: Given a number: as many mailboxes of each integration with due events that nobody holds, the
#: longest due first.
Due = Callable[[int], Awaitable[list[Mailbox]]]

_log = structlog.get_logger(__name__)


class Sweep:
    """Looks at once, then every few seconds; sooner while there is more than fits at a time."""

    def __init__(self, due: Due, drains: Drains, *, clock: Clock, interval_s: float) -> None:
        self._due = due
        self._drains = drains
        self._clock = clock
        self._interval_s = interval_s

    async def run(self) -> None:
        """Sweep until cancelled."""
        # Begun since the last pause. What is due again at once makes no progress: it has to wait.
        begun: set[int] = set()
        while True:
            self._drains.hungry.clear()
            await self._once(begun)
            if not await self._is_hungry_in_time():
                begun.clear()

    async def _once(self, begun: set[int]) -> None:
        """Offer what is due."""
        try:
            due = await self._due(2 * MOST_WAITING + len(begun))
        except asyncio.CancelledError:
            raise
        except StoreUnavailable as error:  # the store says it itself, once
            _log.debug("sweep_interrupted", reason=str(error))
            return
        except Exception as error:
            # The outermost layer of this task: the store may be back at the next look.
            _log.warning("sweep_failed", error=str(error))
            return
        for mailbox in due:
            if mailbox.connection_row_id in begun or self._drains.is_known(mailbox):
                continue
            if self._drains.offer(mailbox):
                begun.add(mailbox.connection_row_id)
        self._drains.begin_what_may()

    async def _is_hungry_in_time(self) -> bool:
        """Wait for room where more is due than could wait here; not longer than a pause."""
        hungry = asyncio.create_task(self._drains.hungry.wait(), name="sweep-hungry")
        pause = asyncio.create_task(self._clock.sleep(self._interval_s), name="sweep-pause")
        try:
            await asyncio.wait({hungry, pause}, return_when=asyncio.FIRST_COMPLETED)
            return hungry.done()
        finally:
            hungry.cancel()
            pause.cancel()
