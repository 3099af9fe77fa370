"""The verdict on a candidate: accepted, refused, or undecided. Three answers, never two.

A function that says no, a provider that answers 401 or 403, and a function that is broken refuse.
A provider that is silent or ill, a time limit, and a process that was lost decide nothing: they
are tried again while time remains, and then the caller is told to come back later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from carrick.journal import Recorder
from carrick.lifecycle.attempts import Attempt, error_kind, in_words, run
from carrick.lifecycle.rooms import Rooms
from carrick.model.event import (
    ActionRefused,
    Defective,
    FunctionRef,
    Occasion,
    Outcome,
    ProviderFailed,
    RunnerLost,
    Succeeded,
)
from carrick.runtime.subjects import CandidateSubject

#: Characters of an author's message that reach the end user.
MAX_MESSAGE = 1000
#: Seconds between tries of an undecided validation; the last one repeats.
_PAUSES_S = (0.25, 0.5, 1.0, 2.0)
#: After so many processes that ended under a function that was alone in them, another is not
#: worth a caller's time: the platform may be at fault or the function, and it stays undecided.
_MOST_LOST = 3
#: Less time than this is not worth another try.
_WORTH_A_TRY_S = 0.5

GENERIC = "The connection could not be validated."


@dataclass(frozen=True)
class Accepted:
    """Every check passed."""


@dataclass(frozen=True)
class Refused:
    """A check said no. `message` is for the end user, `detail` for the log."""

    message: str
    detail: str
    kind: str


@dataclass(frozen=True)
class Undecided:
    """No check could say yes or no in the time there was."""

    detail: str


Verdict = Accepted | Refused | Undecided


@dataclass
class Validation:
    """The validation of one candidate on one journey."""

    rooms: Rooms
    subject: CandidateSubject
    occasion: Occasion
    operation_id: str
    run_ids: list[str] = field(default_factory=list)

    async def verdict(self, functions: Sequence[FunctionRef]) -> Verdict:
        """Run every function in declared order and stop at the first that does not accept."""
        deadline = self.rooms.clock.monotonic() + self.rooms.timing.validation_s
        for function in functions:
            verdict = await self._one(function, deadline)
            if not isinstance(verdict, Accepted):
                return verdict
        return Accepted()

    async def _one(self, function: FunctionRef, deadline: float) -> Verdict:
        clock = self.rooms.clock
        run_id = self.rooms.chance.uuid4()
        self.run_ids.append(run_id)
        started_at, number, lost = clock.now(), 0, 0
        while True:
            number += 1
            left = deadline - clock.monotonic()
            attempt = Attempt(
                function=function,
                run_id=run_id,
                number=number,
                occasion=self.occasion,
                operation_id=self.operation_id,
                started_at=started_at,
                timeout_s=max(_WORTH_A_TRY_S, min(function.declaration.timeout, left)),
                lane="validation",
                alone=number > 2,
                previous=self._previous(),
            )
            self.subject.begin_attempt()
            ended = await run(self.rooms, attempt, self.subject, self._recorder(function, run_id))
            verdict = read_verdict(ended.outcome)
            if not isinstance(verdict, Undecided):
                return verdict
            self.subject.undo_attempt()
            lost += isinstance(ended.outcome, RunnerLost) and ended.outcome.own_fault
            pause = _pause(ended.outcome, number)
            if lost >= _MOST_LOST or deadline - clock.monotonic() < pause + _WORTH_A_TRY_S:
                return verdict
            await clock.sleep(pause)

    def _previous(self) -> dict[str, object] | None:
        existing = self.subject.existing
        if existing is None:
            return None
        return {
            "metadata": dict(existing.metadata or {}),
            "connection_config": dict(existing.connection_config),
            "tags": dict(existing.tags),
        }

    def _recorder(self, function: FunctionRef, run_id: str) -> Recorder:
        existing = self.subject.existing
        return Recorder(
            journal=self.rooms.journal,
            run_id=run_id,
            function=function.name,
            connection_row_id=existing.row_id if existing is not None else None,
            demand=self.subject.demand,
            park_unknown=function.declaration.on_unknown == "park",
        )


def read_verdict(outcome: Outcome) -> Verdict:
    """Read an attempt's outcome as a verdict (DESIGN.md §2.2, step 5)."""
    detail, kind = in_words(outcome), error_kind(outcome)
    match outcome:
        case Succeeded():
            return Accepted()
        case ActionRefused():
            return Refused((outcome.message or GENERIC)[:MAX_MESSAGE], detail, kind)
        case ProviderFailed(status=status) if _says_no(status):
            return Refused("The provider did not accept these credentials.", detail, kind)
        case ProviderFailed(status=status) if _could_not_tell(status):
            return Undecided(detail)
        case ProviderFailed() | Defective():
            return Refused(GENERIC, detail, kind)
    return Undecided(detail)


def _says_no(status: int | None) -> bool:
    return status in (401, 403)


def _could_not_tell(status: int | None) -> bool:
    return status is None or status in (408, 429) or status >= 500


def _pause(outcome: Outcome, number: int) -> float:
    if isinstance(outcome, ProviderFailed) and outcome.retry_after_s is not None:
        return outcome.retry_after_s
    return _PAUSES_S[min(number, len(_PAUSES_S)) - 1]
