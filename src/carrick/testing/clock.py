"""A clock that stands still until it is moved, and randomness that repeats itself.

Tests hand these to whatever takes a `Clock` or a `Chance`, so that no test waits or guesses.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import uuid
from datetime import UTC, datetime, timedelta

#: Turns of the event loop that woken tasks get before time moves on.
_SETTLING_TURNS = 25


class FakeClock:
    """Time that moves only when a test says so."""

    def __init__(self, start: datetime | None = None) -> None:
        self._started_at = start or datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
        self._elapsed = timedelta()
        self._sleepers: list[tuple[timedelta, int, asyncio.Future[None]]] = []
        self._order = 0
        self._arrived = asyncio.Event()

    def now(self) -> datetime:
        """Return the present moment, aware and in UTC."""
        return self._started_at + self._elapsed

    def monotonic(self) -> float:
        """Return seconds that never run backwards."""
        return self._elapsed.total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Come back once the clock has been moved that far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._order += 1
        due = self._elapsed + timedelta(seconds=seconds)
        heapq.heappush(self._sleepers, (due, self._order, woken))
        self._arrived.set()
        await woken

    @property
    def sleepers(self) -> int:
        """How many tasks are asleep on this clock."""
        return sum(1 for _, _, woken in self._sleepers if not woken.done())

    async def wait_for_sleepers(self, count: int = 1) -> None:
        """Come back once that many tasks are asleep, so that moving the clock wakes them."""
        while self.sleepers < count:
            self._arrived.clear()
            await self._arrived.wait()

    async def advance(self, seconds: float) -> None:
        """Move time on, waking each sleeper at its own moment and in order.

        A task that sleeps again is woken again if that falls into the same stretch of time.
        """
        target = self._elapsed + timedelta(seconds=seconds)
        await _settle()
        while (due := self._next_due()) is not None and due <= target:
            self._elapsed = max(self._elapsed, due)
            self._wake_due()
            await _settle()
        self._elapsed = target
        await _settle()

    def move(self, seconds: float) -> None:
        """Move time on at once: sleepers that became due wake when the caller next awaits."""
        self._elapsed += timedelta(seconds=seconds)
        self._wake_due()

    def set(self, moment: datetime) -> None:
        """Make it that moment, which may not lie in the past."""
        seconds = (moment - self.now()).total_seconds()
        if seconds < 0:
            raise ValueError("a clock does not run backwards")
        self.move(seconds)

    def _next_due(self) -> timedelta | None:
        while self._sleepers and self._sleepers[0][2].done():  # cancelled meanwhile
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def _wake_due(self) -> None:
        while (due := self._next_due()) is not None and due <= self._elapsed:
            heapq.heappop(self._sleepers)[2].set_result(None)


class FakeChance:
    """Randomness that repeats: the same seed gives the same values in the same order."""

    def __init__(self, seed: int = 0, *, lean: float = 0.0) -> None:
        """Build it.

        Args:
            seed: Which sequence of values to give.
            lean: Where in its range `spread` lands: -1 the lowest, 0 the middle, 1 the highest.
        """
        self._seed = seed
        self._drawn = 0
        self.lean = lean

    def token_hex(self, nbytes: int) -> str:
        """Return that many bytes as hex, different on every call."""
        return self._bytes(nbytes).hex()

    def uuid4(self) -> str:
        """Return a valid UUID v4, different on every call."""
        return str(uuid.UUID(bytes=self._bytes(16), version=4))

    def spread(self, value: float, fraction: float) -> float:
        """Return `value` moved by `lean` of that fraction."""
        return value * (1 + self.lean * fraction)

    def _bytes(self, count: int) -> bytes:
        self._drawn += 1
        drawn = f"{self._seed}:{self._drawn}".encode()
        return hashlib.shake_256(drawn).digest(count)


async def _settle() -> None:
    for _ in range(_SETTLING_TURNS):
        await asyncio.sleep(0)
