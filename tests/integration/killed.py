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

    async def spawn(self, port: int | None = None) -> asyncio.subprocess.Process:
        """Start it, with what it is to die at."""
        if self.kill_at is None:
            return await super().spawn(port)
        environ = {**self.environ(), "CARRICK_PORT": str(self._port if port is None else port)}
        with (self.directory / "server.log").open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "carrick.testing.serve", "--migrate"),
                *("--kill-at", self.kill_at),
                cwd=self.directory,
                env=environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    async def start_again(self) -> None:
        """Wait until it has died, and start one that lives on."""
        assert self._process is not None
        async with asyncio.timeout(PATIENCE_S):
            await self._process.wait()
        self.kill_at = None
        await self.start()
