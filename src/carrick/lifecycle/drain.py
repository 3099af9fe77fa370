"""Working a mailbox off: due events one at a time, in order, under the mailbox's lease.

take → run → settle, which begins the next event that is due or lets go of the mailbox.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from carrick.errors import ResultLost
from carrick.journal import Recorder
from carrick.lifecycle.attempts import Attempt, run
from carrick.lifecycle.mailbox import Mailboxes
from carrick.lifecycle.rooms import Rooms
from carrick.lifecycle.settle import Settle, Tried
from carrick.lifecycle.turns import Turns
from carrick.model.connection import Connection, ConnectionState
from carrick.model.event import (
    Declaration,
    Effect,
    Event,
    FunctionRef,
    HostFailed,
    Outcome,
    Succeeded,
)
from carrick.model.faults import Point
from carrick.runtime.subjects import Guard, LiveSubject, Place
from carrick.store import events as event_rows
from carrick.store import mailboxes
from carrick.store.events import EventRow, EventState
from carrick.store.mailboxes import Lease, Mailbox
from carrick.store.unit import Tx
from carrick.vault import contexts

#: Interruptions after which a run gets a process of its own.
_ALONE_AFTER = 2


class Drain:
    """Drains mailboxes; the engine calls it whenever one may have something due."""

    def __init__(self, rooms: Rooms, mailboxes: Mailboxes, settle: Settle, turns: Turns) -> None:
        self._rooms = rooms
        self._mailboxes = mailboxes
        self._settle = settle
        self._turns = turns

    async def drain(self, connection_row_id: int) -> None:
        """Run what is due in one connection's mailbox; nothing if somebody else holds it."""
        taken = await self._take(connection_row_id)
        if taken is None:
            return
        lease = taken[0]
        event: EventRow | None = taken[1]
        await self._rooms.faults.reached(Point.EVENT_TAKEN)
        async with self._mailboxes.held(lease):
            with contextlib.suppress(ResultLost):  # taken over: the new holder does the rest
                while event is not None:
                    tried = await self._run(lease, event)
                    await self._ended(event, tried.outcome)
                    tried = self._judged(event, tried)
                    event = await self._settle.settle(lease, event, tried, then=self._next_in)
                    self._rooms.progress.announce(connection_row_id)

    async def _take(self, connection_row_id: int) -> tuple[Lease, EventRow] | None:
        """Take a mailbox that has something due, and begin it, in one transaction."""
        owner = self._mailboxes.new_owner()

        async def unit(tx: Tx) -> tuple[Lease, EventRow] | None:
            lease = await mailboxes.acquire(tx, connection_row_id, owner)
            if lease is None:
                return None
            event = await self._next_in(tx, lease)
            return (lease, event) if event is not None else None

        return await self._rooms.store.write(unit)

    async def _next_in(self, tx: Tx, lease: Lease) -> EventRow | None:
        """Begin the first event if it is due; else give the mailbox up.

        The transaction holds the connection's row by now, and whoever writes an event touches that
        row. So an event is either seen here, or written when the mailbox is free again and its own
        wake-up finds it so: nothing falls between the last look and letting go.
        """
        event = await event_rows.head(tx, lease.connection_row_id)
        if event is None or event.due_at > tx.now:
            await self._rooms.faults.reached(Point.LAST_LOOK)
            await mailboxes.release(tx, lease)
            return None
        await event_rows.change(
            tx,
            event.id,
            state=EventState.RUNNING.value,
            # One that was running already was taken from a holder that is gone.
            interruptions=event.interruptions + (event.state is EventState.RUNNING),
            first_started_at=event.first_started_at or tx.now,
        )
        await self._rooms.operations.start_in(tx, event.operation_id)
        return await event_rows.get(tx, event.id)

    # --- one attempt ------------------------------------------------------------------------

    async def _run(self, lease: Lease, event: EventRow) -> Tried:
        connection = await self._rooms.connections.by_row(event.connection_row_id)
        if connection is None or connection.state is ConnectionState.GONE:
            return _not_run(event, "the connection is gone")
        function = await self._rooms.deployments.resolve(
            event.environment_id, connection.integration_id, event.function, event.event
        )
        if function is None:
            return _not_run(event, f"no deployment has a function named {event.function}")
        if self._settle.too_often_interrupted(event):
            return _not_run(event, f"it was interrupted {event.interruptions} times")
        subject, recorder = await self._subject(lease, event, connection, function)
        attempt = await self._attempt(event, function)
        await self._rooms.faults.reached(Point.ATTEMPT_BEGUN)
        ended = await run(self._rooms, attempt, subject, recorder)
        return Tried(ended.outcome, function.declaration)

    async def _ended(self, event: EventRow, outcome: Outcome) -> None:
        faults = self._rooms.faults
        await faults.reached(Point.ATTEMPT_ENDED)
        if event.event is Event.PRE_CONNECTION_DELETION and isinstance(outcome, Succeeded):
            await faults.reached(Point.AFTER_CLEANUP)

    def _judged(self, event: EventRow, tried: Tried) -> Tried:
        """Learn from an attempt, and say whether it is to be blamed on its provider."""
        turns, integration = self._turns, event.integration_row_id
        turns.note(integration, event.connection_row_id, tried.outcome)
        return replace(tried, is_provider_away=turns.is_away(integration, tried.outcome))

    async def _subject(
        self, lease: Lease, event: EventRow, connection: Connection, function: FunctionRef
    ) -> tuple[LiveSubject, Recorder]:
        rooms = self._rooms
        environment = await rooms.environments.get(event.environment_id)
        integration = await rooms.integrations.by_row(event.integration_row_id)
        assert environment is not None, "an environment outlives its events"
        assert integration is not None, "an integration outlives its events"
        self._turns.learn(integration)
        guard = Guard(rooms.store, lease)
        recorder = Recorder(
            journal=rooms.journal,
            run_id=event.run_id,
            function=event.function,
            connection_row_id=connection.row_id,
            demand=guard.demand,
            park_unknown=function.declaration.on_unknown == "park",
        )
        subject = LiveSubject(
            place=Place(
                environment,
                integration,
                rooms.catalogue.get(connection.provider),
                connection.connection_id,
            ),
            row_id=connection.row_id,
            guard=guard,
            recorder=recorder,
            store=rooms.store,
            connections=rooms.connections,
            fresh=rooms.fresh,
            for_cleanup=connection.state is ConnectionState.DELETING,
        )
        return subject, recorder

    async def _attempt(self, event: EventRow, function: FunctionRef) -> Attempt:
        rooms = self._rooms
        previous = None
        if event.previous is not None:
            context = contexts.previous(event.run_id)
            previous = rooms.vault.open_json(event.previous, context=context)
        return Attempt(
            function=function,
            run_id=event.run_id,
            number=event.attempt + 1,
            occasion=event.occasion,
            operation_id=event.operation_id,
            started_at=event.first_started_at or rooms.clock.now(),
            timeout_s=function.declaration.timeout,
            lane="lifecycle",
            connection_row_id=event.connection_row_id,
            alone=event.interruptions >= _ALONE_AFTER,
            previous=previous,
            effects=await self._effects(event),
        )

    async def _effects(self, event: EventRow) -> list[Effect]:
        """Return what failed setups left behind, for a cleanup to see."""
        if event.event is not Event.PRE_CONNECTION_DELETION:
            return []

        async def unit(tx: Tx) -> list[Effect]:
            setups = await event_rows.of_connection(
                tx, event.connection_row_id, Event.POST_CONNECTION_CREATION
            )
            failed = [setup.run_id for setup in setups if setup.state is EventState.FAILED]
            return await self._rooms.journal.effects_in(tx, failed)

        return await self._rooms.store.read(unit)

    async def due(self, most: int) -> list[Mailbox]:
        """Return the mailboxes with something due and no holder, for the sweep.

        Args:
            most: Of one integration, so that one that has many does not hide the others.
        """

        async def unit(tx: Tx) -> list[Mailbox]:
            return await event_rows.due_mailboxes(tx, most)

        return await self._rooms.store.read(unit, scans=True)


def _not_run(event: EventRow, reason: str) -> Tried:
    return Tried(HostFailed(reason), Declaration(event.event, "not run"))
