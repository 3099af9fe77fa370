"""Servers that start in a fraction of a second: forked from a process that imported everything.

`python -m tests.integration.forks` reads one JSON line for each server to start, forks before any
event loop or thread exists, and says the process id, then how it ended. It says first that it is
ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from tests.integration.server import ServerProcess

ROOT = Path(__file__).parents[2]


class Forks:
    """The process that is forked, one server at a time."""

    def __init__(self, *prefix: str) -> None:
        self._prefix = prefix
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, argv: Sequence[str], environ: Mapping[str, str], log: Path) -> Forked:
        """Start a server with these arguments of `carrick.testing.serve`."""
        await self.ready()
        assert self._process is not None
        wanted = {"argv": list(argv), "environ": dict(environ), "log": str(log)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(wanted).encode() + b"\n")
        return Forked(int(await self.line()), self)

    async def ready(self) -> None:
        """Come back when everything is imported."""
        if self._process is not None:
            return
        self._process = await asyncio.create_subprocess_exec(
            *(*self._prefix, sys.executable, "-m", "tests.integration.forks"),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert await self.line() == "ready"

    async def line(self) -> str:
        """Return the next thing it says."""
        assert self._process is not None
        assert self._process.stdout is not None
        said = await self._process.stdout.readline()
        assert said, "the process that is forked has ended"
        return said.decode().strip()

    async def close(self) -> None:
        """End it."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            await self._process.wait()


class Forked:
    """A forked server, to be used like a subprocess."""

    def __init__(self, pid: int, forks: Forks) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._end = asyncio.create_task(self._watch(forks), name=f"forked-{pid}")

    def kill(self) -> None:
        """Kill it."""
        self._send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to stop."""
        self._send_signal(signal.SIGTERM)

    async def wait(self) -> int:
        """Return how it ended; minus the number of the signal that killed it."""
        return await asyncio.shield(self._end)

    def _send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def _watch(self, forks: Forks) -> int:
        self.returncode = int(await forks.line())
        return self.returncode


class FaultyServer(ServerProcess):
    """A forked server that is killed at the fault point a test names while it runs."""

    def __init__(self, directory: Path, *given: Any, **named: Any) -> None:
        super().__init__(directory, *given, **named)
        self._forks = Forks()

    async def spawn(self, port: int | None = None) -> Any:
        """Fork a server on the data directory."""
        environ = {**self.environ(), "CARRICK_PORT": str(self._port if port is None else port)}
        argv = ["--migrate", "--follow", str(self.directory)]
        return await self._forks.start(argv, environ, self.directory / "server.log")

    @property
    def http(self) -> aiohttp.ClientSession:
        """The session it is asked with: a new connection each time, none to a dead server."""
        if self._http is None:
            connector = aiohttp.TCPConnector(force_close=True)
            timeout = aiohttp.ClientTimeout(total=90)
            self._http = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self._http

    def arm(self, point: str, passing: int = 1) -> None:
        """Have it killed when it passes that point."""
        self._plan(f"{point}:{passing}")

    def disarm(self) -> None:
        """Let it live."""
        self._plan("")

    def _plan(self, text: str) -> None:
        # In one step: a plan half written would be another plan.
        draft = self.directory / "kill-at.new"
        draft.write_text(text)
        draft.rename(self.directory / "kill-at")

    def passed(self) -> list[str]:
        """Return every point that was passed since this was last asked, in order."""
        path = self.directory / "passed"
        found = path.read_text().split() if path.exists() else []
        os.truncate(path, 0)
        return found

    async def death(self) -> None:
        """Wait until it was killed by its own hand."""
        assert self._process is not None
        async with asyncio.timeout(20):
            assert await self._process.wait() == -signal.SIGKILL, self.log.decode()[-4000:]

    @property
    def is_dead(self) -> bool:
        """Whether it has ended."""
        assert self._process is not None
        return self._process.returncode is not None

    async def close(self) -> None:
        """End whatever is left."""
        await super().close()
        await self._forks.close()


def main() -> None:
    """Fork a server for each line read."""
    # Everything a server imports late is imported now, once for all of them.
    import uvicorn.lifespan.off
    import uvicorn.protocols.http.httptools_impl
    import uvicorn.protocols.websockets.websockets_sansio_impl  # noqa: F401

    import carrick.testing.serve  # noqa: F401
    from carrick.providers import load_catalogue

    load_catalogue(None)
    print("ready", flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _serve(**wanted)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _serve(argv: list[str], environ: dict[str, str], log: str) -> None:
    from carrick.testing.serve import main as serve

    code = 70
    try:
        os.setsid()
        os.chdir(Path(log).parent)
        os.environ.clear()
        os.environ.update(environ)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        silence = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((silence, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        code = serve(argv)
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
