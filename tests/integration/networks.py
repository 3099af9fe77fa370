"""Networks that can be cut: a node in a namespace of its own, with a line to each it talks to.

Needs root and iproute2. Lines are veth pairs; one that is cut drops everything without a word,
as a broken switch does, and nobody at either end is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit, urlunsplit


@dataclass
class Line:
    """A cable between this machine and a namespace: `here` and `there` are its ends' addresses."""

    device: str
    here: str
    there: str

    def cut(self) -> None:
        """Let nothing through."""
        _ip("link", "set", self.device, "down")

    def drop(self) -> None:
        """Take what comes, and let nothing back: nobody is told that there is no way."""
        _ip("route", "add", "blackhole", f"{self.there}/32")

    def heal(self) -> None:
        """Let everything through again."""
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("route", "delete", "blackhole", f"{self.there}/32")
        _ip("link", "set", self.device, "up")


@dataclass
class Network:
    """A namespace, with as many lines to it as are asked for."""

    name: str
    lines: list[Line] = field(default_factory=list)

    @property
    def prefix(self) -> tuple[str, ...]:
        """What has to come before a command that is to run inside."""
        return ("ip", "netns", "exec", self.name)

    def line(self) -> Line:
        """Lay a line."""
        number = len(self.lines)
        subnet = f"10.{64 + os.getpid() % 64}.{os.getpid() // 64 % 256}"
        line = Line(
            f"{self.name}h{number}",
            f"{subnet}.{4 * number + 1}",
            f"{subnet}.{4 * number + 2}",
        )
        inside = f"{self.name}n{number}"
        _ip("link", "add", line.device, "type", "veth", "peer", "name", inside)
        _ip("link", "set", inside, "netns", self.name)
        _ip("address", "add", f"{line.here}/30", "dev", line.device)
        _ip("-n", self.name, "address", "add", f"{line.there}/30", "dev", inside)
        _ip("-n", self.name, "link", "set", inside, "up")
        line.heal()
        self.lines.append(line)
        return line


def why_not() -> str | None:
    """Return why there can be no namespaces here, if so."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need iproute2"
    try:
        with network("carrickprobe") as made:
            made.line()
    except subprocess.CalledProcessError as error:
        return f"no network namespace can be made: {error.stderr.strip()}"
    return None


@contextlib.contextmanager
def network(name: str | None = None) -> Iterator[Network]:
    """Make a namespace; it goes with everything in it, and its lines with it."""
    made = Network(name or f"car{os.getpid()}")
    _ip("netns", "add", made.name)
    try:
        _ip("-n", made.name, "link", "set", "lo", "up")
        yield made
    finally:
        _ip("netns", "delete", made.name)
        for line in made.lines:
            with contextlib.suppress(subprocess.CalledProcessError):
                line.heal()
                _ip("link", "delete", line.device)


@contextlib.asynccontextmanager
async def reached_at(address: str, database_url: str) -> AsyncIterator[str]:
    """Make a database that may listen on a socket file reachable at an address, and say its URL."""
    parts = urlsplit(database_url)
    socket_folder = parse_qs(parts.query).get("host", [""])[0]

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if socket_folder.startswith("/"):
            opened = asyncio.open_unix_connection(f"{socket_folder}/.s.PGSQL.{parts.port or 5432}")
        else:
            opened = asyncio.open_connection(parts.hostname, parts.port or 5432)
        with contextlib.suppress(OSError):
            far_reader, far_writer = await opened
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))

    server = await asyncio.start_server(pass_on, address, 0)
    port = server.sockets[0].getsockname()[1]
    user, _, _ = parts.netloc.rpartition("@")
    async with server:
        yield urlunsplit(parts._replace(netloc=f"{user}@{address}:{port}", query=""))
        server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
