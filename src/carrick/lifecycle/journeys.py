"""The lifecycle as its callers see it: one object with a method for each journey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from carrick.errors import InvalidBody, NotFound, OperationNotRetryable
from carrick.lifecycle.authorize import Authorize, Awaited, Begun
from carrick.lifecycle.connect import Connect
from carrick.lifecycle.consents import LIFETIME, ConsentRequest, Pending, cookie_name
from carrick.lifecycle.delete import Delete, Deletion
from carrick.lifecycle.drain import Drain
from carrick.lifecycle.mailbox import Mailboxes, wake
from carrick.lifecycle.request import Connected, ConnectRequest
from carrick.lifecycle.rooms import Rooms
from carrick.lifecycle.settle import Settle
from carrick.lifecycle.turns import Turns
from carrick.lifecycle.warmth import Warmth
from carrick.model.connection import SetupState
from carrick.model.environment import Environment
from carrick.model.event import Event
from carrick.store import connections as rows
from carrick.store import events as event_rows
from carrick.store.events import CleanupRow, EventRow, EventState
from carrick.store.mailboxes import Mailbox
from carrick.store.unit import Tx

__all__ = [
    "LIFETIME",
    "Awaited",
    "Begun",
    "Cleanup",
    "ConnectRequest",
    "Connected",
    "ConsentRequest",
    "Deletion",
    "Lifecycle",
    "Pending",
    "cookie_name",
]


@dataclass(frozen=True)
class Cleanup:
    """A cleanup that is not done, for the person who has to see to it."""

    id: int
    connection_id: str
    integration_id: str
    function: str
    state: str
    attempts: int
    interruptions: int
    due_at: datetime | None
    error_kind: str | None
    error_message: str | None
    operation_id: str
    created_at: datetime


class Lifecycle:
    """Connect, reconnect, delete, and seeing to what was left over."""

    def __init__(self, rooms: Rooms) -> None:
        mailboxes = Mailboxes(rooms)
        self._rooms = rooms
        self._connect = Connect(rooms, mailboxes)
        #: The OAuth entrance of the same journey.
        self.authorize = Authorize(rooms, self._connect)
        #: Whose functions may run on this node now.
        self.turns = Turns(rooms.clock, has_others=rooms.store.is_postgres)
        self._delete = Delete(rooms, self.turns)
        #: Runners kept ready for what is deployed.
        self.warmth = Warmth(rooms)
        self._drain = Drain(rooms, mailboxes, Settle(rooms, self._delete), self.turns)

    async def connect(self, request: ConnectRequest) -> Connected:
        """Connect, reconnect or import; see `carrick.lifecycle.connect`."""
        return await self._connect.run(request)

    async def delete_connection(
        self, environment: Environment, integration_id: str, connection_id: str
    ) -> Deletion:
        """Delete a connection; see `carrick.lifecycle.delete`."""
        return await self._delete.connection(environment, integration_id, connection_id)

    async def delete_integration(self, environment: Environment, integration_id: str) -> Deletion:
        """Delete an integration and each of its connections."""
        return await self._delete.integration(environment, integration_id)

    async def delete_environment(self, environment: Environment) -> Deletion:
        """Delete an environment and everything in it."""
        return await self._delete.environment(environment)

    async def drain(self, connection_row_id: int) -> None:
        """Run what is due for one connection; the engine's handler."""
        await self._drain.drain(connection_row_id)

    async def due(self, most: int) -> list[Mailbox]:
        """Return mailboxes that have something due; the engine's sweep."""
        return await self._drain.due(most)

    # --- what was left over -----------------------------------------------------------------

    async def cleanups(
        self,
        environment_id: int,
        *,
        limit: int = 100,
        after: int | None = None,
        only_parked: bool = False,
    ) -> Sequence[Cleanup]:
        """Return cleanups that are not done, oldest first."""

        async def unit(tx: Tx) -> list[CleanupRow]:
            return await event_rows.unfinished_cleanups(
                tx, environment_id, limit=limit, after=after, only_parked=only_parked
            )

        return [_cleanup(row) for row in await self._rooms.store.read(unit)]

    async def cleanup(self, environment_id: int, cleanup_id: int) -> Cleanup:
        """Return one cleanup that is not done.

        Raises:
            NotFound: There is no such cleanup.
        """

        async def unit(tx: Tx) -> list[CleanupRow]:
            return await event_rows.unfinished_cleanups(
                tx, environment_id, limit=1, only_id=cleanup_id
            )

        found = await self._rooms.store.read(unit)
        if not found:
            raise NotFound("There is no unfinished cleanup by that id.")
        return _cleanup(found[0])

    async def retry_cleanups(self, environment_id: int, integration_id: str | None = None) -> int:
        """Give every parked cleanup a fresh set of attempts and return how many there were.

        Args:
            environment_id: Whose.
            integration_id: Only those of its connections.
        """
        retried, after = 0, 0
        while True:
            parked = await self.cleanups(environment_id, after=after, only_parked=True)
            if not parked:
                return retried
            after = parked[-1].id
            wanted = [
                one.id
                for one in parked
                if integration_id is None or one.integration_id == integration_id
            ]

            async def unit(tx: Tx, wanted: Sequence[int] = tuple(wanted)) -> int:
                return await self._all_again_in(tx, wanted)

            retried += await self._rooms.store.write(unit)

    async def _all_again_in(self, tx: Tx, cleanup_ids: Sequence[int]) -> int:
        retried = 0
        for cleanup_id in cleanup_ids:
            event = await _held(tx, await event_rows.get(tx, cleanup_id))
            if event is not None and event.state is EventState.PARKED:
                await self._again_in(tx, event)
                retried += 1
        return retried

    async def retry_cleanup(self, environment_id: int, cleanup_id: int) -> None:
        """Give a parked cleanup a fresh set of attempts, or have one that waits tried now.

        Raises:
            NotFound: There is no such cleanup.
        """

        async def unit(tx: Tx) -> None:
            event = await _demand_cleanup(tx, environment_id, cleanup_id)
            await self._again_in(tx, event)

        await self._rooms.store.write(unit)

    async def force_cleanup(self, environment_id: int, cleanup_id: int, reason: str) -> None:
        """Give a cleanup up for good, with a reason that is kept.

        Raises:
            NotFound: There is no such cleanup.
            InvalidBody: There is no reason.
        """
        if not reason.strip():
            raise InvalidBody("Say why: the reason is kept with the operation.")

        async def unit(tx: Tx) -> None:
            event = await _demand_cleanup(tx, environment_id, cleanup_id)
            if event.state is EventState.RUNNING:
                raise OperationNotRetryable("This cleanup is running right now; try again after.")
            await event_rows.change(
                tx, event.id, state=EventState.SUPERSEDED.value, finished_at=tx.now
            )
            operations = self._rooms.operations
            await operations.reopen_in(tx, event.operation_id)
            await operations.close_in(
                tx, event.operation_id, state="cancelled", message=f"Forced: {reason.strip()}"
            )
            await self._delete.finish_in(tx, event.connection_row_id)

        await self._rooms.store.write(unit)

    async def retry_operation(self, environment_id: int, operation_id: str) -> None:
        """Run a failed setup or a parked cleanup again, under the same run.

        Raises:
            NotFound: There is no such operation of an event function.
            OperationNotRetryable: It did not fail, or its connection is gone.
        """

        async def unit(tx: Tx) -> None:
            found = await event_rows.by_operation(tx, environment_id, operation_id)
            event = await _held(tx, found)
            if event is None:
                raise NotFound("There is no operation of an event function by that id.")
            if event.state not in (EventState.FAILED, EventState.PARKED):
                raise OperationNotRetryable(f"This operation is {event.state}; nothing to retry.")
            connection = await rows.get(tx, event.connection_row_id)
            setup = event.event is Event.POST_CONNECTION_CREATION
            if connection is None or (setup and not connection.is_usable):
                raise OperationNotRetryable("The connection is being deleted, or is gone.")
            await self._again_in(tx, event)
            if setup:
                await rows.change(tx, connection.row_id, {"setup": SetupState.PENDING.value})

        await self._rooms.store.write(unit)

    async def _again_in(self, tx: Tx, event: EventRow) -> None:
        changes: dict[str, Any] = {"due_at": tx.now}
        if not event.is_unfinished:
            changes |= {
                "state": EventState.WAITING.value,
                "attempt": 0,
                "interruptions": 0,
                "finished_at": None,
            }
        await event_rows.change(tx, event.id, **changes)
        await self._rooms.operations.reopen_in(tx, event.operation_id)
        again = await event_rows.get(tx, event.id)
        assert again is not None
        stamp = int(tx.now.timestamp() * 1000) % 1_000_000_000
        await wake(self._rooms, tx, again, again=stamp)
        tx.after_commit(partial(self.turns.is_asked_for, event.connection_row_id))
        operations, said = self._rooms.operations, "It is tried again now, because somebody asked"
        tx.after_commit(partial(operations.note, event.operation_id, "info", said))


async def _demand_cleanup(tx: Tx, environment_id: int, cleanup_id: int) -> EventRow:
    event = await _held(tx, await event_rows.get(tx, cleanup_id))
    wanted = (
        event is not None
        and event.environment_id == environment_id
        and event.event is Event.PRE_CONNECTION_DELETION
        and (event.is_unfinished or event.state is EventState.PARKED)
    )
    if not wanted or event is None:
        raise NotFound("There is no unfinished cleanup by that id.")
    return event


async def _held(tx: Tx, found: EventRow | None) -> EventRow | None:
    """Hold an event's mailbox and return the event as it stands then.

    Until it is held, somebody else may give the event up, or a node begin it.
    """
    if found is None:
        return None
    await rows.get(tx, found.connection_row_id, lock=True)
    return await event_rows.get(tx, found.id)


def _cleanup(row: CleanupRow) -> Cleanup:
    event = row.event
    state = event.state.value
    if event.state is EventState.WAITING:
        state = "retrying" if event.attempt else "pending"
    return Cleanup(
        id=event.id,
        connection_id=row.connection_id,
        integration_id=row.integration_id,
        function=event.function,
        state=state,
        attempts=event.attempt,
        interruptions=event.interruptions,
        due_at=event.due_at if event.is_unfinished else None,
        error_kind=event.error_kind,
        error_message=event.error_message,
        operation_id=event.operation_id,
        created_at=event.created_at,
    )
