"""Runners that are ready before they are needed: one for what each environment has deployed.

Any node may deploy, so each one looks for itself; the node that was asked looks at once.
"""

from __future__ import annotations

import asyncio

import structlog

from carrick.errors import CarrickError, StoreUnavailable
from carrick.lifecycle.rooms import Rooms

_EVERY_S = 5.0
_log = structlog.get_logger(__name__)


class Warmth:
    """Keeps a validation runner warm for every active deployment's code, and no others."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._warm: set[str] = set()
        self._turn = asyncio.Lock()

    async def refresh(self) -> None:
        """Warm what is active and is not warm; let go of what no deployment uses any more."""
        async with self._turn:
            wanted: set[str] = set()
            for environment in await self._rooms.environments.list():
                functions = await self._rooms.deployments.functions(environment.row_id)
                wanted |= {function.bundle_id for function in functions}
            for bundle_id in sorted(wanted - self._warm):
                # One that cannot be put in place is said and tried again there.
                await self._rooms.pool.warm(bundle_id, "validation")
                self._warm.add(bundle_id)
            for bundle_id in sorted(self._warm - wanted):
                self._rooms.pool.cool(bundle_id)
                self._warm.discard(bundle_id)

    async def run(self) -> None:
        """Follow what is deployed, until cancelled."""
        while True:
            await self._rooms.clock.sleep(_EVERY_S)
            try:
                await self.refresh()
            except StoreUnavailable as error:  # it says so itself, once
                _log.debug("deployments_not_followed", reason=error.message)
            except CarrickError as error:
                _log.warning("deployments_not_followed", reason=error.message)
