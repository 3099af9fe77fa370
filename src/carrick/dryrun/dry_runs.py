"""Running a function against a real connection without touching anything.

Reads are real. Writes are withheld and reported; metadata writes stay in the run. With `live` the
same run makes its writes, under the connection's mailbox like any other run.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from carrick.deployments import Bundle
from carrick.errors import InvalidBody, NotFound, UnknownFunction
from carrick.journal import Recorder
from carrick.lifecycle.attempts import Attempt, Ended, error_kind, in_words, run
from carrick.lifecycle.mailbox import Mailboxes
from carrick.lifecycle.rooms import Rooms
from carrick.model.connection import Connection
from carrick.model.environment import Environment
from carrick.model.event import Event, FunctionRef, Incomplete, Occasion, Succeeded
from carrick.operations import Opening
from carrick.runtime.subjects import DrySubject, Guard, LiveSubject, Place
from carrick.store.mailboxes import Lease

#: What an event is taken to be about when nobody says.
_DEFAULT_OCCASION = {
    Event.VALIDATE_CONNECTION: Occasion.RECONNECT,
    Event.POST_CONNECTION_CREATION: Occasion.CREATION,
    Event.PRE_CONNECTION_DELETION: Occasion.DELETION,
}
_POSSIBLE = {
    Event.VALIDATE_CONNECTION: {Occasion.CREATION, Occasion.RECONNECT, Occasion.IMPORT},
    Event.POST_CONNECTION_CREATION: {Occasion.CREATION, Occasion.RECONNECT, Occasion.IMPORT},
    Event.PRE_CONNECTION_DELETION: {Occasion.DELETION},
}


@dataclass(frozen=True)
class DryRunRequest:
    """What is to be tried."""

    environment: Environment
    function: str
    connection_id: str
    integration_id: str | None = None
    operation: str | None = None
    metadata: Mapping[str, Any] | None = None
    live: bool = False
    #: The local project's code; without it the deployed function runs.
    bundle: Bundle | None = None


@dataclass(frozen=True)
class DryRunReport:
    """What the function did, or would have done."""

    function: str
    integration_id: str
    connection_id: str
    event: str
    operation: str
    live: bool
    #: succeeded, incomplete, or the kind of error.
    outcome: str
    message: str
    detail: str
    log: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    metadata_before: dict[str, Any] = field(default_factory=dict)
    metadata_after: dict[str, Any] = field(default_factory=dict)
    operation_id: str = ""


@dataclass(frozen=True)
class _Trial:
    """A request, with what it turned out to be about."""

    request: DryRunRequest
    function: FunctionRef
    connection: Connection
    occasion: Occasion


class DryRuns:
    """Runs functions on trial."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._mailboxes = Mailboxes(rooms)

    async def run(self, request: DryRunRequest) -> DryRunReport:
        """Run a function against a connection and report what it did.

        Raises:
            UnknownFunction: There is no function by that name, or it is ambiguous.
            NotFound: There is no such connection.
            ProjectInvalid: The project that was sent does not compile.
        """
        functions = await self._functions(request)
        function, connection = await self._choose(request, functions)
        trial = _Trial(request, function, connection, _occasion(request, function))
        async with self._held(request, connection) as lease:
            subject = await self._subject(trial, lease)
            before, _ = await subject.metadata()
            ended = await self._run(trial, subject)
            after, _ = await subject.metadata()
        return _report(trial, ended, before=before, after=after)

    async def _functions(self, request: DryRunRequest) -> list[FunctionRef]:
        deployments, environment_id = self._rooms.deployments, request.environment.row_id
        if request.bundle is None:
            found = await deployments.functions(environment_id)
        else:
            found = await deployments.bundles.functions(environment_id, request.bundle)
            await deployments.bundles.keep(request.bundle)
        matching = [
            function
            for function in found
            if function.name == request.function
            and request.integration_id in (None, function.integration_id)
        ]
        if not matching:
            known = ", ".join(sorted({f.name for f in found})) or "none"
            raise UnknownFunction(
                f'There is no function "{request.function}". Known functions: {known}.'
            )
        return matching

    async def _choose(
        self, request: DryRunRequest, functions: list[FunctionRef]
    ) -> tuple[FunctionRef, Connection]:
        """Find the one integration that has both the function and the connection."""
        found = []
        for function in functions:
            connection = await self._rooms.connections.find(
                request.environment.row_id, function.integration_id, request.connection_id
            )
            if connection is not None:
                found.append((function, connection))
        if not found:
            names = ", ".join(sorted({f.integration_id for f in functions}))
            raise NotFound(f'There is no connection "{request.connection_id}" of {names}.')
        if len(found) > 1:
            names = ", ".join(function.integration_id for function, _ in found)
            raise UnknownFunction(
                f'"{request.function}" and this connection exist in {names}: '
                "say which one with --integration."
            )
        return found[0]

    @contextlib.asynccontextmanager
    async def _held(
        self, request: DryRunRequest, connection: Connection
    ) -> AsyncIterator[Lease | None]:
        if not request.live:
            yield None
            return
        async with self._mailboxes.waited_for(connection.row_id) as lease:
            yield lease

    async def _subject(self, trial: _Trial, lease: Lease | None) -> LiveSubject | DrySubject:
        rooms, request, connection = self._rooms, trial.request, trial.connection
        integration = await rooms.integrations.by_row(connection.integration_row_id)
        assert integration is not None
        guard = Guard(rooms.store, lease)
        live = LiveSubject(
            place=Place(
                request.environment,
                integration,
                rooms.catalogue.get(connection.provider),
                connection.connection_id,
            ),
            row_id=connection.row_id,
            guard=guard,
            recorder=Recorder(
                journal=rooms.journal,
                run_id=rooms.chance.uuid4(),
                function=trial.function.name,
                connection_row_id=connection.row_id,
                demand=guard.demand,
            ),
            store=rooms.store,
            connections=rooms.connections,
            fresh=rooms.fresh,
        )
        if request.live:
            return live
        overlay = dict(request.metadata) if request.metadata is not None else None
        return DrySubject(live, overlay, known_account=trial.occasion is not Occasion.CREATION)

    async def _run(self, trial: _Trial, subject: LiveSubject | DrySubject) -> Ended:
        rooms, request, function = self._rooms, trial.request, trial.function
        connection, occasion = trial.connection, trial.occasion
        live = subject if isinstance(subject, LiveSubject) else subject.inner
        operation_id = rooms.operations.new_id()
        opening = Opening(
            id=operation_id,
            environment_id=request.environment.row_id,
            type="function",
            action="dryrun",
            integration_id=function.integration_id,
            provider=connection.provider,
            connection_row_id=connection.row_id,
            connection_id=connection.connection_id,
            function=function.name,
            meta={"occasion": occasion.value, "live": request.live},
        )
        attempt = Attempt(
            function=function,
            run_id=live.recorder.run_id,
            number=1,
            occasion=occasion,
            operation_id=operation_id,
            started_at=rooms.clock.now(),
            timeout_s=function.declaration.timeout,
            lane="dryrun",
            connection_row_id=connection.row_id,
            mode="live" if request.live else "withhold",
            dry_run=not request.live,
            previous=_previous(connection) if occasion is Occasion.RECONNECT else None,
        )
        ended = await run(rooms, attempt, subject, live.recorder)
        good = isinstance(ended.outcome, Succeeded | Incomplete)
        rooms.operations.record(opening, state="success" if good else "failed")
        return ended


def _occasion(request: DryRunRequest, function: FunctionRef) -> Occasion:
    if request.operation is None:
        return _DEFAULT_OCCASION[function.event]
    possible = _POSSIBLE[function.event]
    try:
        occasion = Occasion(request.operation)
    except ValueError:
        occasion = None
    if occasion not in possible or occasion is None:
        names = ", ".join(sorted(one.value for one in possible))
        raise InvalidBody(f"A {function.event} function can be run for: {names}.")
    return occasion


def _previous(connection: Connection) -> dict[str, Any]:
    return {
        "metadata": dict(connection.metadata or {}),
        "connection_config": dict(connection.connection_config),
        "tags": dict(connection.tags),
    }


def _report(
    trial: _Trial, ended: Ended, *, before: dict[str, Any], after: dict[str, Any]
) -> DryRunReport:
    outcome, function = ended.outcome, trial.function
    return DryRunReport(
        function=function.name,
        integration_id=function.integration_id,
        connection_id=trial.connection.connection_id,
        event=function.event.value,
        operation=trial.occasion.value,
        live=trial.request.live,
        outcome=error_kind(outcome),
        message=in_words(outcome),
        detail=getattr(outcome, "detail", ""),
        log=ended.calls.logged,
        calls=[asdict(record) for record in ended.calls.records],
        metadata_before=before,
        metadata_after=after,
        operation_id=ended.calls.operation_id,
    )
