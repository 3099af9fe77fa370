"""One run inside the runner: its calls of the host, its output, its end."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import weakref
from collections.abc import Coroutine, Generator
from contextvars import ContextVar
from typing import Any, TypeVar

from carrick.runner.output import Lines, printing
from carrick.runner.wire import Call, Channel, Failed, FrameTooLarge, Result, Run, encode_params
from carrick.sdk.errors import CarrickUsageError, HostError

#: Calls of one run that are under way at a time; more wait their turn.
MAX_CALLS = 32
#: Log lines of one run, printed ones included.
MAX_LOGS = 1000
#: Seconds the end of a run waits for its last log lines to be taken.
_FLUSH_S = 1.0
_LAST_LINE = f"Log lines after {MAX_LOGS - 1} are dropped."

T = TypeVar("T")


class ActiveRun:
    """A run whose code executes here. It is the host that its context talks to."""

    def __init__(self, message: Run, channel: Channel, loop: asyncio.AbstractEventLoop) -> None:
        self.message = message
        self.task: asyncio.Task[Any] | None = None
        self._channel = channel
        self._loop = loop
        self._thread = threading.get_ident()
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._slots = asyncio.Semaphore(MAX_CALLS)
        self._logs = 0
        self._lines = Lines(self._emit)
        self._emitted: set[asyncio.Task[Any]] = set()
        self._children: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self._ended = False

    # --- the host, as the context sees it ---------------------------------------------------

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """Ask the host and wait for its answer.

        Raises:
            HostError: The host could not do it, or the run has ended.
            CarrickUsageError: The parameters are not plain data or too large.
        """
        if method == "log":
            self._logs += 1
            if self._logs > MAX_LOGS:
                return None
            if self._logs == MAX_LOGS:
                params = {**params, "level": "warning", "message": _LAST_LINE, "fields": {}}
        async with self._slots:
            if self._ended:
                raise HostError("run_ended", f"The run has ended; ctx.{method} comes too late.")
            return await self._ask(method, params)

    async def _ask(self, method: str, params: dict[str, Any]) -> Any:
        try:
            raw, body = encode_params(params)
            raw_call = Call(self.message.run, self._number + 1, method, raw, body)
            self._number += 1
            answer: asyncio.Future[Any] = self._loop.create_future()
            self._pending[raw_call.call] = answer
            self._channel.send(raw_call)
        except (FrameTooLarge, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise CarrickUsageError(f"This cannot be sent to the host: {error}") from error
        try:
            if not self._channel.is_writable:
                await self._channel.drain()
            return await answer
        finally:
            self._pending.pop(raw_call.call, None)

    def answered(self, message: Result | Failed) -> None:
        """Take the host's answer to a call."""
        answer = self._pending.get(message.call)
        if answer is None or answer.done():
            return
        if isinstance(message, Result):
            answer.set_result(message.value)
        else:
            answer.set_exception(HostError(message.code, message.message, message.payload))

    # --- output -----------------------------------------------------------------------------

    def printed(self, level: str, data: bytes) -> None:
        """Take output of the run's code, from whichever thread."""
        if self._ended:
            return
        if threading.get_ident() == self._thread:
            self._lines.add(level, data)
        else:
            self._loop.call_soon_threadsafe(self._lines.add, level, data)

    def _emit(self, level: str, line: str) -> None:
        params: dict[str, Any] = {"level": level, "message": line, "fields": {}}
        task = self._loop.create_task(self._log_quietly(params), context=contextvars.Context())
        self._emitted.add(task)
        task.add_done_callback(self._emitted.discard)

    async def _log_quietly(self, params: dict[str, Any]) -> None:
        try:
            await self.call("log", params)
        except (HostError, CarrickUsageError):
            return  # a printed line is not worth a failed run

    # --- life -------------------------------------------------------------------------------

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Execute code of this run: what it prints and the tasks it starts are the run's."""
        context = contextvars.copy_context()
        context.run(printing.set, self)
        context.run(running.set, self)
        task = self._loop.create_task(work, context=context)
        self.task = task
        return task

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Remember a task that the run's code started, to end it with the run."""
        self._children.add(task)

    def cancel(self) -> None:
        """Stop the run's code at its next await."""
        if self.task is not None:
            self.task.cancel()

    async def finish(self) -> None:
        """End what the run left behind and see its last lines off."""
        self._lines.flush()
        for task in self._children - self._emitted:
            task.cancel()
        if self._emitted:
            await asyncio.wait(self._emitted, timeout=_FLUSH_S)
        self._ended = True
        for task in self._emitted:
            task.cancel()
        for answer in self._pending.values():
            answer.cancel()


#: The run whose code is executing, for tasks to be counted as its own.
running: ContextVar[ActiveRun | None] = ContextVar("running", default=None)


def make_task(
    loop: asyncio.AbstractEventLoop,
    coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
    **options: Any,
) -> asyncio.Task[T]:
    """Make a task, noting which run's code asked for it."""
    task: asyncio.Task[T] = asyncio.Task(coro, loop=loop, **options)
    run = running.get()
    if run is not None:
        run.adopt(task)
    return task
