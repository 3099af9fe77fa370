"""`carrick keys rotate` beside a real server, when either of them is killed in the middle."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.server import ServerProcess, is_alive, served

from carrick.app import opened_store
from carrick.app.rotation import Rotation
from carrick.model.clock import SystemClock
from carrick.model.faults import Point
from carrick.settings import Settings
from carrick.testing.faults import PlannedFaults

#: The rotation takes a hundred at a time.
CONNECTIONS = 120
#: Rotates, and dies before the second hundred is durable: after the standing of things, the
#: switch, the signing keys and the first hundred.
DIES = """
import asyncio, sys
from carrick.app import opened_store
from carrick.app.rotation import Rotation
from carrick.model.clock import SystemClock
from carrick.model.faults import Point
from carrick.settings import read_settings
from carrick.testing.faults import PlannedFaults, kill_process

async def main():
    faults = PlannedFaults()
    faults.plan(Point.BEFORE_COMMIT, kill_process, passing=5)
    async with opened_store(read_settings(), SystemClock(), migrated=False, faults=faults) as store:
        await (await Rotation.open(read_settings(), store, SystemClock())).rotate()

asyncio.run(main())
"""


@pytest.fixture
async def server(store_url: str, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server with many connections: on SQLite with a key file, on Postgres with keys as set."""
    is_postgres = store_url.startswith("postgres")
    settings = {"database_url": store_url} if is_postgres else {"encryption_key": ""}
    async with served(tmp_path / "server", isolation="none", **settings) as server:
        account = server.provider.add_account("ann")
        for start in range(0, CONNECTIONS, 10):
            names = [f"c{number}" for number in range(start, start + 10)]
            answers = await asyncio.gather(*(server.connect(account, name) for name in names))
            assert {answer.status for answer in answers} == {201}
        if is_postgres:
            old, new = server.encryption_key, base64.b64encode(os.urandom(32)).decode()
            server.encryption_key = f"{new},{old}"
            assert await server.terminate() == 0  # one that is killed counts for a minute more
            await server.start()
        yield server


async def carrick(server: ServerProcess, *words: str) -> tuple[int, str]:
    """Run Python beside a server; return its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *words),
        cwd=server.directory,
        env=server.environ(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode or 0, (output + errors).decode()


async def demand_readable(server: ServerProcess) -> None:
    """Make sure that every connection's credentials can be read."""
    for start in range(0, CONNECTIONS, 10):
        names = [f"c{number}" for number in range(start, start + 10)]
        for found in await asyncio.gather(*(server.get(name) for name in names)):
            assert found.status == 200, found.text
            assert found.json["credentials"]["apiKey"]


async def finished(server: ServerProcess) -> None:
    """Run the command once more, and see that nothing is left for it to do."""
    code, output = await carrick(server, "-m", "carrick", "keys", "rotate", "--json")
    assert code == 0, output
    told = json.loads(output)
    assert told["unreadable"] == {}
    assert told["encrypted_again"] == {"connections.credentials": CONNECTIONS - 100}
    await demand_readable(server)
    await server.restart()
    await demand_readable(server)


async def test_the_command_is_killed_in_the_middle(server: ServerProcess) -> None:
    """The server reads old and new, also after a restart; the command run again goes on."""
    code, output = await carrick(server, "-c", DIES)
    assert code == -signal.SIGKILL, output
    await demand_readable(server)
    await server.restart()
    await demand_readable(server)
    await finished(server)


async def test_the_server_is_killed_in_the_middle(server: ServerProcess) -> None:
    """What it had written is sealed again without it, and it starts with the new key."""
    faults, clock = PlannedFaults(), SystemClock()
    faults.plan(Point.AFTER_COMMIT, server.kill, passing=4)
    environ = server.environ()
    settings = Settings.model_validate(
        {
            "data_dir": server.data_dir,
            "database_url": environ.get("CARRICK_DATABASE_URL"),
            "encryption_key": environ["CARRICK_ENCRYPTION_KEY"] or None,
        }
    )
    async with opened_store(settings, clock, migrated=False, faults=faults) as store:
        rotated = await (await Rotation.open(settings, store, clock)).rotate()

    assert not is_alive(server.pid)
    assert rotated.unreadable == {}
    assert rotated.resealed["connections.credentials"] == CONNECTIONS
    await server.start()
    await demand_readable(server)
