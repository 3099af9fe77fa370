"""One attempt of one function: its facts, its calls, its process, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Literal

from carrick.journal import Recorder
from carrick.lifecycle.rooms import Rooms
from carrick.model.event import (
    ActionRefused,
    Defective,
    Effect,
    FunctionRef,
    Occasion,
    Outcome,
    Succeeded,
    UnknownWrite,
)
from carrick.operations import Scrubber
from carrick.runtime.calls import Mode, RunCalls
from carrick.runtime.pool import Job
from carrick.runtime.subjects import Subject
from carrick.sdk import Facts


@dataclass(frozen=True)
class Attempt:
    """What is about to be run."""

    function: FunctionRef
    run_id: str
    number: int
    occasion: Occasion
    operation_id: str
    started_at: datetime
    timeout_s: float
    lane: Literal["validation", "lifecycle", "dryrun"]
    connection_row_id: int | None = None
    alone: bool = False
    mode: Mode = "live"
    dry_run: bool = False
    previous: Mapping[str, Any] | None = None
    effects: Sequence[Effect] = field(default=())


@dataclass(frozen=True)
class Ended:
    """What became of an attempt, and the calls it made."""

    outcome: Outcome
    calls: RunCalls


async def run(rooms: Rooms, attempt: Attempt, subject: Subject, recorder: Recorder) -> Ended:
    """Run a function once, against a subject, under its time limit."""
    scrubber = _scrubber(subject)
    calls = RunCalls(
        services=rooms.calls,
        function=attempt.function,
        subject=subject,
        recorder=recorder,
        operation_id=attempt.operation_id,
        scrubber=scrubber,
        connection_row_id=attempt.connection_row_id,
        deadline=rooms.clock.monotonic() + attempt.timeout_s,
        mode=attempt.mode,
    )
    outcome = await rooms.pool.run(_job(attempt, subject), calls)
    if calls.stopped_at is not None and not isinstance(outcome, Succeeded):
        outcome = UnknownWrite(calls.stopped_at.method, calls.stopped_at.endpoint)
    outcome = _scrubbed(outcome, scrubber, rooms.operations.scrubber)
    _note(rooms, attempt, outcome)
    return Ended(outcome, calls)


def _job(attempt: Attempt, subject: Subject) -> Job:
    place, declaration = subject.place, attempt.function.declaration
    facts = Facts(
        connection_id=place.connection_id,
        integration_id=place.integration.integration_id,
        provider=place.provider.name,
        environment=place.environment.name,
        event=declaration.event.value,
        operation=attempt.occasion.value,
        run_id=attempt.run_id,
        attempt=attempt.number,
        dry_run=attempt.dry_run,
        started_at=attempt.started_at.isoformat(),
        previous=dict(attempt.previous) if attempt.previous is not None else None,
        effects=[asdict(effect) for effect in attempt.effects],
        variables=list(declaration.variables),
        credentials=declaration.credentials,
    )
    return Job(
        bundle_id=attempt.function.bundle_id,
        lane=attempt.lane,
        integration_id=attempt.function.integration_id,
        function=attempt.function.name,
        facts=facts,
        timeout_s=attempt.timeout_s,
        alone=attempt.alone or declaration.isolation == "run",
    )


def _scrubber(subject: Subject) -> Scrubber:
    scrubber = Scrubber()
    integration = subject.place.integration
    secrets = dict(integration.credentials or {})
    names = ("client_secret", "webhook_secret", "private_key")
    scrubber.add(str(secrets[name]) for name in names if secrets.get(name))
    scrubber.add(integration.custom.values())
    specs = subject.place.provider.integration_config
    scrubber.add(
        value
        for name, value in integration.integration_config.items()
        if name not in specs or specs[name].secret
    )
    return scrubber


def _scrubbed(outcome: Outcome, *scrubbers: Scrubber) -> Outcome:
    """Return an outcome that may be shown: whatever a function says can hold what it was given."""
    said = {each.name: getattr(outcome, each.name) for each in fields(outcome)}
    for scrubber in scrubbers:
        said = {name: scrubber.scrub(value) for name, value in said.items()}
    return replace(outcome, **said)


def _note(rooms: Rooms, attempt: Attempt, outcome: Outcome) -> None:
    level = "info" if isinstance(outcome, Succeeded) else "error"
    fields: dict[str, Any] = {"attempt": attempt.number, "function": attempt.function.name}
    if isinstance(outcome, Defective) and outcome.detail:
        fields["detail"] = outcome.detail
    if isinstance(outcome, ActionRefused) and not isinstance(outcome.payload, str | None):
        fields["payload"] = outcome.payload
    message = f"{attempt.function.name}, attempt {attempt.number}: {in_words(outcome)}"
    rooms.operations.note(attempt.operation_id, level, message, **fields)


def in_words(outcome: Outcome) -> str:
    """Say what became of an attempt in a sentence for the operation log."""
    match outcome:
        case Succeeded():
            return "done"
        case Defective():
            return f"raised: {outcome.message}"
        case UnknownWrite():
            return f"stopped at {outcome.method} {outcome.endpoint}, whose outcome is unknown"
    name = type(outcome).__name__
    words = {
        "ActionRefused": lambda o: f"refused: {o.message or 'without a message'}",
        "ProviderFailed": lambda o: (
            f"the provider answered {o.status}" if o.status else f"no answer: {o.message}"
        ),
        "TimedOut": lambda o: f"stopped after its time limit of {o.timeout_s:g} s",
        "RunnerLost": lambda o: f"its process ended: {o.reason}",
        "HostFailed": lambda o: f"could not be run: {o.reason}",
        "Incomplete": lambda o: f"incomplete: {o.reason}",
    }
    return words[name](outcome)


def error_kind(outcome: Outcome) -> str:
    """Return the word under which a failed attempt is filed."""
    return {
        "ActionRefused": "action_error",
        "ProviderFailed": "provider_error",
        "Defective": "function_failed",
        "TimedOut": "function_timeout",
        "RunnerLost": "runner_lost",
        "UnknownWrite": "unknown_write",
        "HostFailed": "host_failed",
        "Incomplete": "incomplete",
    }.get(type(outcome).__name__, "succeeded")
