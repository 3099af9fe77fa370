"""Holding a connection's mailbox: the lease, its renewal, and letting go without losing news."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from carrick.errors import CarrickError, ConnectionBusy
from carrick.lifecycle.rooms import Rooms
from carrick.model.faults import Point
from carrick.store import events as event_rows
from carrick.store import mailboxes
from carrick.store.events import EventRow
from carrick.store.mailboxes import Lease, Mailbox
from carrick.store.unit import Tx

#: Seconds between renewals of a lease that lives 6 s.
_RENEW_S = 2.0
#: How long to wait for news before looking at the store again.
_LOOK_S = 0.25


class Mailboxes:
    """The mailboxes of all connections, as this node holds them."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def new_owner(self) -> str:
        """Return a name for a new holder: this node, and which of its many."""
        return f"{self._rooms.node_id}:{self._rooms.chance.token_hex(6)}"

    async def acquire(self, connection_row_id: int) -> Lease | None:
        """Take a mailbox if nobody holds it."""
        owner = self.new_owner()

        async def unit(tx: Tx) -> Lease | None:
            return await mailboxes.acquire(tx, connection_row_id, owner)

        return await self._rooms.store.write(unit)

    @contextlib.asynccontextmanager
    async def held(self, lease: Lease) -> AsyncIterator[Lease]:
        """Keep a lease alive while the block runs. The block gives it up, or it expires."""
        renewing = asyncio.create_task(self._renew(lease), name="mailbox-renewal")
        try:
            yield lease
        finally:
            renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await renewing
            self._rooms.progress.announce(lease.connection_row_id)

    async def _renew(self, lease: Lease) -> None:
        async def unit(tx: Tx) -> bool:
            return await mailboxes.renew(tx, lease)

        while True:
            await self._rooms.clock.sleep(_RENEW_S)
            await self._rooms.faults.reached(Point.LEASE_RENEWAL)
            try:
                if not await self._rooms.store.write(unit):
                    return  # taken over: every write of ours will find that out by its fence
            except CarrickError:
                continue  # the store is away; the lease may outlive that

    @contextlib.asynccontextmanager
    async def waited_for(self, connection_row_id: int) -> AsyncIterator[Lease]:
        """Hold a mailbox for a reconnect, after waiting for what is running.

        Raises:
            ConnectionBusy: A function of the connection is still running after that wait.
        """
        lease = await self._wait(connection_row_id)
        async with self.held(lease):
            try:
                yield lease
            finally:
                await self._give_back(lease)

    async def _wait(self, connection_row_id: int) -> Lease:
        clock = self._rooms.clock
        give_up = clock.monotonic() + self._rooms.timing.busy_s
        while True:
            lease = await self.acquire(connection_row_id)
            if lease is not None:
                return lease
            if clock.monotonic() >= give_up:
                raise ConnectionBusy(retry_after_s=5)
            await self._rooms.progress.wait(connection_row_id, _LOOK_S)

    async def _give_back(self, lease: Lease) -> None:
        """Let go, and have looked at what was written while the mailbox was held."""
        rooms = self._rooms

        async def unit(tx: Tx) -> None:
            await rooms.faults.reached(Point.LAST_LOOK)
            await mailboxes.release(tx, lease)
            waiting = await event_rows.head(tx, lease.connection_row_id)
            if waiting is not None and waiting.due_at <= tx.now:
                await wake(rooms, tx, waiting, again=lease.fence)

        with contextlib.suppress(CarrickError):  # the lease expires by itself, the sweep finds it
            await rooms.store.write(unit)


async def wake(rooms: Rooms, tx: Tx, event: EventRow, *, again: int = 0) -> None:
    """Have an event's mailbox looked at once this transaction is durable.

    Wake-ups are told apart by event and number: `again` makes one that is no double of an earlier
    one, which may have found the mailbox held and ended. The connection's row is touched, so this
    and a holder that is about to let go come one after the other.
    """
    await mailboxes.bump(tx, event.connection_row_id)
    await rooms.wake.wake_in(
        tx,
        Mailbox(event.connection_row_id, event.integration_row_id),
        event_id=event.id,
        attempt=event.attempt + 100 * event.interruptions + 10_000 * again,
        due_at=event.due_at,
    )
    await rooms.faults.reached(Point.WAKE_UP_ENQUEUED)
