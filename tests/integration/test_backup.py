"""Copies of the embedded store: made while it is written to, and put back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.integration.server import ServerProcess, served
from tests.lifecycle.house import CLEANUP

from carrick.app import running
from carrick.app.backups import Restored, back_up, keys_beside, restore
from carrick.errors import BackupInvalid, SettingsInvalid, StoreDamaged, StoreInUse
from carrick.settings import Settings
from carrick.store import snapshot
from carrick.testing.fake_provider import FakeProvider
from carrick.vault import KeyFile

in_one_loop = pytest.mark.asyncio(loop_scope="module")
pytestmark = in_one_loop

SETUP = """
@create_on_event(event="post-connection-creation", description="Register", waits=[0.01])
async def function(ctx: EventContext) -> None:
    hook = await ctx.post("/webhooks", data={"url": "https://app.example/" + ctx.connection_id})
    await ctx.update_metadata(webhook_id=hook.data["id"])
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """A running server whose encryption key is in its key file."""
    async with FakeProvider() as provider:
        directory = tmp_path_factory.mktemp("backup")
        async with served(directory, provider) as server:
            answer = await server.deploy({"register": SETUP, "clean-up": CLEANUP})
            assert answer.status == 200, answer.text
            yield server


async def carrick(server: ServerProcess, *words: str, **changes: str) -> tuple[int, str]:
    """Run the command line beside a server; return its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "carrick", *words),
        cwd=server.directory,
        env={**server.environ(), **changes},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_a_copy_made_under_load_is_whole_and_serves(
    server: ServerProcess, tmp_path: Path
) -> None:
    """What was answered before the copy was begun is in it, and a second server goes on with it."""
    account = server.provider.add_account("ann")
    for number in range(5):
        assert (await server.connect(account, f"before-{number}")).status == 201
    load = asyncio.create_task(_connect_until_cancelled(server))
    copy = tmp_path / "copy.db"
    code, output = await carrick(server, "backup", str(copy))
    load.cancel()
    assert code == 0, output
    assert "CARRICK_ENCRYPTION_KEY" in output

    other_dir = tmp_path / "other"
    code, output = await carrick(server, "restore", str(copy), "--data-dir", str(other_dir))
    assert code == 0, output
    other = ServerProcess(
        tmp_path,
        server.provider,
        {"CARRICK_DATA_DIR": str(other_dir)},
        secret_key=server.secret_key,
        encryption_key=server.encryption_key,
    )
    async with other:
        for number in range(5):
            found = await other.get(f"before-{number}")
            assert found.status == 200, found.text
            assert found.json["credentials"]["apiKey"] == account.api_key
        # What had begun goes on, with what the copy knows of it.
        await other.set_up("before-0")
        assert (await other.delete("before-0")).json["cleanup"] == "done"


async def _connect_until_cancelled(server: ServerProcess) -> None:
    account = server.provider.add_account("bob")
    number = 0
    while True:
        number += 1
        await server.connect(account, f"meanwhile-{number}")


def settings_of(server: ServerProcess, data_dir: Path | None = None, **changes: Any) -> Settings:
    """Return what the command line beside a server works with."""
    values = {"data_dir": data_dir or server.data_dir, "encryption_key": server.encryption_key}
    return Settings(**{**values, **changes})


@pytest.fixture
def copy(server: ServerProcess, tmp_path: Path) -> Path:
    """A copy of the server's database."""
    target = tmp_path / "copy.db"
    back_up(settings_of(server), target, with_keys=False)
    return target


def put_back(
    settings: Settings, copy: Path, *, keys: Path | None = None, force: bool = False
) -> Restored:
    """Restore a copy."""
    return restore(settings, copy, keys=keys, force=force, now=datetime(2026, 1, 5, tzinfo=UTC))


async def test_a_running_server_s_database_is_not_replaced(
    server: ServerProcess, copy: Path
) -> None:
    """Restoring under a server says so and changes nothing, forced or not."""
    with pytest.raises(StoreInUse):
        put_back(settings_of(server), copy, force=True)
    assert (await server.call("GET", "/connections")).status == 200


async def test_a_database_that_is_there_is_kept(
    server: ServerProcess, copy: Path, tmp_path: Path
) -> None:
    """A second restore is refused, and forced it keeps what was there under another name."""
    settings = settings_of(server, tmp_path / "place")
    assert put_back(settings, copy).kept_as is None
    with pytest.raises(SettingsInvalid, match="--force"):
        put_back(settings, copy)
    kept = put_back(settings, copy, force=True).kept_as
    assert kept is not None
    assert snapshot.inspect(kept).environments == 2


async def test_a_copy_needs_its_key(server: ServerProcess, copy: Path, tmp_path: Path) -> None:
    """Without the key that encrypted it nothing is restored; the key's name is told."""
    settings = settings_of(server, tmp_path / "place", encryption_key=None)
    with pytest.raises(BackupInvalid, match=r"encrypted with key [0-9a-f]{16}, .* --keys"):
        put_back(settings, copy)
    assert not (tmp_path / "place" / "carrick.db").exists()


async def test_keys_travel_with_a_copy_when_asked(tmp_path: Path) -> None:
    """A server whose key lies in keys.toml: copied with `with_keys`, restored with the copy."""
    home = Settings(data_dir=tmp_path / "home")
    async with running(home):
        back_up(home, tmp_path / "copy.db", with_keys=True)
    keys = keys_beside(tmp_path / "copy.db")
    assert keys.stat().st_mode & 0o077 == 0
    place = Settings(data_dir=tmp_path / "place")
    with pytest.raises(BackupInvalid):
        put_back(place, tmp_path / "copy.db")
    put_back(place, tmp_path / "copy.db", keys=keys)
    assert KeyFile.load(tmp_path / "place" / "keys.toml") == replace(
        KeyFile.load(tmp_path / "home" / "keys.toml"), path=tmp_path / "place" / "keys.toml"
    )
    async with running(place) as app:
        assert await app.rooms.environments.by_name("prod") is not None


@pytest.mark.parametrize("name", ["carrick.db", "carrick.db-wal", "keys.toml", "server.lock"])
async def test_a_copy_never_takes_the_place_of_what_a_server_lives_on(
    server: ServerProcess, name: str
) -> None:
    """Not even forced: the running server goes on as before."""
    own = server.data_dir / name
    before = own.stat().st_ino if own.exists() else None
    code, output = await carrick(server, "backup", str(own), "--force")
    assert (code, "Name another file" in output) == (1, True), output
    assert (own.stat().st_ino if own.exists() else None) == before
    assert (await server.call("GET", "/connections")).status == 200


async def test_a_copy_never_takes_the_place_of_another_server_s(
    server: ServerProcess, tmp_path: Path
) -> None:
    """Whatever directory a server has, or had, its files are no place for a copy."""
    other = Settings(data_dir=tmp_path / "other")
    async with running(other):
        before = other.database_file.stat().st_ino
        with pytest.raises(SettingsInvalid, match="Name another file"):
            back_up(settings_of(server), other.database_file, with_keys=False, force=True)
        assert other.database_file.stat().st_ino == before


async def test_a_copy_replaces_only_files(server: ServerProcess, tmp_path: Path) -> None:
    """What is no file, a device or a pipe, would be gone for everybody."""
    target = tmp_path / "pipe"
    os.mkfifo(target)
    with pytest.raises(SettingsInvalid, match="not a file that can be replaced"):
        back_up(settings_of(server), target, with_keys=False, force=True)
    assert target.is_fifo()


async def test_a_copy_replaces_nothing_unless_told(tmp_path: Path) -> None:
    """Neither a copy that is there, nor keys that lie beside it."""
    home = Settings(data_dir=tmp_path / "home")
    async with running(home):
        pass
    target, keys = tmp_path / "copy.db", keys_beside(tmp_path / "copy.db")
    keys.write_text("another server's")
    with pytest.raises(SettingsInvalid, match=r"keys\.toml exists.*--force"):
        back_up(home, target, with_keys=True)
    assert keys.read_text() == "another server's"
    assert not target.exists()
    back_up(home, target, with_keys=True, force=True)
    with pytest.raises(SettingsInvalid, match=r"copy\.db exists.*--force"):
        back_up(home, target, with_keys=False)


async def test_keys_that_are_not_in_the_file_are_not_said_to_be_kept(
    server: ServerProcess, tmp_path: Path
) -> None:
    """Where the key comes from a variable, a copy with keys would be one without."""
    with pytest.raises(SettingsInvalid, match="CARRICK_ENCRYPTION_KEY"):
        back_up(settings_of(server), tmp_path / "copy.db", with_keys=True)
    assert list(tmp_path.iterdir()) == []


async def test_the_log_of_a_lost_database_is_not_played_into_a_copy(tmp_path: Path) -> None:
    """A server was killed and its database is gone, but not the log that lay beside it."""
    home = Settings(data_dir=tmp_path / "home")
    async with running(home) as app:
        back_up(home, tmp_path / "copy.db", with_keys=False)
        await app.rooms.environments.create("after-the-copy")
        log = home.database_file.with_name("carrick.db-wal").read_bytes()
    home.database_file.unlink()
    home.database_file.with_name("carrick.db-wal").write_bytes(log)

    kept = put_back(home, tmp_path / "copy.db").kept_as

    assert kept is not None
    assert kept.read_bytes() == log
    async with running(home) as app:
        assert await app.rooms.environments.by_name("after-the-copy") is None


async def test_keys_that_open_nothing_are_not_taken_over(tmp_path: Path) -> None:
    """New secrets would be encrypted with the key of another server, of which nobody knows."""
    home, other = Settings(data_dir=tmp_path / "home"), Settings(data_dir=tmp_path / "other")
    async with running(home), running(other):
        back_up(home, tmp_path / "copy.db", with_keys=True)
    place = Settings(data_dir=tmp_path / "place")
    with pytest.raises(BackupInvalid, match="encrypted with key"):
        put_back(place, tmp_path / "copy.db", keys=other.key_file)
    assert not place.key_file.exists()
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    with pytest.raises(SettingsInvalid, match="no encryption key in it"):
        put_back(place, tmp_path / "copy.db", keys=tmp_path / "pyproject.toml")
    put_back(place, tmp_path / "copy.db", keys=keys_beside(tmp_path / "copy.db"))
    assert KeyFile.load(place.key_file).active == KeyFile.load(home.key_file).active


async def test_a_place_that_cannot_be_written_is_not_blamed_on_the_copy(
    server: ServerProcess, copy: Path, tmp_path: Path
) -> None:
    """The message names what is in the way."""
    place = settings_of(server, tmp_path / "place")
    (place.data_dir / "carrick.db.arriving").mkdir(parents=True)
    with pytest.raises(BackupInvalid, match=r"carrick\.db\.arriving"):
        put_back(place, copy)


async def test_a_copy_without_a_schema_version_is_refused(
    server: ServerProcess, copy: Path, tmp_path: Path
) -> None:
    """It has Carrick's tables, and nobody knows which."""
    with contextlib.closing(sqlite3.connect(copy)) as database:
        database.execute("DELETE FROM alembic_version")
        database.commit()
    with pytest.raises(BackupInvalid, match="no schema version"):
        put_back(settings_of(server, tmp_path / "place"), copy)


async def test_what_a_killed_copy_left_is_in_nobodys_way(
    server: ServerProcess, tmp_path: Path
) -> None:
    """In containers the next process often has the same number as the one that was killed."""
    target = tmp_path / "copy.db"
    left = target.with_name(f".{target.name}.{os.getpid()}")
    left.write_text("half a copy")

    back_up(settings_of(server), target, with_keys=False)

    assert snapshot.inspect(target).environments == 2
    assert left.read_text() == "half a copy"  # it may be another's that is still at it


async def test_a_copy_that_cannot_be_made_is_told_by_its_own_name(
    server: ServerProcess, tmp_path: Path
) -> None:
    """A place that is none is not blamed on the database."""
    with pytest.raises(SettingsInvalid, match="There is no folder"):
        back_up(settings_of(server), tmp_path / "nowhere" / "copy.db", with_keys=False)
    with pytest.raises(SettingsInvalid, match="is a folder"):
        back_up(settings_of(server), tmp_path, with_keys=False, force=True)


async def test_keys_that_are_none_are_told(
    server: ServerProcess, copy: Path, tmp_path: Path
) -> None:
    """Whoever mixes up the copy and its keys reads that."""
    settings = settings_of(server, tmp_path / "place", encryption_key=None)
    for wrong in (b"\xd9\xff not text", b"not = = toml"):
        (tmp_path / "wrong").write_bytes(wrong)
        with pytest.raises(SettingsInvalid, match=r"wrong is not"):
            put_back(settings, copy, keys=tmp_path / "wrong")
    assert not (tmp_path / "place" / "carrick.db").exists()


async def test_a_damaged_copy_is_refused(server: ServerProcess, copy: Path, tmp_path: Path) -> None:
    """A file that is no database, or one with a hole in it, is never put in place."""
    settings = settings_of(server, tmp_path / "place")
    whole = copy.read_bytes()
    holed = whole[:8192] + b"\xff" * 4096 + whole[12288:]
    for damaged in (b"", b"not a database at all" * 500, holed, whole[: len(whole) // 2]):
        copy.write_bytes(damaged)
        with pytest.raises(BackupInvalid):
            put_back(settings, copy)
    assert not (tmp_path / "place" / "carrick.db").exists()


async def test_a_damaged_database_is_named_at_start(tmp_path: Path) -> None:
    """A server does not start on a file that is no database, and says what to do."""
    (tmp_path / "carrick.db").write_bytes(b"\xff" * 8192)
    with pytest.raises(StoreDamaged, match="carrick restore"):
        async with running(Settings(data_dir=tmp_path)):
            pass
