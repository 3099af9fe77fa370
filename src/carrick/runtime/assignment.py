"""A run that a runner was given: its calls of the host, and its end."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from carrick.errors import CarrickError, ResultLost, StoreUnavailable
from carrick.model.event import HostFailed, Outcome
from carrick.runner.wire import (
    BadFrame,
    Call,
    Channel,
    Failed,
    FrameTooLarge,
    Result,
    decode_params,
)
from carrick.runtime.jobs import HostCalls
from carrick.runtime.outcomes import plain
from carrick.sdk.host import HOST_METHODS

#: Calls of one run that may be under way; a runner itself keeps to far fewer.
_MAX_CALLS = 256
#: Log lines taken from one run; a runner itself keeps to fewer.
_MAX_LOGS = 1200
#: Failures of ours, not of the call: the attempt cannot be carried on.
_FATAL = (ResultLost, StoreUnavailable)


class NotStarted(Exception):
    """The runner did not come to start the run; it can be given to another."""


class Assignment:
    """One run inside one runner, as the host sees it."""

    def __init__(self, number: int, host: HostCalls, channel: Channel) -> None:
        self.number = number
        self.has_started = False
        #: Seconds of the time limit, once it has passed.
        self.expired_s: float | None = None
        #: Set when the runner has nothing of this run inside any more.
        self.gone = asyncio.Event()
        self.outcome: asyncio.Future[Outcome | NotStarted]
        self.outcome = asyncio.get_running_loop().create_future()
        self.has_host_failed = False
        self._host = host
        self._channel = channel
        self._calls: set[asyncio.Task[None]] = set()
        self._logs = 0

    def end(self, outcome: Outcome | NotStarted) -> None:
        """Decide what became of it, once, and let go of what it still asks of the host."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)
        for call in self._calls:
            if call is not asyncio.current_task():
                call.cancel()

    def take(self, call: Call) -> None:
        """Begin to answer a call.

        Raises:
            BadFrame: It is not one that a runner of ours would make.
        """
        params = decode_params(call)
        if call.method not in HOST_METHODS:
            self._fail(call, "unknown_call", f"There is no call named {call.method[:100]!r}.")
            return
        if self.outcome.done():
            self._fail(call, "run_ended", "The run has ended.")
            return
        if len(self._calls) >= _MAX_CALLS:
            raise BadFrame("too many calls at once")
        if call.method == "log":
            self._logs += 1
            if self._logs > _MAX_LOGS:
                self._channel.send(Result(call.run, call.call, None))
                return
        task = asyncio.ensure_future(self._answer(call, params))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _answer(self, call: Call, params: dict[str, Any]) -> None:
        try:
            value = await self._host.call(call.method, params)
        except _FATAL as error:
            self._host_failed(error.message)
        except CarrickError as error:
            self._fail(call, error.code, error.message, plain(error.payload))
        except Exception as error:
            log = structlog.get_logger(__name__)
            log.exception("host_call_failed", method=call.method)
            self._host_failed(f"{call.method} failed inside the server ({type(error).__name__})")
        else:
            self._reply(call, value)
            await self._channel.drain()

    def _reply(self, call: Call, value: Any) -> None:
        try:
            self._channel.send(Result(call.run, call.call, value))
        except FrameTooLarge:
            message = f"The answer to {call.method} is too large to be handed over."
            self._fail(call, "answer_too_large", message)
        except (TypeError, ValueError, OverflowError) as error:
            self._host_failed(f"the answer to {call.method} is not plain data ({error})")

    def _fail(self, call: Call, code: str, message: str, payload: Any = None) -> None:
        message = message.encode("utf-8", errors="replace").decode()
        self._channel.send(Failed(call.run, call.call, code, message, payload))

    def _host_failed(self, reason: str) -> None:
        """End the run: a function must not carry on, or catch, what only the server can mend."""
        self.has_host_failed = True
        self.end(HostFailed(reason))
