"""The runner process: takes runs from the host, executes them side by side, reports their ends."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import Any

from carrick.runner import output
from carrick.runner.bundle import LoadedBundle
from carrick.runner.confine import EXIT_MEMORY
from carrick.runner.outcome import describe
from carrick.runner.runs import ActiveRun, make_task
from carrick.runner.wire import (
    BadFrame,
    Beat,
    Cancel,
    Channel,
    Done,
    Failed,
    Preload,
    Ready,
    Result,
    Run,
    Started,
    decode_to_runner,
    open_channel,
)

#: Seconds between signs of life.
BEAT_S = 0.25


class Runner:
    """Everything that goes on in one runner process."""

    def __init__(self, bundle: LoadedBundle) -> None:
        self._bundle = bundle
        self._runs: dict[int, ActiveRun] = {}
        self._supervisors: set[asyncio.Task[None]] = set()
        self._channel: Channel | None = None
        self._loop = asyncio.get_running_loop()
        self._gone = self._loop.create_future()

    async def serve(self, sock: socket.socket) -> None:
        """Work until the host lets go of its end."""
        self._channel = await open_channel(sock, self._receive, self._end)
        self._loop.set_task_factory(make_task)
        self._channel.send(Ready())
        self._beat()
        await self._gone

    def _end(self, _fault: str | None) -> None:
        if not self._gone.done():
            self._gone.set_result(None)

    def _beat(self) -> None:
        if self._channel is None or not self._channel.is_open:
            return
        if self._channel.is_writable:
            self._channel.send(Beat())
        self._loop.call_later(BEAT_S, self._beat)

    def _receive(self, frame: bytes) -> None:
        message = decode_to_runner(frame)
        match message:
            case Run():
                self._supervise(self._execute(message))
            case Result() | Failed():
                run = self._runs.get(message.run)
                if run is not None:
                    run.answered(message)
            case Cancel():
                run = self._runs.get(message.run)
                if run is not None:
                    run.cancel()
            case Preload():
                self._supervise(self._preload())

    def _supervise(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._supervisors.add(task)
        task.add_done_callback(self._supervisors.discard)

    async def _execute(self, message: Run) -> None:
        assert self._channel is not None
        run = ActiveRun(message, self._channel, self._loop)
        self._runs[message.run] = run
        # Two tasks: the one that executes the author's code can be cancelled, this one cannot.
        task = run.start(self._attempt(run))
        await asyncio.wait({task})
        done = Done(message.run, "cancelled") if task.cancelled() else task.result()
        await run.finish()
        del self._runs[message.run]
        self._channel.send(done)

    async def _attempt(self, run: ActiveRun) -> Done:
        assert self._channel is not None
        message = run.message
        self._channel.send(Started(message.run))
        error: BaseException | None = None
        try:
            function = self._bundle.function(message.integration_id, message.function)
            await function.exec(function.context(run, message.facts))
        except MemoryError:
            # The limit is the process's, not the run's: nobody here can go on being trusted.
            os._exit(EXIT_MEMORY)
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                return Done(message.run, "cancelled")
            error = cancelled
        except BaseException as raised:  # every end of a function is an outcome, SystemExit too
            error = raised
        return self._described(message, error)

    def _described(self, message: Run, error: BaseException | None) -> Done:
        try:
            return describe(message.run, error, self._bundle.root, dry_run=message.facts.dry_run)
        except Exception:  # an author's exception class may be broken in any way itself
            return Done(message.run, "defective", message=type(error).__name__)

    async def _preload(self) -> None:
        for integration_id, name in self._bundle.files():
            try:
                self._bundle.function(integration_id, name)
            except BaseException:  # noqa: S112 - the run of that function will meet it and report
                continue
            finally:
                await asyncio.sleep(0)  # let runs and beats in between two imports


def main(fd: int, bundle: LoadedBundle) -> None:
    """Run until the host is gone; then end at once, whatever threads are still busy."""
    import uvloop

    sys.stdout.flush()
    output.capture()
    sock = socket.socket(fileno=fd)

    async def serve() -> None:
        await Runner(bundle).serve(sock)

    try:
        uvloop.run(serve())
    except BadFrame:
        pass  # the host speaks another version; it sees this process end
    finally:
        os._exit(0)
