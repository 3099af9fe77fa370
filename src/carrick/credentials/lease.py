"""The right to refresh one connection: held by one caller on one node, for as long as it takes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

from carrick.errors import CredentialsUnavailable, StoreUnavailable, UnknownConnection
from carrick.model.clock import Clock
from carrick.model.faults import NO_FAULTS, Faults, Point
from carrick.store import refresh as rows
from carrick.store.refresh import RefreshRow
from carrick.store.unit import Store, Tx

#: How long a lease outlives a node that died with it.
_LASTS = timedelta(seconds=10)
_EXTENDED_EVERY_S = 3.0
_LOOKED_AT_EVERY_S = 0.05
#: Longer than a provider is given to answer, so that waiting ends with the other's result.
_PATIENCE_S = 35.0


class RefreshLease:
    """Takes, keeps and returns the lease of one connection for one owner."""

    def __init__(
        self, store: Store, clock: Clock, row_id: int, owner: str, faults: Faults = NO_FAULTS
    ) -> None:
        self._store = store
        self._clock = clock
        self._row_id = row_id
        self.owner = owner
        self._faults = faults

    async def take(self) -> RefreshRow:
        """Wait until the lease is free, take it, and return the row as it is then.

        Raises:
            UnknownConnection: There is no such row.
            CredentialsUnavailable: Somebody else held it for too long.
        """
        patience_ends = self._clock.monotonic() + _PATIENCE_S
        while True:
            row = await self._store.write(self._take_in)
            if row is None:
                raise UnknownConnection
            if row.refresh_owner == self.owner:
                return row
            while row is not None and row.is_held(self._clock.now()):
                if self._clock.monotonic() >= patience_ends:
                    raise CredentialsUnavailable(
                        "Another server has been refreshing these credentials for too long."
                    )
                await self._clock.sleep(_LOOKED_AT_EVERY_S)
                row = await self._store.read(self._look_in)

    async def mark_sent(self) -> None:
        """Note, before it does, that a refresh goes out.

        Raises:
            CredentialsUnavailable: The lease ran out and somebody else has it.
        """

        async def unit(tx: Tx) -> bool:
            return await rows.mark_sent(tx, self._row_id, self.owner, tx.now + _LASTS)

        if not await self._store.write(unit):
            raise CredentialsUnavailable("Another server took over refreshing these credentials.")

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Extend the lease again and again, so that it never runs out under a slow provider."""
        keeper = asyncio.create_task(self._keep(), name=f"refresh-lease-{self._row_id}")
        try:
            yield
        finally:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper

    async def release(self) -> None:
        """Give the lease back; if the store is away it runs out by itself."""

        async def unit(tx: Tx) -> None:
            await rows.release_lease(tx, self._row_id, self.owner)

        with contextlib.suppress(StoreUnavailable):
            await self._store.write(unit)

    async def _keep(self) -> None:
        async def unit(tx: Tx) -> None:
            await rows.extend_lease(tx, self._row_id, self.owner, tx.now + _LASTS)

        while True:
            await self._clock.sleep(_EXTENDED_EVERY_S)
            await self._faults.reached(Point.REFRESH_LEASE_RENEWAL)
            with contextlib.suppress(StoreUnavailable):  # the next turn may still be in time
                await self._store.write(unit)

    async def _take_in(self, tx: Tx) -> RefreshRow | None:
        return await rows.take_lease(tx, self._row_id, self.owner, tx.now + _LASTS)

    async def _look_in(self, tx: Tx) -> RefreshRow | None:
        return await rows.get(tx, self._row_id)
