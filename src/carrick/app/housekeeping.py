"""Forgetting what is old: the log, delivered notifications, writes of what is gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from carrick.environments import ConnectSessions
from carrick.errors import CarrickError
from carrick.model.clock import Clock
from carrick.store import retention
from carrick.store.unit import Store, Tx

_EVERY_S = 3600.0
#: Flows that expired are kept that long, so that a late callback can be told to its popup.
_LATE = timedelta(hours=1)
_log = structlog.get_logger(__name__)


class Housekeeping:
    """Keeps the store from growing with every event that ever happened."""

    def __init__(
        self, store: Store, sessions: ConnectSessions, clock: Clock, *, retention_days: int
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._clock = clock
        self._kept = timedelta(days=retention_days)

    async def run(self) -> None:
        """Forget once an hour, until cancelled."""
        while True:
            try:
                await self.forget()
            except CarrickError as error:
                _log.debug("nothing_forgotten", reason=error.message)
            await self._clock.sleep(_EVERY_S)

    async def forget(self) -> None:
        """Forget everything that is older than what is kept."""
        await self._forget(retention.forget_operations)
        await self._forget(retention.forget_notifications)
        await self._forget(retention.forget_journal)
        await self._forget(retention.forget_oauth_states, _LATE)
        await self._sessions.delete_expired()

    async def _forget(
        self, step: Callable[[Tx, datetime], Awaitable[int]], kept: timedelta | None = None
    ) -> None:
        before = self._clock.now() - (self._kept if kept is None else kept)

        async def unit(tx: Tx) -> int:
            return await step(tx, before)

        while await self._store.write(unit) == retention.BATCH:
            pass  # one unit at a time, so that nobody else's writes wait long
