"""Notices that the clock was set, and mends what that would otherwise hold up for hours."""

from __future__ import annotations

import structlog

from carrick.errors import StoreUnavailable
from carrick.model.clock import Clock
from carrick.store import clocks
from carrick.store.unit import Store, Tx

_EVERY_S = 1.0
#: Seconds the clock may wander between two looks; machines correct theirs by less.
_STEP_S = 5.0
_log = structlog.get_logger(__name__)


class ClockWatch:
    """Compares the time of day with time that cannot be set.

    A clock that is set forward makes things due early, which everything bears. One that is set
    back would leave leases valid and waits unfinished for as long as it was ahead.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._offset = self._measured()
        self._is_mended = True

    async def run(self) -> None:
        """Watch, until cancelled."""
        while True:
            await self._clock.sleep(_EVERY_S)
            offset = self._measured()
            step_s, self._offset = offset - self._offset, offset
            if abs(step_s) >= _STEP_S:
                _log.warning("clock_stepped", seconds=round(step_s, 1))
                self._is_mended = self._is_mended and step_s > 0
            if not self._is_mended:
                await self._mend()

    async def _mend(self) -> None:
        async def unit(tx: Tx) -> int:
            await clocks.shorten_leases(tx)
            return await clocks.bring_back(tx)

        try:
            brought_back = await self._store.write(unit)
        except StoreUnavailable as error:  # it says so itself; the next turn tries again
            _log.debug("clock_step_not_mended", reason=error.message)
            return
        self._is_mended = True
        _log.info("clock_step_mended", brought_back=brought_back)

    def _measured(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()
