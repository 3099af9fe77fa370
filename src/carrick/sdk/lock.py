"""Locks that runs of one integration share, held by the host under a fence."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any

from carrick.sdk.errors import CarrickUsageError, LockUnavailable

Call = Callable[[str, dict[str, Any]], Awaitable[Any]]
Sleep = Callable[[float], Awaitable[None]]

#: Seconds between tries: the first pause, and the longest that doubling leads to.
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
#: Seconds an `async with` waits for the lock unless it says otherwise.
_WAIT_S = 30.0


class Lock:
    """What a try for a lock brought: `if lock:` says whether it is held."""

    def __init__(self, call: Call, key: str, *, acquired: bool, fence: int) -> None:
        self.key = key
        self.acquired = acquired
        #: Grows with every holder; hand it to systems that can refuse an older one.
        self.fence = fence
        self._call = call

    def __bool__(self) -> bool:
        return self.acquired

    async def release(self) -> None:
        """Give the lock back; nothing happens if it is not held."""
        if self.acquired:
            self.acquired = False
            await self._call("release_lock", {"key": self.key, "fence": self.fence})


class LockRequest:
    """A lock that is asked for: `async with` waits for it, `await` tries."""

    def __init__(
        self, call: Call, sleep: Sleep | None, key: str, ttl: float, wait: float | None
    ) -> None:
        if not key:
            raise CarrickUsageError("A lock needs a key: ctx.lock('customers', ttl=30).")
        if ttl <= 0:
            raise CarrickUsageError(f"ttl is a number of seconds above 0, not {ttl!r}.")
        self._call = call
        self._sleep = sleep
        self._key = key
        self._ttl = ttl
        self._wait = wait
        self._held: Lock | None = None

    def __await__(self) -> Generator[Any, None, Lock]:
        return self._try_for(self._wait or 0.0).__await__()

    async def __aenter__(self) -> Lock:
        wait = _WAIT_S if self._wait is None else self._wait
        lock = await self._try_for(wait)
        if not lock:
            raise LockUnavailable(f"The lock {self._key!r} was not free within {wait:g} s.")
        self._held = lock
        return lock

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._held is not None:
            await self._held.release()

    async def _try_for(self, wait: float) -> Lock:
        pause = _FIRST_PAUSE_S
        while True:
            answer = await self._call("acquire_lock", {"key": self._key, "ttl_s": self._ttl})
            if answer["acquired"] or wait <= 0:
                fence = int(answer.get("fence") or 0)
                return Lock(self._call, self._key, acquired=bool(answer["acquired"]), fence=fence)
            await self._pause(min(pause, wait))
            wait -= pause
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _pause(self, seconds: float) -> None:
        if self._sleep is not None:
            await self._sleep(seconds)
            return
        import asyncio  # late: whoever only imports function files should not load it

        await asyncio.sleep(seconds)
