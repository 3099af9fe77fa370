"""A Postgres behind PgBouncer: fine in session mode, refused by name in transaction mode."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text
from tests.integration.server import PATIENCE_S, ServerProcess, free_port, served
from tests.integration.wires import Wire, wire_to
from tests.lifecycle.house import CLEANUP, SETUP, VALIDATE

from carrick.app.stores import opened_store
from carrick.errors import SettingsInvalid
from carrick.model.clock import SystemClock
from carrick.settings import Settings
from carrick.store.opening import open_store, running
from carrick.store.unit import Tx
from carrick.testing.fake_provider import FakeProvider

pytestmark = pytest.mark.postgres

CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={far_port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 50
{more}
"""


@contextlib.asynccontextmanager
async def pooled(directory: Path, wire: Wire, mode: str, more: str = "") -> AsyncIterator[str]:
    """Run PgBouncer in front of a database, with no more settings than it takes to start."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if found is None:
        pytest.skip("pgbouncer is not installed")
    parts, port = urlsplit(wire.url), free_port()
    directory.mkdir()
    file, log = directory / "pgbouncer.ini", directory / "log"
    file.write_text(
        CONFIGURATION.format(
            far_port=parts.port, user=parts.username, port=port, mode=mode, more=more
        )
    )
    # It does not run as root, and as anybody else it may not look into this directory: it reads
    # its settings before it changes, and is handed what it writes to.
    as_whom = ["-u", "nobody"] if os.geteuid() == 0 else []
    with log.open("wb") as output:
        process = subprocess.Popen([found, *as_whom, str(file)], stderr=output)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not await _listens(port):
                assert process.poll() is None, log.read_text()
                await asyncio.sleep(0.02)
        yield f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}"
    finally:
        process.kill()
        process.wait()


async def _listens(port: int) -> bool:
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False


@pytest.fixture
async def wire(postgres_url: str) -> AsyncIterator[Wire]:
    """The database by TCP, wherever it listens."""
    async with wire_to(postgres_url) as laid:
        yield laid


async def test_everything_works_in_session_mode(tmp_path: Path, wire: Wire) -> None:
    """As PgBouncer comes, with its own settings; what limits a statement holds there as well."""
    async with (
        pooled(tmp_path / "pooler", wire, "session") as url,
        served(tmp_path / "server", database_url=url) as server,
    ):
        functions = {"check": VALIDATE, "setup": SETUP, "clean-up": CLEANUP}
        assert (await server.deploy(functions)).status == 200
        account = server.provider.add_account("Ada")
        assert (await server.connect(account)).status == 201
        await server.set_up()
        assert len(server.provider.webhooks_of(account)) == 1
        assert (await server.delete()).status == 200
        assert server.provider.webhooks_of(account) == []
        assert b"engine_disconnected" not in server.log
        assert b"Traceback" not in server.log

        async def limit(tx: Tx) -> str:
            return str(await tx.scalar(text("SHOW statement_timeout")))

        async with running(open_store(url, SystemClock())) as store:
            assert await store.read(limit) == "15s"


async def test_transaction_mode_is_known_whichever_connection_comes_next(
    tmp_path: Path, wire: Wire
) -> None:
    """PgBouncer hands out the one that was free last, or in turn where it is told to."""
    async with pooled(tmp_path / "pooler", wire, "transaction", "server_round_robin = 1") as url:
        with pytest.raises(SettingsInvalid, match="pool_mode = transaction"):
            async with opened_store(Settings(database_url=url), SystemClock(), migrated=True):
                pass


async def test_transaction_mode_is_refused_by_name(tmp_path: Path, wire: Wire) -> None:
    """No server starts on what would lose wake-ups without a word, and no command writes to it."""
    async with pooled(tmp_path / "pooler", wire, "transaction") as url, FakeProvider() as provider:
        with pytest.raises(SettingsInvalid, match="pool_mode = transaction"):
            async with opened_store(Settings(database_url=url), SystemClock(), migrated=True):
                pass
        (tmp_path / "server").mkdir()
        server = ServerProcess(tmp_path / "server", provider, {"CARRICK_DATABASE_URL": url})
        try:
            with pytest.raises(AssertionError, match="Postgres itself"):
                await server.start()
        finally:
            await server.close()
