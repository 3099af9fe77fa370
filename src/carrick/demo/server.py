"""A `carrick serve` of the demo's own: a process, a free port, a directory that is thrown away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

#: Longest wait for the server to be ready, and for it to stop.
_READY_WITHIN_S = 30.0
_STOP_WITHIN_S = 10.0


class ServerFailed(Exception):
    """The demo's server did not come up, or went away."""


@dataclass(frozen=True)
class Server:
    """A running server and what one needs to talk to it."""

    url: str
    secret_key: str
    directory: Path

    def environ(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the whole environment of a process that belongs to this server.

        It is made from nothing, so that settings of the person who runs the demo stay out of it.
        """
        return {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            "CARRICK_SERVER_URL": self.url,
            "CARRICK_SECRET_KEY_DEV": self.secret_key,
            **(extra or {}),
        }


@contextlib.asynccontextmanager
async def serving(
    directory: Path, secret_key: str, settings: Mapping[str, str]
) -> AsyncIterator[Server]:
    """Start a server in a directory and stop it at the end.

    Raises:
        ServerFailed: It did not become ready, or it went away; the message has the end of its log.
    """
    port = _free_port()
    server = Server(f"http://127.0.0.1:{port}", secret_key, directory)
    log = directory / "server.log"
    data = {"CARRICK_DATA_DIR": str(directory / "data"), "CARRICK_PORT": str(port)}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "carrick", "serve"),
            cwd=directory,
            env=server.environ({**data, **settings}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        await _until_ready(server, process, log)
        yield server
    except aiohttp.ClientConnectionError as error:
        raise ServerFailed(f"the server went away ({error}):\n{_tail(log)}") from error
    finally:
        await _stop(process)


async def command(server: Server, *arguments: str, cwd: Path) -> tuple[int, str]:
    """Run a `carrick` command against a server and return its exit code and output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "carrick", *arguments),
        cwd=cwd,
        env=server.environ(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:  # the demo was cancelled
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace").strip()


async def _until_ready(server: Server, process: asyncio.subprocess.Process, log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    health = "no answer"
    async with aiohttp.ClientSession() as http:
        while time.monotonic() < deadline:
            if process.returncode is not None:
                raise ServerFailed(
                    f"the server ended with exit code {process.returncode}:\n{_tail(log)}"
                )
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                timeout = aiohttp.ClientTimeout(total=2)
                async with http.get(f"{server.url}/health", timeout=timeout) as answer:
                    if answer.status == 200:
                        return
                    health = await answer.text()
            await asyncio.sleep(0.03)
    waited = f"the server was not ready after {_READY_WITHIN_S:.0f} s"
    raise ServerFailed(f"{waited}; /health says: {health}\n{_tail(log)}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _STOP_WITHIN_S)
    # Whatever it left behind belongs to its session and goes with it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _tail(log: Path, lines: int = 10) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
