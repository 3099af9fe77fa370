"""The processes of one Carrick that are killed: servers and workers on a shared store."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.server import PATIENCE_S, ServerProcess

from carrick.runtime.limits import descendants
from carrick.testing.fake_provider import FakeProvider


class Worker(ServerProcess):
    """A `carrick worker` process."""

    async def start(self) -> None:
        """Start it and wait until it says that it works."""
        with (self.directory / "server.log").open("ab") as output:
            begun_at = output.tell()
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "carrick", "worker"),
                cwd=self.directory,
                env=self.environ(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        async with asyncio.timeout(PATIENCE_S):
            while b"Carrick works" not in self.log[begun_at:]:
                assert self._process.returncode is None, self.log.decode(errors="replace")
                await asyncio.sleep(0.02)


@dataclass
class Nodes:
    """Every node, and which of them are up."""

    servers: list[ServerProcess]
    workers: list[Worker]
    kills_of_nodes: int = 0
    kills_of_runners: int = 0
    _down: set[int] = field(default_factory=set)
    _starting: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def all(self) -> list[ServerProcess]:
        """Servers and workers."""
        return [*self.servers, *self.workers]

    def any_server(self, chance: random.Random) -> ServerProcess:
        """Return a server that is up, or one that will be."""
        up = [one for one in self.servers if id(one) not in self._down]
        return chance.choice(up or self.servers)

    @property
    def kills(self) -> int:
        """How many processes have been killed."""
        return self.kills_of_nodes + self.kills_of_runners

    async def start(self) -> None:
        """Start them all, the first one alone because it migrates."""
        await self.servers[0].start()
        await asyncio.gather(*(node.start() for node in self.all[1:]))

    async def close(self) -> None:
        """End them all."""
        if self._starting:
            await asyncio.wait(self._starting)
        await asyncio.gather(*(node.close() for node in self.all))

    def kill_a_runner(self, chance: random.Random) -> None:
        """Kill one process that runs functions, on any node, without a word."""
        runners = [
            pid
            for node in self.all
            if id(node) not in self._down
            for pid in descendants(node.pid)
            if _is_runner(pid)
        ]
        if not runners:
            return
        try:
            os.kill(chance.choice(runners), signal.SIGKILL)
        except ProcessLookupError:
            return
        self.kills_of_runners += 1

    async def kill_a_node(self, chance: random.Random) -> None:
        """Kill a node and start it again beside everything that goes on."""
        up = [node for node in self.all if id(node) not in self._down]
        servers = [node for node in up if node in self.servers]
        if not up or (len(self.servers) > 1 and len(servers) == 1):
            up = [node for node in up if node in self.workers]
        if not up:
            return
        node = chance.choice(up)
        self._down.add(id(node))
        await node.kill()
        self.kills_of_nodes += 1
        again = asyncio.create_task(self._start_again(node))
        self._starting.add(again)
        again.add_done_callback(self._starting.discard)

    async def all_up(self) -> None:
        """Come back when every node that was killed is up again."""
        if self._starting:
            await asyncio.wait(self._starting)

    async def _start_again(self, node: ServerProcess) -> None:
        await node.start()
        self._down.discard(id(node))


def plan(
    directory: Path, provider: FakeProvider, database_url: str | None, *, servers: int, workers: int
) -> Nodes:
    """Name the nodes: one server on SQLite, as many as wanted on Postgres."""
    first: ServerProcess | None = None
    made: list[ServerProcess] = []
    for number in range(servers + workers if database_url else 1):
        place = directory / f"node-{number}"
        place.mkdir()
        kind = ServerProcess if number < servers else Worker
        settings = {"CARRICK_DATABASE_URL": database_url} if database_url else {}
        node = kind(place, provider, settings)
        if first is not None:
            node.secret_key, node.encryption_key = first.secret_key, first.encryption_key
        first = first or node
        made.append(node)
    return Nodes(
        [node for node in made if not isinstance(node, Worker)],
        [node for node in made if isinstance(node, Worker)],
    )


def _is_runner(pid: int) -> bool:
    try:
        return b"carrick.runner" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
