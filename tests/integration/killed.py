"""A server that kills itself at a fault point, for tests of what a kill there leaves behind."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

from tests.integration.server import PATIENCE_S, ServerProcess


@dataclass
class KilledServer(ServerProcess):
    """A server process, and the fault point it dies at; without one it lives on."""

    kill_at: str | None = None

    def command(self) -> tuple[str, ...]:
        """Return what is run, with what it is to die at."""
        if self.kill_at is None:
            return super().command()
        serve = (sys.executable, "-m", "carrick.testing.serve", "--migrate")
        return (*serve, "--kill-at", self.kill_at)

    async def start_again(self) -> None:
        """Wait until it has died, and start one that lives on."""
        assert self._process is not None
        async with asyncio.timeout(PATIENCE_S):
            await self._process.wait()
        self.kill_at = None
        await self.start()
