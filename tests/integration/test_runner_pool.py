"""The pool with real child processes: sharing, limits, and ends that are certain."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.runner_project import Gate, RecordingHost, job, make_pool, write_function

from carrick.errors import FunctionsUnavailable
from carrick.model.clock import Clock, SystemClock
from carrick.model.event import HostFailed, RunnerLost, Succeeded, TimedOut
from carrick.runtime.pool import BundleDir, RunnerLimits, RunnerPool
from carrick.testing.clock import FakeClock

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]
Make = Callable[..., RunnerPool]
MIB = 1024 * 1024


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with one function for each way to behave."""
    functions = {
        "fine": "await ctx.log(str(os.getpid()))",
        "call": "await ctx.log(str(os.getpid()))\nawait ctx.get('/gate')",
        "spin": "await ctx.get('/before')\nwhile True: pass",
        "stubborn": """
            while True:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    pass
        """,
        "sleepy": "await asyncio.sleep(3600)",
        "nap": """
            await ctx.get("/before")
            while not os.path.exists(os.path.join(os.path.dirname(__file__), "wake-up")):
                time.sleep(0.01)
        """,
        "exit": "os._exit(3)",
        "shout": "os.write(2, b'account 4711')\nawait ctx.get('/gate')",
        "complain": "os.write(2, b'account 4711')\nos._exit(3)",
        "orphan": """
            pid = os.fork()
            if pid == 0:
                time.sleep(3600)
            await ctx.log(str(pid))
            os._exit(3)
        """,
        "crash": "import ctypes\nctypes.string_at(0)",
        "hog": "kept = bytearray(os.urandom(1024 * 1024)) * 300\nawait asyncio.sleep(3600)",
        "grab": "kept = bytearray(4 * 1024 ** 3)",
        "garbage": """
            import json, sys
            os.write(json.loads(sys.orig_argv[-1])["fd"], b"\\xff" * 64)
            await asyncio.sleep(3600)
        """,
        "fork": """
            pid = os.fork()
            if pid == 0:
                os.setsid()
                time.sleep(3600)
            await ctx.log(str(pid))
            await asyncio.sleep(3600)
        """,
    }
    for name, body in functions.items():
        write_function(tmp_path, f"acme/on_events/{name}.py", body)
    return tmp_path


@pytest.fixture
async def make(root: Path) -> AsyncIterator[Callable[..., RunnerPool]]:
    """Makes pools on the project that are closed after the test."""
    made: list[RunnerPool] = []

    def make_one(clock: Clock | None = None, **limits: Any) -> RunnerPool:
        made.append(make_pool(root, clock or SystemClock(), **limits))
        return made[-1]

    yield make_one
    for pool in made:
        await pool.close()


@pytest.fixture
def pool(make: Make) -> RunnerPool:
    """A pool with small limits."""
    return make(memory_bytes=192 * MIB, concurrency=4, max_processes=3)


def is_alive(pid: int) -> bool:
    """Return whether a process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def test_a_warm_runner_is_used_again(pool: RunnerPool) -> None:
    """Runs one after another share one process; it stays for the next."""
    host = RecordingHost()
    assert [await pool.run(job("fine"), host) for _ in range(3)] == [Succeeded()] * 3
    assert len(set(host.lines)) == 1
    assert pool.processes == [int(host.lines[0])]


async def test_runs_share_a_process_side_by_side(pool: RunnerPool) -> None:
    """Async functions of one bundle wait together in one process, each for its own answer."""
    gate = Gate()
    host = RecordingHost(on={"request": gate})
    runs = [asyncio.ensure_future(pool.run(job("call"), host)) for _ in range(4)]
    for _ in runs:
        await gate.arrived.acquire()
    gate.opened.set()
    assert await asyncio.gather(*runs) == [Succeeded()] * 4
    assert len(set(host.lines)) == 1


async def test_a_full_runner_gets_company(pool: RunnerPool) -> None:
    """More runs than one process takes start another."""
    gate = Gate()
    host = RecordingHost(on={"request": gate})
    runs = [asyncio.ensure_future(pool.run(job("call"), host)) for _ in range(5)]
    for _ in runs:
        await gate.arrived.acquire()
    gate.opened.set()
    await asyncio.gather(*runs)
    assert len(set(host.lines)) == 2


async def test_lanes_do_not_share_processes(pool: RunnerPool) -> None:
    """Validation has runners of its own."""
    host = RecordingHost()
    await pool.run(job("fine", lane="lifecycle"), host)
    await pool.run(job("fine", lane="validation"), host)
    assert len(set(host.lines)) == 2


async def test_lifecycle_waits_and_validation_does_not(make: Make) -> None:
    """With every process taken a setup waits for a place; a validation starts at once."""
    pool = make(concurrency=1, max_processes=1)
    gate, other = Gate(), RecordingHost()
    host = RecordingHost(on={"request": gate})
    first = asyncio.ensure_future(pool.run(job("call"), host))
    await gate.arrived.acquire()
    second = asyncio.ensure_future(pool.run(job("fine"), other))
    assert await pool.run(job("fine", lane="validation"), RecordingHost()) == Succeeded()
    assert other.lines == []
    gate.opened.set()
    assert await asyncio.gather(first, second) == [Succeeded(), Succeeded()]
    assert other.lines == host.lines


async def test_a_run_that_wants_it_is_alone(pool: RunnerPool) -> None:
    """`alone` gives a process to the run, which ends with it."""
    host = RecordingHost()
    await pool.run(job("fine"), host)
    await pool.run(job("fine", alone=True), host)
    shared, own = (int(line) for line in host.lines)
    assert shared != own
    assert pool.processes == [shared]


async def test_a_loop_without_end_is_killed(pool: RunnerPool, eventually: Eventually) -> None:
    """`while True: pass` ends at its time limit, by force, and the next run works."""
    assert await pool.run(job("spin", timeout_s=0.5), RecordingHost()) == TimedOut(0.5)
    await eventually(lambda: pool.processes == [])
    assert await pool.run(job("fine"), RecordingHost()) == Succeeded()


async def test_a_neighbour_of_a_loop_without_end_is_not_blamed(pool: RunnerPool) -> None:
    """Nobody can say who holds the loop, so both runs are undecided and come back."""
    gate = Gate()
    host = RecordingHost(on={"request": gate})
    neighbour = asyncio.ensure_future(pool.run(job("call"), host))
    await gate.arrived.acquire()
    outcome = await pool.run(job("spin", timeout_s=2.0), RecordingHost())
    assert isinstance(outcome, RunnerLost)
    assert not outcome.own_fault
    lost = await neighbour
    assert isinstance(lost, RunnerLost)
    assert not lost.own_fault


async def test_a_run_that_stops_when_asked_harms_nobody(pool: RunnerPool) -> None:
    """A cooperative run past its limit is cancelled; its process and its neighbour go on."""
    gate = Gate()
    host = RecordingHost(on={"request": gate})
    neighbour = asyncio.ensure_future(pool.run(job("call"), host))
    await gate.arrived.acquire()
    assert await pool.run(job("sleepy", timeout_s=0.3), RecordingHost()) == TimedOut(0.3)
    gate.opened.set()
    assert await neighbour == Succeeded()
    assert pool.processes == [int(host.lines[0])]


async def test_a_run_that_refuses_to_stop_is_killed_and_blamed(pool: RunnerPool) -> None:
    """A function that swallows its cancellation loses its process; the neighbour is undecided."""
    gate = Gate()
    neighbour = asyncio.ensure_future(pool.run(job("call"), RecordingHost(on={"request": gate})))
    await gate.arrived.acquire()
    assert await pool.run(job("stubborn", timeout_s=1.5), RecordingHost()) == TimedOut(1.5)
    lost = await neighbour
    assert isinstance(lost, RunnerLost)
    assert not lost.own_fault
    assert "time limit" in lost.reason


async def test_a_run_that_nobody_waits_for_is_stopped(
    pool: RunnerPool, eventually: Eventually
) -> None:
    """Cancelling the caller cancels the function and the calls that it waits for."""
    gate = Gate()
    host = RecordingHost(on={"request": gate})
    run = asyncio.ensure_future(pool.run(job("call"), host))
    await gate.arrived.acquire()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert await pool.run(job("fine"), host) == Succeeded()
    assert len(set(host.lines)) == 1


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("exit", "it exited with status 3"),
        ("crash", "it was killed by SIGSEGV"),
        ("hog", "it went over the memory limit of 192 MiB"),
        ("grab", "it ran out of memory"),
        ("garbage", "it sent bytes that are no message"),
    ],
)
async def test_a_process_that_is_lost_is_the_fault_of_the_only_run_inside(
    pool: RunnerPool, function: str, reason: str
) -> None:
    """Exits, crashes, too much memory and garbage end the runner, never the host."""
    outcome = await pool.run(job(function), RecordingHost())
    assert isinstance(outcome, RunnerLost)
    assert outcome.own_fault
    assert reason in outcome.reason
    assert await pool.run(job("fine"), RecordingHost()) == Succeeded()


async def test_a_process_that_is_killed_from_outside_is_nobodys_fault(pool: RunnerPool) -> None:
    """An operator, or a system that has no memory left: the run inside did not do it."""
    gate = Gate()
    run = asyncio.ensure_future(pool.run(job("call"), RecordingHost(on={"request": gate})))
    await gate.arrived.acquire()
    os.kill(pool.processes[0], signal.SIGKILL)
    outcome = await run
    assert isinstance(outcome, RunnerLost)
    assert not outcome.own_fault
    assert "SIGKILL" in outcome.reason


async def test_a_process_that_is_lost_with_two_runs_blames_neither(pool: RunnerPool) -> None:
    """With a neighbour inside nobody can say whose crash it was."""
    gate = Gate()
    neighbour = asyncio.ensure_future(pool.run(job("call"), RecordingHost(on={"request": gate})))
    await gate.arrived.acquire()
    outcomes = [await pool.run(job("exit"), RecordingHost()), await neighbour]
    assert [isinstance(one, RunnerLost) and one.own_fault for one in outcomes] == [False, False]


async def test_the_only_run_inside_is_told_what_its_process_said_last(pool: RunnerPool) -> None:
    """A crash in native code says why on standard error, below everything Python prints."""
    outcome = await pool.run(job("complain"), RecordingHost())
    assert isinstance(outcome, RunnerLost)
    assert outcome.reason == "it exited with status 3: account 4711"


@pytest.mark.parametrize("at_once", [True, False])
async def test_nobody_is_told_what_another_run_said(pool: RunnerPool, at_once: bool) -> None:
    """What a run wrote to standard error stays out of its neighbour's and its successor's log."""
    gate = Gate()
    if not at_once:
        gate.opened.set()
    first = asyncio.ensure_future(pool.run(job("shout"), RecordingHost(on={"request": gate})))
    await gate.arrived.acquire()
    if not at_once:
        await first
    lost = await pool.run(job("exit"), RecordingHost())
    assert isinstance(lost, RunnerLost)
    assert lost.reason == "it exited with status 3"
    await first


async def test_what_a_function_started_dies_with_its_runner(
    pool: RunnerPool, eventually: Eventually
) -> None:
    """A child that left the process group is found and killed, too."""
    host = RecordingHost()
    assert await pool.run(job("fork", timeout_s=1.0), host) == TimedOut(1.0)
    await pool.close()
    await eventually(lambda: not is_alive(int(host.lines[0])))


async def test_a_fork_that_outlives_its_runner_is_killed(
    pool: RunnerPool, eventually: Eventually
) -> None:
    """A process that holds the runner's socket open hides its end from nobody."""
    host = RecordingHost()
    outcome = await pool.run(job("orphan"), host)
    assert isinstance(outcome, RunnerLost)
    assert "status 3" in outcome.reason
    await eventually(lambda: not is_alive(int(host.lines[0])))


async def test_a_starved_runner_gets_no_new_runs(pool: RunnerPool, root: Path) -> None:
    """A run that a blocked loop never started is given to another runner, and finishes there."""
    gate = Gate()
    gate.opened.set()
    blocking = asyncio.ensure_future(
        pool.run(job("nap", lane="validation"), RecordingHost(on={"request": gate}))
    )
    await gate.arrived.acquire()
    host = RecordingHost()
    assert await pool.run(job("fine", lane="validation"), host) == Succeeded()
    assert not blocking.done()
    assert len(pool.processes) == 2
    (root / "acme/on_events/wake-up").touch()
    assert await blocking == Succeeded()


async def test_a_host_that_dies_leaves_no_runner(root: Path, eventually: Eventually) -> None:
    """A runner whose loop is blocked dies with its host, by the kernel's hand."""
    script = f"""
import asyncio
from pathlib import Path
from carrick.model.clock import SystemClock
from tests.integration.runner_project import RecordingHost, job, make_pool

async def main():
    pool = make_pool(Path({str(root)!r}), SystemClock())
    async def tell(params):
        print(pool.processes[0], flush=True)
        return {{"status": 200, "headers": {{}}, "body": b"", "withheld": None}}
    await pool.run(job("spin"), RecordingHost(on={{"request": tell}}))

asyncio.run(main())
"""
    host = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, cwd=Path.cwd()
    )
    assert host.stdout is not None
    pid = int(await host.stdout.readline())
    assert is_alive(pid)
    os.kill(host.pid, signal.SIGKILL)
    await host.wait()
    await eventually(lambda: not is_alive(pid))


async def test_closing_leaves_no_process(make: Make) -> None:
    """After `close` every runner is gone, and what ran in them is undecided."""
    pool = make()
    gate = Gate()
    run = asyncio.ensure_future(pool.run(job("call"), RecordingHost(on={"request": gate})))
    await gate.arrived.acquire()
    (pid,) = pool.processes
    await pool.close()
    assert not is_alive(pid)
    assert isinstance(await run, RunnerLost)
    assert isinstance(await pool.run(job("fine"), RecordingHost()), HostFailed)
    assert not pool.is_ready()


async def test_closing_while_a_runner_starts_leaves_no_process(make: Make) -> None:
    """A runner that was about to start is ended as well, and its run is not carried out."""
    pool = make()
    host = RecordingHost()
    run = asyncio.ensure_future(pool.run(job("fine"), host))
    while not pool.processes:
        await asyncio.sleep(0)
    (pid,) = pool.processes
    await pool.close()
    assert not is_alive(pid)
    assert isinstance(await run, HostFailed)
    assert host.calls == []


async def test_the_pool_knows_whether_functions_can_run(make: Make) -> None:
    """`start` tries it out and leaves nothing behind."""
    pool = make()
    assert not pool.is_ready()
    await pool.start()
    assert pool.is_ready()
    assert pool.processes == []
    assert "plain processes" in pool.isolation_report


async def test_a_server_that_cannot_start_runners_says_so(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed start is the host's failure, never the function's."""
    monkeypatch.setattr(sys, "executable", str(root / "no-python"))
    pool = make()
    await pool.start()
    assert not pool.is_ready()
    outcome = await pool.run(job("fine"), RecordingHost())
    assert isinstance(outcome, HostFailed)
    assert "no process could be started" in outcome.reason


async def test_a_runner_that_ends_while_it_starts_is_the_hosts_failure(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the process said with its last words is in the reason."""
    broken = root / "python"
    broken.write_text("#!/bin/sh\necho no interpreter here >&2\nexit 7\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    pool = make()
    outcome = await pool.run(job("fine"), RecordingHost())
    assert isinstance(outcome, HostFailed)
    assert "no interpreter here" in outcome.reason


async def test_a_bundle_that_cannot_be_unpacked_is_the_hosts_failure(root: Path) -> None:
    """A deployment whose files cannot be made ready decides nothing about a connection."""

    async def fail(_bundle_id: str) -> BundleDir:
        raise FunctionsUnavailable("the disk is full")

    pool = RunnerPool(RunnerLimits(), SystemClock(), fail, isolation="none")
    outcome = await pool.run(job("fine"), RecordingHost())
    assert isinstance(outcome, HostFailed)
    assert "the disk is full" in outcome.reason
    await pool.close()


async def test_a_warm_bundle_has_a_runner_before_its_first_run(pool: RunnerPool) -> None:
    """`warm` starts a process that the first run then uses."""
    await pool.warm("bundle-1", "lifecycle")
    (pid,) = pool.processes
    host = RecordingHost()
    assert await pool.run(job("fine"), host) == Succeeded()
    assert host.lines == [str(pid)]


async def test_a_warm_bundle_gets_a_new_runner_when_its_own_is_lost(
    pool: RunnerPool, eventually: Eventually
) -> None:
    """What is kept warm is replaced without waiting for the next run."""
    await pool.warm("bundle-1", "lifecycle")
    (pid,) = pool.processes
    await pool.run(job("exit"), RecordingHost())
    await eventually(lambda: pool.processes not in ([], [pid]))


async def test_idle_runners_end_unless_they_are_kept_warm(make: Make, clock: FakeClock) -> None:
    """Nobody's runner goes after a while; that of a warm bundle stays until it is cooled."""
    pool = make(clock, idle_s=60.0)
    await pool.warm("bundle-1", "validation")
    await pool.run(job("fine", lane="lifecycle"), RecordingHost())
    assert len(pool.processes) == 2
    await clock.advance(61)
    assert len(pool.processes) == 1
    pool.cool("bundle-1")
    await clock.advance(1)
    assert pool.processes == []


async def test_an_idle_runner_makes_room_for_another_bundle(make: Make) -> None:
    """With every process taken, the one idle for longest is ended for who needs a place."""
    pool = make(max_processes=1)
    host = RecordingHost()
    await pool.run(job("fine", lane="lifecycle"), host)
    await pool.run(job("fine", lane="dryrun"), host)
    assert len(set(host.lines)) == 2
    assert pool.processes == [int(host.lines[1])]


async def test_many_runs_at_once_all_end(pool: RunnerPool) -> None:
    """A burst is spread over the processes there may be, and every run gets its own answer."""

    async def echo(params: dict[str, Any]) -> dict[str, Any]:
        return {"status": 200, "headers": {}, "body": b"", "withheld": None, "echo": params}

    hosts = [RecordingHost(on={"request": echo}) for _ in range(60)]
    outcomes = await asyncio.gather(*(pool.run(job("call"), host) for host in hosts))
    assert outcomes == [Succeeded()] * 60
    assert all(host.requests == ["/gate"] for host in hosts)
    assert len(pool.processes) <= 3
