"""Deletion: a durable saga. One transaction marks, cleanup runs until it is done or parked.

Every path that deletes comes through `mark_in`: a single connection, a whole integration. What
must be cleaned up is written in the same transaction that hides the connection from its callers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from carrick.connections import states
from carrick.errors import NotFound, UnknownConnection, UnknownIntegration
from carrick.lifecycle.following import write_events
from carrick.lifecycle.mailbox import wake
from carrick.lifecycle.rooms import Rooms
from carrick.lifecycle.turns import Turns
from carrick.model.connection import Connection, ConnectionState
from carrick.model.environment import Environment
from carrick.model.event import Event, Occasion
from carrick.model.faults import Point
from carrick.notify import connection_deleted
from carrick.store import connections as rows
from carrick.store import environments as environment_rows
from carrick.store import events as event_rows
from carrick.store import integrations as integration_rows
from carrick.store import journal as journal_rows
from carrick.store.events import EventRow, EventState
from carrick.store.unit import Tx

#: How long to wait for news before looking at the store again.
_LOOK_S = 0.25

CleanupState = Literal["done", "pending", "retrying", "parked"]


@dataclass(frozen=True)
class Deletion:
    """How far a deletion has come."""

    state: CleanupState


class Delete:
    """The deletion journeys."""

    def __init__(self, rooms: Rooms, turns: Turns) -> None:
        self._rooms = rooms
        self._turns = turns

    async def connection(
        self, environment: Environment, integration_id: str, connection_id: str
    ) -> Deletion:
        """Delete a connection: at once for its callers, for good when cleanup is done.

        Raises:
            UnknownConnection: There is none, and none is being deleted.
        """
        rooms = self._rooms

        async def unit(tx: Tx) -> int:
            await integration_rows.hold_active(tx, environment.row_id, integration_id)
            found = await rows.find_usable(
                tx, environment.row_id, integration_id, connection_id, lock=True
            )
            if found is not None:
                await self.mark_in(tx, environment, found)
                return found.row_id
            under_way = await rows.find_deleting(
                tx, environment.row_id, integration_id, connection_id
            )
            if under_way is None:
                raise UnknownConnection(
                    f'There is no connection "{connection_id}" of integration "{integration_id}".'
                )
            return -under_way.row_id

        row_id = await rooms.store.write(unit)
        if row_id < 0:  # somebody's deletion is under way: answer with its present state
            return Deletion((await self._state(-row_id))[0])
        await rooms.faults.reached(Point.AFTER_DELETE)
        rooms.progress.announce(row_id)
        return Deletion(await self._first_attempt(row_id))

    async def integration(self, environment: Environment, integration_id: str) -> Deletion:
        """Delete an integration and, in the same transaction, all of its connections.

        Its secrets and functions stay until the last cleanup is done.

        Raises:
            UnknownIntegration: There is none.
        """

        async def unit(tx: Tx) -> bool:
            row_id = await self._mark_integration_in(tx, environment, integration_id)
            if row_id is None:
                raise UnknownIntegration("Integration does not exist")
            return not await integration_rows.hold_deleting(tx, row_id)

        finished = await self._rooms.store.write(unit)
        return Deletion("done" if finished else "pending")

    async def environment(self, environment: Environment) -> Deletion:
        """Delete an environment and, in the same transaction, everything in it.

        Its keys open the log and the cleanups until the last cleanup is done.

        Raises:
            NotFound: It is being deleted already, or gone.
        """

        async def unit(tx: Tx) -> bool:
            if not await environment_rows.begin_deletion(tx, environment.row_id):
                raise NotFound("There is no such environment.")
            for integration_id in await integration_rows.active_ids(tx, environment.row_id):
                # One that somebody else began to delete meanwhile is in good hands.
                await self._mark_integration_in(tx, environment, integration_id)
            await self._finish_environment_in(tx, environment.row_id)
            await self._rooms.faults.reached(Point.ENVIRONMENT_MARKED)
            return not await environment_rows.hold_deleting(tx, environment.row_id)

        finished = await self._rooms.store.write(unit)
        self._rooms.environments.recent.forget()
        return Deletion("done" if finished else "pending")

    async def _mark_integration_in(
        self, tx: Tx, environment: Environment, integration_id: str
    ) -> int | None:
        """Mark an integration and its connections; return its row, if there was one in use."""
        integration_row_id = await integration_rows.begin_deletion(
            tx, environment.row_id, integration_id
        )
        if integration_row_id is None:
            return None
        for row_id in await rows.usable_of_integration(tx, integration_row_id):
            connection = await rows.get(tx, row_id, lock=True)
            if connection is not None and connection.is_usable:
                await self.mark_in(tx, environment, connection)
        await self._finish_integration_in(tx, integration_row_id)
        await self._rooms.faults.reached(Point.INTEGRATION_MARKED)
        return integration_row_id

    async def mark_in(self, tx: Tx, environment: Environment, connection: Connection) -> None:
        """Hide a connection from its callers and write the cleanup that must follow."""
        rooms = self._rooms
        await states.begin_deletion(tx, connection)
        await self._supersede_setups_in(tx, connection)
        functions = await rooms.deployments.active_in(
            tx,
            environment.row_id,
            connection.integration_id,
            Event.PRE_CONNECTION_DELETION,
        )
        await write_events(rooms, tx, connection, functions, Occasion.DELETION)
        await rooms.notifier.write_in(tx, connection_deleted(rooms.facts(environment, connection)))
        await self.finish_in(tx, connection.row_id)
        tx.after_commit(partial(self._turns.is_asked_for, connection.row_id))
        await rooms.faults.reached(Point.DELETE_MARKED)

    async def _supersede_setups_in(self, tx: Tx, connection: Connection) -> None:
        """End setups that wait, unless one may have left something behind at the provider."""
        for setup in await event_rows.of_connection(
            tx, connection.row_id, Event.POST_CONNECTION_CREATION
        ):
            if setup.state is not EventState.WAITING:
                continue  # one that is running is settled when it ends
            if await journal_rows.has_effects(tx, setup.run_id):
                await event_rows.change(tx, setup.id, last_chance=True, due_at=tx.now)
                await wake(self._rooms, tx, setup, again=1)
            else:
                await supersede_in(self._rooms, tx, setup)

    # --- the end ----------------------------------------------------------------------------

    async def finish_in(self, tx: Tx, connection_row_id: int) -> bool:
        """Let a connection be gone if nothing of its deletion is left to do."""
        connection = await rows.get(tx, connection_row_id, lock=True)
        if connection is None or connection.state is not ConnectionState.DELETING:
            return False
        left = [
            event
            for event in await event_rows.of_connection(tx, connection_row_id)
            if event.is_unfinished or event.state is EventState.PARKED
        ]
        if left:
            return False
        await states.finish_deletion(tx, connection)
        await self._rooms.faults.reached(Point.CONNECTION_ERASED)
        if await self._finish_integration_in(tx, connection.integration_row_id):
            await self._finish_environment_in(tx, connection.environment_id)
        return True

    async def _finish_integration_in(self, tx: Tx, integration_row_id: int) -> bool:
        """Let an integration be gone if it is being deleted and no connection is left.

        Held before counting: two last cleanups that end at once would each still see the other's
        connection, and neither would finish.
        """
        if not await integration_rows.hold_deleting(tx, integration_row_id):
            return False
        if await rows.count_unfinished(tx, integration_row_id):
            return False
        await integration_rows.finish_deletion(tx, integration_row_id)
        await self._rooms.faults.reached(Point.INTEGRATION_ERASED)
        return True

    async def _finish_environment_in(self, tx: Tx, environment_id: int) -> bool:
        if not await environment_rows.hold_deleting(tx, environment_id):
            return False
        if await integration_rows.count_unfinished(tx, environment_id):
            return False
        finished = await environment_rows.finish_deletion(tx, environment_id)
        await self._rooms.faults.reached(Point.ENVIRONMENT_ERASED)
        return finished

    # --- what the caller is told ------------------------------------------------------------

    async def _first_attempt(self, row_id: int) -> CleanupState:
        clock = self._rooms.clock
        give_up = clock.monotonic() + self._rooms.timing.deletion_s
        while True:
            state, attempted = await self._state(row_id)
            if attempted or clock.monotonic() >= give_up:
                return state
            await self._rooms.progress.wait(row_id, _LOOK_S)

    async def _state(self, row_id: int) -> tuple[CleanupState, bool]:
        """Return a deletion's state, and whether every cleanup has had its first attempt."""

        async def unit(tx: Tx) -> tuple[Connection | None, list[EventRow]]:
            connection = await rows.get(tx, row_id)
            return connection, await event_rows.of_connection(
                tx, row_id, Event.PRE_CONNECTION_DELETION
            )

        connection, cleanups = await self._rooms.store.read(unit)
        if connection is None or connection.state is ConnectionState.GONE:
            return "done", True
        if any(cleanup.state is EventState.PARKED for cleanup in cleanups):
            return "parked", not any(cleanup.is_unfinished for cleanup in cleanups)
        if any(cleanup.attempt > 0 and cleanup.is_unfinished for cleanup in cleanups):
            return "retrying", True
        return "pending", False


async def supersede_in(rooms: Rooms, tx: Tx, event: EventRow) -> None:
    """End a setup that a deletion makes pointless."""
    await event_rows.change(tx, event.id, state=EventState.SUPERSEDED.value, finished_at=tx.now)
    await rooms.operations.close_in(
        tx,
        event.operation_id,
        state="cancelled",
        message="The connection is being deleted, and this setup had left nothing behind.",
    )
