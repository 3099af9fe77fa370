"""What an attempt's outcome does to its event: done, tried again, failed, or parked."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from carrick.lifecycle.attempts import error_kind, in_words
from carrick.lifecycle.delete import Delete, supersede_in
from carrick.lifecycle.mailbox import wake
from carrick.lifecycle.rooms import Rooms
from carrick.model.connection import Connection, ConnectionState, SetupState
from carrick.model.environment import Environment
from carrick.model.event import (
    ActionRefused,
    Declaration,
    Event,
    HostFailed,
    Outcome,
    ProviderFailed,
    RunnerLost,
    Succeeded,
    UnknownWrite,
)
from carrick.model.faults import Point
from carrick.notify import Fault, cleanup_parked, setup_failed
from carrick.store import connections as rows
from carrick.store import events as event_rows
from carrick.store import journal as journal_rows
from carrick.store import mailboxes, run_state
from carrick.store.events import EventRow, EventState
from carrick.store.mailboxes import Lease
from carrick.store.unit import Tx

_log = structlog.get_logger(__name__)

#: Interruptions in a row after which an event fails or parks.
MAX_INTERRUPTIONS = 10
#: Waits vary by this fraction, so that many retries do not come at once.
_JITTER = 0.2
_MAX_MESSAGE = 1000
#: How long after its first attempt an event is not charged for an outage of its provider, and the
#: longest that it waits then: an hour's outage ends nothing, and one for ever is told some time.
_OUTAGE_FORGIVEN = timedelta(hours=2)
_LONGEST_WAIT_IN_OUTAGE_S = 60.0


Next = Callable[[Tx, Lease], Awaitable[EventRow | None]]


@dataclass(frozen=True)
class Tried:
    """An attempt that has ended, judged by the declaration it ran under.

    Another deployment may be active by now; how often and when to try again is what the code that
    ran has said.
    """

    outcome: Outcome
    declaration: Declaration
    #: Whether it failed for no other reason than a provider that is away, for others too.
    is_provider_away: bool = False


@dataclass(frozen=True)
class _Case:
    """One attempt's outcome and everything it is judged by."""

    lease: Lease
    environment: Environment
    connection: Connection
    event: EventRow
    outcome: Outcome
    declaration: Declaration

    @property
    def is_setup_under_deletion(self) -> bool:
        """Whether the connection is being deleted while its setup is not done."""
        return (
            self.connection.state is ConnectionState.DELETING
            and self.event.event is Event.POST_CONNECTION_CREATION
        )


class Settle:
    """Writes what became of attempts."""

    def __init__(self, rooms: Rooms, delete: Delete) -> None:
        self._rooms = rooms
        self._delete = delete

    def too_often_interrupted(self, event: EventRow) -> bool:
        """Whether an event was taken away from its runner so often in a row that it is given up."""
        return event.interruptions >= MAX_INTERRUPTIONS

    async def settle(
        self, lease: Lease, event: EventRow, tried: Tried, *, then: Next
    ) -> EventRow | None:
        """Write an outcome, and everything that follows from it, in one transaction.

        Args:
            lease: Under which the event ran.
            event: What ran.
            tried: What became of it, and under which declaration.
            then: Begins the next event or gives the mailbox up, in the same transaction.

        Raises:
            ResultLost: Another node took the event over; this outcome no longer counts.
        """
        environment = await self._rooms.environments.get(event.environment_id)
        assert environment is not None, "environments are never removed while events are left"
        outcome = tried.outcome
        await self._rooms.operations.flush()

        async def unit(tx: Tx) -> EventRow | None:
            await mailboxes.demand(tx, lease)
            connection = await rows.get(tx, event.connection_row_id, lock=True)
            current = await event_rows.get(tx, event.id)
            assert connection is not None
            assert current is not None
            case = _Case(lease, environment, connection, current, outcome, tried.declaration)
            await run_state.release_locks_of(tx, event.run_id)
            if isinstance(outcome, Succeeded):
                await self._done(tx, case)
            elif _is_interruption(outcome) and not self.too_often_interrupted(event):
                await self._interrupted(tx, case)
            elif tried.is_provider_away and _is_forgiven(tx.now, case):
                await self._postponed(tx, case)
            else:
                await self._failed(tx, case)
            await self._delete.finish_in(tx, connection.row_id)
            following = await then(tx, lease)
            await self._rooms.faults.reached(Point.BEFORE_SETTLE)
            return following

        following = await self._rooms.store.write(unit)
        await self._rooms.faults.reached(Point.AFTER_SETTLE)
        return following

    # --- the five ends ----------------------------------------------------------------------

    async def _done(self, tx: Tx, case: _Case) -> None:
        event = case.event
        await event_rows.change(
            tx,
            event.id,
            state=EventState.DONE.value,
            finished_at=tx.now,
            error_kind=None,
            error_message=None,
            previous=None,
        )
        await run_state.clear_checkpoint(tx, case.connection.row_id, event.function)
        await self._rooms.operations.close_in(tx, event.operation_id, state="success")
        await self._show_setup(tx, case)

    async def _interrupted(self, tx: Tx, case: _Case) -> None:
        """Try again soon; the function is not to blame and no attempt is counted."""
        count = case.event.interruptions + 1
        await self._again(tx, case, wait_s=min(0.25 * 2**count, 30.0), interruptions=count)

    async def _postponed(self, tx: Tx, case: _Case) -> None:
        """Try again when the provider may be back; no attempt is counted."""
        wait_s = self._wait(case, case.event.attempt + 1, most_s=_LONGEST_WAIT_IN_OUTAGE_S)
        await self._again(tx, case, wait_s=wait_s, interruptions=0)
        note = partial(
            self._rooms.operations.note,
            case.event.operation_id,
            "warn",
            "The provider is away, for other connections as well: this attempt does not count",
        )
        tx.after_commit(note)

    async def _failed(self, tx: Tx, case: _Case) -> None:
        event, outcome, declaration = case.event, case.outcome, case.declaration
        attempt = event.attempt + 1
        if case.is_setup_under_deletion and not event.last_chance:
            if not await journal_rows.has_effects(tx, event.run_id):
                await supersede_in(self._rooms, tx, event)
                return
            await self._again(tx, case, wait_s=0, attempt=attempt, last=True)
            return
        final = event.last_chance or attempt >= declaration.max_attempts or _is_final(outcome)
        if final:
            await self._give_up(tx, case, attempt)
        else:
            # An attempt that came to its end shows that what interrupted earlier ones has passed.
            interruptions = event.interruptions if isinstance(outcome, RunnerLost) else 0
            await self._again(
                tx,
                case,
                wait_s=self._wait(case, attempt),
                attempt=attempt,
                interruptions=interruptions,
            )

    async def _give_up(self, tx: Tx, case: _Case, attempt: int) -> None:
        event, kind = case.event, error_kind(case.outcome)
        cleanup = event.event is Event.PRE_CONNECTION_DELETION
        message = in_words(case.outcome)[:_MAX_MESSAGE]
        await event_rows.change(
            tx,
            event.id,
            state=(EventState.PARKED if cleanup else EventState.FAILED).value,
            attempt=attempt,
            last_chance=False,
            error_kind=kind,
            error_message=message,
            finished_at=tx.now,
        )
        await self._rooms.operations.close_in(
            tx,
            event.operation_id,
            state="failed",
            error={"code": kind, "message": message},
            message="parked: a person has to retry or force it" if cleanup else None,
        )
        build = cleanup_parked if cleanup else setup_failed
        told = build(
            self._rooms.facts(case.environment, case.connection),
            function=event.function,
            operation_id=event.operation_id,
            fault=Fault(kind, message),
        )
        await self._rooms.notifier.write_in(tx, told)
        await self._show_setup(tx, case)
        tx.after_commit(partial(_log_given_up, case, kind))

    # --- pieces -----------------------------------------------------------------------------

    async def _again(
        self,
        tx: Tx,
        case: _Case,
        *,
        wait_s: float,
        attempt: int | None = None,
        interruptions: int | None = None,
        last: bool = False,
    ) -> None:
        event = case.event
        await event_rows.change(
            tx,
            event.id,
            state=EventState.WAITING.value,
            attempt=event.attempt if attempt is None else attempt,
            interruptions=event.interruptions if interruptions is None else interruptions,
            last_chance=last or event.last_chance,
            due_at=tx.now + timedelta(seconds=wait_s),
            error_kind=error_kind(case.outcome),
            error_message=in_words(case.outcome)[:_MAX_MESSAGE],
        )
        again = await event_rows.get(tx, event.id)
        assert again is not None
        await wake(self._rooms, tx, again, again=case.lease.fence)

    def _wait(self, case: _Case, attempt: int, *, most_s: float = math.inf) -> float:
        outcome = case.outcome
        wait_s = min(case.declaration.wait_after(attempt), most_s)
        wait_s = self._rooms.chance.spread(wait_s, _JITTER)
        if isinstance(outcome, ProviderFailed) and outcome.retry_after_s is not None:
            return max(wait_s, outcome.retry_after_s)
        return wait_s

    async def _show_setup(self, tx: Tx, case: _Case) -> None:
        """Show on the connection what became of its setups."""
        connection = case.connection
        if case.event.event is not Event.POST_CONNECTION_CREATION:
            return
        setups = await event_rows.of_connection(
            tx, connection.row_id, Event.POST_CONNECTION_CREATION
        )
        latest = {setup.function: setup.state for setup in setups}
        if any(state.value in event_rows.UNFINISHED for state in latest.values()):
            shown = SetupState.PENDING
        elif EventState.FAILED in latest.values():
            shown = SetupState.FAILED
        else:
            shown = SetupState.DONE
        await rows.change(tx, connection.row_id, {"setup": shown.value})


def _log_given_up(case: _Case, kind: str) -> None:
    """Tell whoever reads the server's log where to look; what was said is in the operation."""
    event = case.event
    _log.warning(
        "cleanup_parked" if event.event is Event.PRE_CONNECTION_DELETION else "setup_failed",
        environment=case.environment.name,
        integration=case.connection.integration_id,
        function=event.function,
        operation=event.operation_id,
        reason=kind,
    )


def _is_forgiven(now: datetime, case: _Case) -> bool:
    """Whether a failure that is the provider's is not held against the event.

    A deletion waits for a setup that is cut short, so that one has to end.
    """
    since = case.event.first_started_at or now
    return now - since < _OUTAGE_FORGIVEN and not case.is_setup_under_deletion


def _is_interruption(outcome: Outcome) -> bool:
    return isinstance(outcome, HostFailed) or (
        isinstance(outcome, RunnerLost) and not outcome.own_fault
    )


def _is_final(outcome: Outcome) -> bool:
    return isinstance(outcome, ActionRefused | UnknownWrite | HostFailed)
