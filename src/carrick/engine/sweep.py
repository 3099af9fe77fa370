"""Finds mailboxes with something due that no wake-up has brought: after a crash, or by time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from carrick.engine.drains import Drain, Drains
from carrick.model.clock import Clock

__all__ = ["Drain", "Due", "Sweep"]

#: Given a limit: connections with due events that nobody holds, the longest due first.
Due = Callable[[int], Awaitable[list[int]]]

_log = structlog.get_logger(__name__)


class Sweep:
    """Looks at once, then every few seconds; faster while there is more than fits at a time."""

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
            if await self._once(begun):
                await self._drains.wait_for_one()
            else:
                begun.clear()
                await self._clock.sleep(self._interval_s)

    async def _once(self, begun: set[int]) -> bool:
        """Begin what is due and say whether there may be more."""
        room = self._drains.room
        if room == 0:
            return True
        try:
            due = await self._due(room + self._drains.count + len(begun))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # The outermost layer of this task: the store may be back at the next look.
            _log.warning("sweep_failed", error=str(error))
            return False
        fresh = [row_id for row_id in due if row_id not in begun]
        fresh = [row_id for row_id in fresh if not self._drains.is_running(row_id)][:room]
        for row_id in fresh:
            begun.add(row_id)
            self._drains.begin(row_id)
        return len(fresh) == room
