"""What a test has happen at fault points: the process is killed, an error is raised, all waits.

Only a test builds one of these, in its own process or through `python -m carrick.testing.serve`.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from carrick.model.faults import Point

Action = Callable[[], Awaitable[None]]


async def kill_process() -> None:
    """End this process as a power cut would: at once, and nothing gets to clean up."""
    os.kill(os.getpid(), signal.SIGKILL)


def fail_with(error: BaseException) -> Action:
    """Return what raises an error."""

    async def fail() -> None:
        raise error

    return fail


class Hold:
    """Holds whoever passes a point until the test lets go; give the object itself as the action."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self._go = asyncio.Event()

    def let_go(self) -> None:
        """Let whoever is held go on."""
        self._go.set()

    async def __call__(self) -> None:
        """Say that somebody is here, and hold them."""
        self.arrived.set()
        await self._go.wait()


class PlannedFaults:
    """Does what was planned at the n-th passing of a point, once, and counts all passings."""

    def __init__(self) -> None:
        #: How often each point was passed.
        self.passed: Counter[Point] = Counter()
        self._plans: dict[tuple[Point, int], Action] = {}

    def plan(self, point: Point, action: Action, *, passing: int = 1) -> None:
        """Have something happen at a point.

        Args:
            point: Where.
            action: What.
            passing: The how manieth passing from now on.
        """
        self._plans[(point, self.passed[point] + passing)] = action

    async def reached(self, point: Point) -> None:
        """Do what was planned for this passing."""
        self.passed[point] += 1
        action = self._plans.pop((point, self.passed[point]), None)
        if action is not None:
            await action()


class WatchedFaults:
    """Follows two files in a directory, so that a server can be armed while it runs.

    `kill-at` holds `NAME` or `NAME:N`: the process is killed at the N-th passing of that point
    since the file last changed. `passed` gets a line for every passing, for a test to read; what
    is written there outlives the process.
    """

    def __init__(self, directory: Path) -> None:
        self._plan_file = directory / "kill-at"
        self._passed = os.open(directory / "passed", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._known = ""
        self._left = 0

    async def reached(self, point: Point) -> None:
        """Note the passing; kill this process if it is the one."""
        os.write(self._passed, f"{point}\n".encode())
        if point is self._awaited():
            self._left -= 1
            if self._left == 0:
                await kill_process()

    def _awaited(self) -> Point | None:
        try:
            text = self._plan_file.read_text().strip()
        except FileNotFoundError:
            text = ""
        if not text:
            self._known = ""
            return None
        point, passing = read_plan(text)
        if text != self._known:
            self._known, self._left = text, passing
        return point


def read_plan(text: str) -> tuple[Point, int]:
    """Read `NAME` or `NAME:N`.

    Raises:
        ValueError: There is no such point, or N is not a number above zero.
    """
    name, _, number = text.partition(":")
    passing = int(number or 1)
    if passing < 1:
        raise ValueError(f"{text!r}: passings are counted from 1")
    return Point(name), passing
