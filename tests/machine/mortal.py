"""A server that dies at a fault point, and the clock it lives by."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from carrick.model.faults import Point
from carrick.testing.clock import FakeClock

T = TypeVar("T")


class Stopped(BaseException):
    """The process is dead: nothing of it goes on."""


class Clock(FakeClock):
    """Still until it is moved, except that runner processes live in real time."""

    async def sleep(self, seconds: float) -> None:
        """Sleep; the pool's looks at its processes go by the time these processes see."""
        task = asyncio.current_task()
        if task is not None and getattr(task.get_coro(), "__name__", "") == "_keep_watch":
            await asyncio.sleep(seconds)
        else:
            await super().sleep(seconds)


class Died(Exception):
    """The instant of death; inside a transaction it undoes that and ends nothing else."""


class Mortal:
    """The life of one server: it ends at a fault point, and then nothing gets out any more."""

    def __init__(self) -> None:
        self.is_dead = False
        self.died_at: Point | None = None
        self.under_way: Counter[str] = Counter()
        self._left: int | None = None

    def stop_after(self, points: int) -> None:
        """Die at the fault point after that many from now."""
        self._left = points

    async def reached(self, point: Point) -> None:
        """Pass a fault point, or die there."""
        if self.is_dead:
            raise Died
        if self._left is None:
            return
        if self._left == 0:
            self.is_dead, self.died_at = True, point
            raise Died
        self._left -= 1

    async def through(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call to the database or the network, which only the living can."""
        self._look()
        self.under_way[what] += 1
        try:
            result = await call()
        finally:
            self.under_way[what] -= 1
        self._look()
        return result

    def _look(self) -> None:
        if self.is_dead:
            raise Stopped


def is_only_death(error: BaseException) -> bool:
    """Whether an error says no more than that the server is dead."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_only_death(one) for one in error.exceptions)
    return isinstance(error, Stopped | Died)


def quiet_about_death(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what goes wrong in a loop, except that a server in it has died."""
    error = context.get("exception")
    if error is None or not is_only_death(error):
        loop.default_exception_handler(context)
