"""One runner process as the host sees it: started, watched, given runs, and ended for certain."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

from carrick.model.clock import Clock
from carrick.model.event import HostFailed, Outcome, RunnerLost, TimedOut
from carrick.runner.wire import (
    Call,
    Cancel,
    Done,
    Failed,
    Preload,
    Ready,
    Run,
    Started,
    decode_from_runner,
)
from carrick.runtime.assignment import Assignment, NotStarted
from carrick.runtime.isolation import Isolation
from carrick.runtime.jobs import BundleDir, HostCalls, Job
from carrick.runtime.limits import RunnerLimits, resident_bytes
from carrick.runtime.outcomes import outcome_of
from carrick.runtime.spawn import Child, spawn

#: Seconds between two looks at a runner, and looks without a sign of life until it counts as late:
#: together a little more than a second. Looks are counted, not seconds, so that a host that was
#: itself held up does not blame its runners.
LOOK_S = 0.25
_LATE_LOOKS = 5
_LIVELY_LOOKS = 2
#: Seconds a run that nobody waits for any more has to stop before its runner is ended.
_DROPPED_S = 5.0
#: Seconds a process that let go of its socket has to end by itself.
_LAST_BREATH_S = 0.5


class StartFailed(Exception):
    """A runner could not be started."""


class RunnerProcess:
    """A runner of one bundle, from its start to its certain end."""

    def __init__(self, limits: RunnerLimits, clock: Clock, on_change: Callable[[], None]) -> None:
        """Build it.

        Args:
            limits: What it gets.
            clock: For time limits.
            on_change: Told when it can take another run, and when it has ended.
        """
        self._limits = limits
        self._clock = clock
        self._on_change = on_change
        self._child: Child | None = None
        self._assignments: dict[int, Assignment] = {}
        self._numbers = itertools.count(1)
        self._waiting = 0
        self._up = asyncio.Event()
        self._gone = asyncio.Event()
        self._is_ending = False
        self._is_burying = False
        self._reason: str | None = None
        self._looks_without_sign = 0
        self._signs = 0
        #: Runs that may have written what its process said last.
        self._voices = 0
        self._background: set[asyncio.Task[None]] = set()
        self.idle_since = clock.monotonic()
        #: Whether there may be a process already: its start must not be cancelled then.
        self.has_begun = False

    # --- what the pool asks -----------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """The process id, once there is one."""
        return self._child.pid if self._child is not None else None

    @property
    def load(self) -> int:
        """Runs inside, and runs that wait for it to come up."""
        return len(self._assignments) + self._waiting

    @property
    def is_up(self) -> bool:
        """Whether it has reported."""
        return self._up.is_set()

    @property
    def has_ended(self) -> bool:
        """Whether it takes no more runs, ever."""
        return self._is_ending or self._gone.is_set()

    @property
    def is_gone(self) -> bool:
        """Whether nothing of it is left."""
        return self._gone.is_set()

    @property
    def is_late(self) -> bool:
        """Whether its loop has missed more than a second of signs of life."""
        return self.is_up and self._looks_without_sign >= _LATE_LOOKS

    def look(self) -> None:
        """Count one look at it; take back the runs that a blocked loop never started."""
        if not self.is_up or self.has_ended:
            return
        self._looks_without_sign += 1
        if self.is_late:
            for one in self._assignments.values():
                if not one.has_started and not one.outcome.done():
                    self._send(Cancel(one.number))
                    one.end(NotStarted())

    def weigh(self) -> None:
        """End it if it takes more memory than it may."""
        if self._child is None or self.has_ended:
            return
        limit = self._limits.memory_bytes
        if resident_bytes(self._child.pid) > limit:
            alone = len(self._assignments) == 1
            self.kill(f"it went over the memory limit of {limit >> 20} MiB", own_fault=alone)

    # --- start and end ----------------------------------------------------------------------

    async def start(self, bundle: BundleDir | None, isolation: Isolation) -> None:
        """Start the process and wait until it reports.

        Raises:
            StartFailed: It did not; the message says why.
        """
        memory = self._limits.memory_bytes
        self.has_begun = True
        try:
            self._child = await spawn(bundle, memory, isolation, self._receive, self._hung_up)
        except OSError as error:
            self.abandon()
            raise StartFailed(f"no process could be started ({error})") from error
        except BaseException:
            self.abandon()
            raise
        self._in_background(self._notice_exit(self._child))
        if self._is_ending:  # meanwhile nobody wants it any more
            self._child.kill()
        try:
            await self._first_of(self._up, self._gone, seconds=self._limits.start_s)
        finally:
            if not self.is_up:
                self.kill(f"it did not report within {self._limits.start_s:g} s")
        if not self.is_up:
            await self._gone.wait()
            raise StartFailed(f"a runner ended while it was starting: {self._reason}")

    def abandon(self) -> None:
        """Give it up before there is a process."""
        self._is_ending = True
        self._gone.set()
        self._on_change()

    def kill(self, reason: str, *, own_fault: bool = False) -> None:
        """End it now, and with it every run inside."""
        if self._is_ending:
            return
        self._is_ending = True
        self._reason = reason
        for one in self._assignments.values():
            one.end(RunnerLost(reason, own_fault=own_fault))
        if self._child is not None:
            self._child.kill()

    async def wait_until_gone(self) -> None:
        """Wait until nothing of it is left."""
        await self._gone.wait()
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _notice_exit(self, child: Child) -> None:
        # The socket alone does not tell: a process that it forked may hold the other end open.
        await child.process.wait()
        self._hung_up(None)

    def _hung_up(self, fault: str | None) -> None:
        """The process has ended, or sent what ends it."""
        if self._is_burying:
            return
        self._is_burying = True
        if not self._is_ending:
            self._is_ending = True
            self._reason = fault
        self._in_background(self._bury())

    async def _bury(self) -> None:
        assert self._child is not None
        if self._reason is None:
            # It ends by itself: let it, so that how it ended can be told.
            exit_seen = asyncio.ensure_future(self._child.process.wait())
            await self._first_of(exit_seen, seconds=_LAST_BREATH_S)
            exit_seen.cancel()
        has_exited = self._child.process.returncode is not None
        self._child.kill()
        end = await self._child.wait()
        if self._reason is None:
            # What one customer's run wrote is not for another's log.
            self._reason = f"{end.how}: {end.said}" if end.said and self._voices <= 1 else end.how
        started = [one for one in self._assignments.values() if one.has_started]
        own_fault = len(started) == 1 and not (has_exited and end.is_kill)
        for one in self._assignments.values():
            if one.has_started:
                one.end(RunnerLost(self._reason, own_fault=own_fault))
            else:
                one.end(NotStarted())
            one.gone.set()
        self._assignments.clear()
        self._gone.set()
        self._on_change()

    # --- runs -------------------------------------------------------------------------------

    async def wait_for(self, starting: asyncio.Future[None]) -> None:
        """Keep a place in it until it has started.

        Raises:
            StartFailed: It could not be started.
        """
        if starting.done() and not starting.cancelled() and starting.exception() is None:
            return
        self._waiting += 1
        try:
            await asyncio.shield(starting)
        finally:
            self._waiting -= 1

    async def execute(self, job: Job, host: HostCalls) -> Outcome:
        """Run a function here, and see to it that it ends by its time limit.

        Raises:
            NotStarted: It never began here and may be given to another runner.
        """
        if self.has_ended or self._child is None:
            raise NotStarted
        if not self._assignments:
            self._voices = 0
            self._child.words.forget()
        self._voices += 1
        one = Assignment(next(self._numbers), host, self._child.channel)
        self._assignments[one.number] = one
        self._send(Run(one.number, job.integration_id, job.function, job.facts))
        timer = asyncio.ensure_future(self._clock.sleep(job.timeout_s))
        ends: set[asyncio.Future[Any]] = {one.outcome, timer}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not one.outcome.done():
                await self._stop(one, job.timeout_s)
        except asyncio.CancelledError:
            one.end(HostFailed("the run was given up"))
            self._drop(one)
            raise
        finally:
            timer.cancel()
        if one.has_host_failed:
            self._drop(one)
        outcome = one.outcome.result()
        if isinstance(outcome, NotStarted):
            raise outcome
        return outcome

    async def _stop(self, one: Assignment, timeout_s: float) -> None:
        """Stop a run that passed its time limit: by asking, and if that does not do, by force."""
        one.expired_s = timeout_s
        signs = self._signs
        self._send(Cancel(one.number))
        if self._looks_without_sign <= _LIVELY_LOOKS:
            await self._first_of(one.outcome, seconds=self._limits.grace_s)
        if one.outcome.done():
            return
        # The loop turns and the run goes on: it refuses to stop. A loop that stands still may be
        # anybody's doing, unless nobody else is inside.
        is_culprit = self._signs != signs or len(self._assignments) == 1
        reason = f"a run passed its time limit of {timeout_s:g} s and did not stop"
        one.end(TimedOut(timeout_s) if is_culprit else RunnerLost(reason, own_fault=False))
        self.kill(reason)

    def _drop(self, one: Assignment) -> None:
        """Stop a run whose outcome is settled already."""
        if one.number in self._assignments and not self.has_ended:
            self._send(Cancel(one.number))
            self._in_background(self._demand_gone(one))

    async def _demand_gone(self, one: Assignment) -> None:
        await self._first_of(one.gone, seconds=_DROPPED_S)
        if not one.gone.is_set():
            self.kill("a run that was given up did not stop")

    def preload(self) -> None:
        """Have it import every function of its bundle."""
        self._send(Preload())

    # --- what it says -----------------------------------------------------------------------

    def _receive(self, frame: bytes) -> None:
        message = decode_from_runner(frame)
        self._looks_without_sign = 0
        self._signs += 1
        match message:
            case Ready():
                self._up.set()
            case Started():
                if message.run in self._assignments:
                    self._assignments[message.run].has_started = True
            case Call():
                self._take_call(message)
            case Done():
                self._take_end(message)

    def _take_call(self, call: Call) -> None:
        one = self._assignments.get(call.run)
        if one is not None:
            one.take(call)
        else:
            self._send(Failed(call.run, call.call, "run_ended", "The run has ended."))

    def _take_end(self, done: Done) -> None:
        one = self._assignments.pop(done.run, None)
        if one is None:
            return
        one.end(TimedOut(one.expired_s) if one.expired_s is not None else outcome_of(done))
        one.gone.set()
        self.idle_since = self._clock.monotonic()
        self._on_change()

    # --- small things -----------------------------------------------------------------------

    def _send(self, message: Run | Cancel | Failed | Preload) -> None:
        if self._child is not None:
            self._child.channel.send(message)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _first_of(self, *what: asyncio.Event | asyncio.Future[Any], seconds: float) -> None:
        """Wait until one of them happens, or the time is over."""
        own: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._clock.sleep(seconds))]
        given: list[asyncio.Future[Any]] = []
        for one in what:
            if isinstance(one, asyncio.Event):
                own.append(asyncio.ensure_future(one.wait()))
            else:
                given.append(one)
        try:
            await asyncio.wait([*own, *given], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in own:
                task.cancel()
