"""Time and randomness as values that are passed in, so that no test has to wait or guess."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
import uuid
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What time it is, and how to wait."""

    def now(self) -> datetime:
        """Return the present moment, aware and in UTC."""

    def monotonic(self) -> float:
        """Return seconds that never run backwards."""

    async def sleep(self, seconds: float) -> None:
        """Come back after that many seconds."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present moment, aware and in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never run backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Come back after that many seconds."""
        await asyncio.sleep(seconds)


class Chance(Protocol):
    """Where randomness comes from."""

    def token_hex(self, nbytes: int) -> str:
        """Return that many unpredictable bytes as hex."""

    def uuid4(self) -> str:
        """Return a random UUID as text."""

    def spread(self, value: float, fraction: float) -> float:
        """Return `value` moved by at most that fraction up or down."""


class SystemChance:
    """The machine's randomness."""

    def token_hex(self, nbytes: int) -> str:
        """Return that many unpredictable bytes as hex."""
        return secrets.token_hex(nbytes)

    def uuid4(self) -> str:
        """Return a random UUID as text."""
        return str(uuid.uuid4())

    def spread(self, value: float, fraction: float) -> float:
        """Return `value` moved by at most that fraction up or down."""
        return value * (1 + random.uniform(-fraction, fraction))  # noqa: S311 - jitter, not a secret
