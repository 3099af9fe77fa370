"""Warm runner processes, shared by the runs of a bundle: one group per bundle and lane.

A run goes to a runner of its group that has room and shows signs of life; where there is none,
another is started. Lifecycle runs and dry runs wait when there are enough processes; validation,
where a person waits, never does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import structlog

from carrick.errors import CarrickError
from carrick.model.clock import Clock
from carrick.model.event import HostFailed, Outcome, RunnerLost
from carrick.runtime.assignment import NotStarted
from carrick.runtime.isolation import Isolation, choose_isolation
from carrick.runtime.jobs import BundleDir, HostCalls, Job, Lane
from carrick.runtime.limits import RunnerLimits
from carrick.runtime.process import LOOK_S, RunnerProcess, StartFailed

__all__ = ["BundleDir", "HostCalls", "Job", "Lane", "RunnerLimits", "RunnerPool"]

Materialise: TypeAlias = Callable[[str], Awaitable[BundleDir]]
_Key: TypeAlias = tuple[str, Lane]

#: How many runners a run is offered to before it counts as lost.
_PLACES = 3
#: Looks between two weighings, and between two tries of a pool that cannot start runners.
_WEIGH_EVERY = 2
_PROBE_EVERY = 20
#: Seconds between two replacements of a runner that is kept warm.
_REWARM_S = 5.0

_log = structlog.get_logger(__name__)


class _Seat:
    """A runner in the pool: what it serves, and its start."""

    def __init__(self, key: _Key | None, runner: RunnerProcess, *, is_shared: bool) -> None:
        self.key = key
        self.runner = runner
        self.is_shared = is_shared
        self.starting: asyncio.Future[None]


def _is_validation(seat: _Seat) -> bool:
    return seat.key is not None and seat.key[1] == "validation"


class RunnerPool:
    """Runs functions in child processes and answers with what became of them."""

    def __init__(
        self,
        limits: RunnerLimits,
        clock: Clock,
        materialise: Materialise,
        *,
        isolation: str = "auto",
    ) -> None:
        """Build it.

        Args:
            limits: What runners get.
            clock: For time limits and looks.
            materialise: Returns where a bundle's files lie.
            isolation: `auto`, `bubblewrap` or `none`.
        """
        self._limits = limits
        self._clock = clock
        self._materialise = materialise
        self._isolation_setting = isolation
        self._isolation: Isolation | None = None
        self._seats: list[_Seat] = []
        self._kept_warm: set[_Key] = set()
        self._broken: set[_Key] = set()
        #: Bundles whose files could not be put in place here.
        self._unready: set[str] = set()
        self._rewarm_at: dict[_Key, float] = {}
        self._changed = asyncio.Event()
        self._is_ready = False
        #: Why the last runner could not be started; `None` when it was.
        self.ailment: str | None = None
        self._is_closed = False
        self._watching: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[Any]] = set()

    # --- for the server ---------------------------------------------------------------------

    async def start(self) -> None:
        """Find out whether runners can be started here; `is_ready` says so from then on."""
        self._watch()
        await self._probe()

    def is_ready(self) -> bool:
        """Return whether functions can run: the last start of a runner worked."""
        return self._is_ready and not self._is_closed

    @property
    def isolation_report(self) -> str:
        """How runners are isolated, in a sentence."""
        return self._isolation.report if self._isolation else "No runner has been started yet."

    @property
    def processes(self) -> list[int]:
        """The process ids of the runners that are alive."""
        pids = (seat.runner.pid for seat in self._alive())
        return [pid for pid in pids if pid is not None]

    async def close(self) -> None:
        """End every runner and come back when nothing of them is left."""
        self._is_closed = True
        self._tell_changed()
        tasks = [*self._background, *([self._watching] if self._watching is not None else [])]
        for task in tasks:
            task.cancel()
        for seat in self._seats:
            if not seat.runner.has_begun:
                seat.starting.cancel()
            seat.runner.kill("the server is stopping")
        await asyncio.gather(
            *tasks, *(seat.starting for seat in self._seats), return_exceptions=True
        )
        await asyncio.gather(*(seat.runner.wait_until_gone() for seat in self._seats))
        self._seats.clear()

    # --- runs -------------------------------------------------------------------------------

    async def run(self, job: Job, host: HostCalls) -> Outcome:
        """Run a function once and return what became of it; it never raises for the function."""
        for _ in range(_PLACES):
            try:
                seat = await self._place(job)
            except StartFailed as error:
                return HostFailed(str(error))
            try:
                return await seat.runner.execute(job, host)
            except NotStarted:
                continue
            finally:
                if not seat.is_shared:
                    seat.runner.kill("its one run is over")
        return RunnerLost("no runner came to start it", own_fault=False)

    def isolated(self, readable: Sequence[Path]) -> Sequence[str]:
        """Return what comes before a command that must be as isolated as runners are."""
        return self._isolation.prefix(readable) if self._isolation is not None else ()

    async def warm(self, bundle_id: str, lane: Lane) -> None:
        """Keep a runner of this bundle at hand, with its functions imported."""
        key = (bundle_id, lane)
        self._kept_warm.add(key)
        self._broken.discard(key)
        seat = next(self._group(key), None)
        if seat is not None and seat.runner.is_up:
            seat.runner.preload()
            return
        if seat is None:
            seat = self._launch(key, is_shared=True)
        try:
            await seat.runner.wait_for(seat.starting)
        except StartFailed:
            return  # whoever runs something in it is told

    def cool(self, bundle_id: str) -> None:
        """Stop keeping runners of this bundle at hand; idle ones end after a while."""
        self._kept_warm = {key for key in self._kept_warm if key[0] != bundle_id}

    # --- where a run goes -------------------------------------------------------------------

    async def _place(self, job: Job) -> _Seat:
        key = (job.bundle_id, job.lane)
        while True:
            if self._is_closed:
                raise StartFailed("the server is stopping")
            seat = None if job.alone else self._with_room(key)
            if seat is None and self._may_launch(job.lane):
                seat = self._launch(key, is_shared=not job.alone)
            if seat is None and job.lane == "validation":
                seat = self._squeeze_in(job, key)
            if seat is None:
                await self._changed.wait()
                continue
            await seat.runner.wait_for(seat.starting)
            if not seat.runner.has_ended:
                return seat

    def _with_room(self, key: _Key) -> _Seat | None:
        for seat in self._group(key):
            if not seat.runner.is_late and seat.runner.load < self._limits.concurrency:
                return seat
        return None

    def _squeeze_in(self, job: Job, key: _Key) -> _Seat:
        """Return a place where there is none: somebody is waiting for the answer."""
        seats = sorted(self._group(key), key=lambda seat: (seat.runner.is_late, seat.runner.load))
        if job.alone or not seats:
            return self._launch(key, is_shared=not job.alone)
        return seats[0]

    def _group(self, key: _Key) -> Iterator[_Seat]:
        return (seat for seat in self._alive() if seat.key == key and seat.is_shared)

    def _alive(self) -> Iterator[_Seat]:
        return (seat for seat in self._seats if not seat.runner.has_ended)

    def _may_launch(self, lane: Lane) -> bool:
        """Whether there is a place for another process, or one can be made."""
        peers = [seat for seat in self._alive() if _is_validation(seat) == (lane == "validation")]
        return len(peers) < self._limits.max_processes or self._evict(peers)

    def _evict(self, seats: list[_Seat]) -> bool:
        """End the runner that has been idle longest; those that are kept warm come last."""
        idle = [seat for seat in seats if seat.runner.is_up and seat.runner.load == 0]
        if not idle:
            return False
        idle.sort(key=lambda seat: (seat.key in self._kept_warm, seat.runner.idle_since))
        idle[0].runner.kill("its place was needed")
        return True

    # --- processes --------------------------------------------------------------------------

    def _launch(self, key: _Key | None, *, is_shared: bool) -> _Seat:
        self._watch()
        runner = RunnerProcess(self._limits, self._clock, self._tell_changed)
        seat = _Seat(key, runner, is_shared=is_shared)
        seat.starting = asyncio.ensure_future(self._start(seat))
        # Nobody may be waiting for it any more when it fails.
        seat.starting.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._seats.append(seat)
        return seat

    async def _start(self, seat: _Seat) -> None:
        bundle = None
        try:
            if seat.key is not None:
                bundle = await self._materialised(seat.key[0])
            isolation = await self._chosen_isolation()
        except BaseException:
            seat.runner.abandon()
            raise
        try:
            await seat.runner.start(bundle, isolation)
        except StartFailed as error:
            self._note_ailment(str(error))
            if seat.key is not None:
                self._broken.add(seat.key)
            raise
        self._note_ailment(None)
        if seat.key is not None:
            self._broken.discard(seat.key)
            if seat.key in self._kept_warm and seat.is_shared:
                seat.runner.preload()

    def _note_ailment(self, reason: str | None) -> None:
        """Remember why no runner could be started; the log hears when that changes."""
        if self._is_closed:
            return  # one that was killed while it started: nothing is the matter
        if reason is not None and self.ailment is None:
            _log.error("runners_not_started", reason=reason)
        if reason is None and self.ailment is not None:
            _log.warning("runners_started")
        self.ailment, self._is_ready = reason, reason is None

    async def _materialised(self, bundle_id: str) -> BundleDir:
        try:
            found = await self._materialise(bundle_id)
        except (CarrickError, OSError) as error:
            if bundle_id not in self._unready:  # it is tried again and again
                self._unready.add(bundle_id)
                _log.error("deployment_not_ready", bundle=bundle_id[:16], reason=str(error))
            raise StartFailed(f"the deployment's files could not be made ready: {error}") from error
        if bundle_id in self._unready:
            self._unready.discard(bundle_id)
            _log.warning("deployment_ready", bundle=bundle_id[:16])
        return found

    async def _chosen_isolation(self) -> Isolation:
        if self._isolation is None:
            try:
                self._isolation = await choose_isolation(self._isolation_setting)
            except CarrickError as error:
                raise StartFailed(error.message) from error
        return self._isolation

    async def _probe(self) -> None:
        seat = self._launch(None, is_shared=False)
        try:
            await seat.runner.wait_for(seat.starting)
        except StartFailed:
            return  # is_ready() says it
        finally:
            seat.runner.kill("it was started to see whether one can be")
        await seat.runner.wait_until_gone()

    # --- watching ---------------------------------------------------------------------------

    def _tell_changed(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _watch(self) -> None:
        if self._watching is None:
            self._watching = asyncio.ensure_future(self._keep_watch())

    async def _keep_watch(self) -> None:
        looks = 0
        while True:
            await self._clock.sleep(LOOK_S)
            looks += 1
            for seat in list(self._alive()):
                seat.runner.look()
                if looks % _WEIGH_EVERY == 0:
                    seat.runner.weigh()
            self._retire_idle()
            self._rewarm()
            self._tell_changed()  # a late runner may have come back
            if not self._is_ready and looks % _PROBE_EVERY == 0:
                self._in_background(self._probe())

    def _retire_idle(self) -> None:
        self._seats = [
            seat for seat in self._seats if not seat.runner.is_gone or not seat.starting.done()
        ]
        now = self._clock.monotonic()
        for seat in list(self._alive()):
            runner = seat.runner
            is_idle = runner.is_up and runner.load == 0 and seat.is_shared
            if (
                is_idle
                and now - runner.idle_since > self._limits.idle_s
                and not self._is_kept(seat)
            ):
                runner.kill("nobody needed it any more")

    def _is_kept(self, seat: _Seat) -> bool:
        """Whether it is the first of a group that is kept warm."""
        key = seat.key
        return key is not None and key in self._kept_warm and next(self._group(key)) is seat

    def _rewarm(self) -> None:
        """Replace runners that are kept warm and have ended."""
        now = self._clock.monotonic()
        for key in self._kept_warm - self._broken:
            is_due = now >= self._rewarm_at.get(key, 0.0)
            if is_due and not any(True for _ in self._group(key)) and self._has_spare_place():
                self._rewarm_at[key] = now + _REWARM_S
                self._launch(key, is_shared=True)

    def _has_spare_place(self) -> bool:
        return sum(1 for _ in self._alive()) < self._limits.max_processes

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
