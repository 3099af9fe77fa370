"""What becomes of a server whose disk is full, whose file is gone or damaged, whose key is lost."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import socket
import sqlite3
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import insert, select, text
from tests.integration.disks import Disk, small_disk
from tests.integration.nodes import Node, nodes
from tests.integration.server import PATIENCE_S, ServerProcess, kill, served
from tests.lifecycle.house import CLEANUP, SETUP, VALIDATE

from carrick.app import running
from carrick.app.backups import back_up
from carrick.app.stores import opened_store
from carrick.deployments.dependencies import install_dependencies
from carrick.errors import (
    BackupInvalid,
    FunctionsUnavailable,
    KeyMissing,
    SettingsInvalid,
    StoreDamaged,
    StoreNewer,
)
from carrick.model.clock import SystemClock
from carrick.settings import Settings
from carrick.store.migrate import migrate
from carrick.store.opening import open_store, sqlite_url
from carrick.store.opening import running as running_store
from carrick.store.tables import store_facts
from carrick.store.unit import Store, Tx
from carrick.testing.fake_provider import FakeProvider

#: Larger than what SQLite keeps in memory before it needs the disk.
_LARGE = "x" * 4_000_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A small disk where a server's data directory will be."""
    with small_disk(tmp_path / "data", "4m") as made:
        yield made


@pytest.fixture
async def server(disk: Disk, tmp_path: Path) -> AsyncIterator[ServerProcess]:
    """A server on the small disk, with functions, and with one connection that is set up."""
    async with served(tmp_path) as made:
        assert (await made.deploy({"check": VALIDATE, "setup": SETUP})).status == 200
        await made.connect(made.provider.add_account("Ada"))
        await made.set_up()
        yield made


def said(server: ServerProcess, event: str) -> list[dict[str, object]]:
    """Return what the server logged about one thing."""
    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith(b"{")]
    return [line for line in lines if line.get("event") == event]


# --- a full disk ----------------------------------------------------------------------------


async def test_a_full_disk_is_told_once_and_everything_goes_on_when_there_is_room(
    server: ServerProcess, disk: Disk
) -> None:
    """Writes answer 503, reads go on; a setup whose end could not be written ends, and once."""
    provider = server.provider
    account = provider.add_account("Eve")
    provider.fail("slow", path="/webhooks", method="POST", delay_s=0.5)
    assert (await server.connect(account, "under-way")).status == 201
    await provider.until(lambda: len(provider.calls_to("POST", "/webhooks")) == 2)
    disk.fill()

    for number in range(20):
        refused = await server.connect(account, f"new-{number}")
        assert (refused.status, refused.code) == (503, "store_full")
    assert "Make room" in refused.message
    assert (await server.get()).json["credentials"]["apiKey"]
    health = await server.call("GET", "/health")
    assert (health.status, health.code) == (503, "store_full")
    assert (await server.call("GET", "/live")).status == 200
    assert (await server.call("GET", "/ready")).status == 200
    deployed = await server.deploy({"check": VALIDATE, "setup": SETUP, "clean-up": CLEANUP})
    assert (deployed.status, deployed.code) == (503, "functions_unavailable")
    assert "No space left" in deployed.message
    disk.make_room()

    await server.set_up("under-way")
    assert (await server.connect(account, "later")).status == 201
    assert (await server.call("GET", "/health")).status == 200
    await server.restart()
    await server.set_up("later")
    listed = (await server.call("GET", "/connections")).json["connections"]
    assert sorted(one["connection_id"] for one in listed) == ["later", "one", "under-way"]
    assert len(provider.webhooks) == 3
    assert [line["code"] for line in said(server, "store_lost")] == ["store_full"]
    assert len(said(server, "store_back")) == 1
    assert b"Traceback" not in server.log


async def test_a_backup_that_finds_no_room_says_so(disk: Disk) -> None:
    """Half a copy does not stay."""
    settings = Settings(data_dir=disk.path)
    async with opened_store(settings, SystemClock(), migrated=True):
        disk.leave(100_000)
        with pytest.raises(BackupInvalid, match="not enough room"):
            back_up(settings, disk.path / "copy.db", with_keys=False)

    assert not list(disk.path.glob("*copy*"))


async def test_what_shares_a_commit_with_what_does_not_fit_is_not_acknowledged(
    disk: Disk,
) -> None:
    """SQLite undoes a whole transaction when the disk is full; nothing of it counts as written."""

    async def add(store: Store, name: str, value: str = "") -> None:
        async def unit(tx: Tx) -> None:
            await tx.execute(insert(store_facts).values(name=name, value=value))

        await store.write(unit)

    async def names(tx: Tx) -> set[str]:
        return {row.name for row in await tx.rows(select(store_facts.c.name))}

    async with running_store(open_store(sqlite_url(disk.path / "a.db"), SystemClock())) as store:
        await migrate(store)
        disk.leave(1_000_000)
        adding = [add(store, "first"), add(store, "large", _LARGE), add(store, "last")]
        results = await asyncio.gather(*adding, return_exceptions=True)
        kept = await store.read(names)
        disk.make_room()
        await add(store, "after")
        kept_after = await store.read(names)

    told = {
        name for name, result in zip(("first", "large", "last"), results, strict=True) if not result
    }
    assert told == kept
    assert kept_after == {*kept, "after"}


async def test_a_full_temporary_directory_refuses_a_deploy_and_nothing_else(
    tmp_path: Path,
) -> None:
    """What is deployed goes on, in new processes too; a deploy says why not, and leaves nothing."""
    with small_disk(tmp_path / "tmp", "1m", files=32) as disk:
        server = ServerProcess(tmp_path, FakeProvider(), {"TMPDIR": str(disk.path)})
        async with server.provider, server:
            await server.integrate()
            first = await server.deploy({"check": VALIDATE, "setup": SETUP})
            assert first.status == 200, first.text
            account = server.provider.add_account("Ada")
            disk.fill()
            disk.use_up_names()

            refused = await server.deploy({"check": VALIDATE})
            assert (refused.status, refused.code) == (503, "functions_unavailable")
            assert f"{disk.path}" in refused.message
            assert "No space left" in refused.message
            kill(server.runners())
            assert (await server.connect(account)).status == 201
            await server.set_up()
            listed = (await server.call("GET", "/deployments")).json["data"]
            assert [one["number"] for one in listed] == [first.json["data"]["number"]]
            disk.make_room()
            disk.make_room_for_names()

            assert (await server.deploy({"check": VALIDATE})).status == 200
            assert list(disk.path.iterdir()) == []
            assert b"Traceback" not in server.log


@pytest.mark.postgres
async def test_a_node_without_room_for_what_another_took_says_so_and_goes_on(
    tmp_path: Path, postgres_url: str
) -> None:
    """Nobody is refused for it: the connect waits, and is decided as soon as there is room."""
    with small_disk(tmp_path / "node-1" / "data", "1m") as disk:
        async with (
            FakeProvider() as provider,
            nodes(tmp_path, provider, postgres_url, Node, Node) as (roomy, full),
        ):
            await asyncio.gather(roomy.start(), full.start())
            await roomy.integrate()
            disk.fill()
            assert (await roomy.deploy({"check": VALIDATE})).status == 200
            connecting = asyncio.create_task(full.connect(provider.add_account("Ada")))
            async with asyncio.timeout(PATIENCE_S):
                while not said(full, "deployment_not_ready"):
                    await asyncio.sleep(0.05)
            assert not list(disk.path.glob("bundles/[!.]*"))  # the next try may be at one
            disk.make_room()

            assert (await connecting).status == 201
        [told] = said(full, "deployment_not_ready")
        assert "No space left on device" in str(told["reason"])
        assert len(said(full, "deployment_ready")) == 1
        assert len(list(disk.path.glob("bundles/*"))) == 1


@pytest.mark.parametrize("full", ["data", "tmp"])
async def test_dependencies_that_find_no_room_are_not_the_projects_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    """Where they go or where the installer unpacks them: 503 with the reason, and nothing stays."""
    index = tmp_path / "index"
    index.mkdir()
    with zipfile.ZipFile(index / "huge-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("huge.py", "#" * 3_000_000)
        wheel.writestr(
            "huge-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: huge\nVersion: 1.0\n"
        )
        wheel.writestr(
            "huge-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr("huge-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    places = {name: tmp_path / name for name in ("data", "tmp")}
    with small_disk(places[full], "1m") as disk:
        for place in places.values():
            place.mkdir(exist_ok=True)
        monkeypatch.setenv("TMPDIR", str(places["tmp"]))
        with pytest.raises(FunctionsUnavailable, match="No space left"):
            await install_dependencies(["huge"], places["data"])
        assert [place.name for place in disk.path.rglob("*") if place.is_file()] == []
    assert not list((places["data"] / "dependencies").glob("*"))


# --- a file that is gone, or damaged --------------------------------------------------------


async def test_a_database_that_is_taken_away_is_not_written_to(tmp_path: Path) -> None:
    """A deleted file still takes writes, which nobody would ever see again: none are accepted."""
    async with served(tmp_path) as server:
        account = server.provider.add_account("Ada")
        assert (await server.connect(account)).status == 201
        database = server.data_dir / "carrick.db"
        away = server.directory / "elsewhere.db"
        database.rename(away)

        gone = await server.connect(account, "two")
        assert (gone.status, gone.code) == (503, "store_gone")
        assert str(database) in gone.message
        assert (await server.get()).code == "store_gone"
        assert (await server.call("GET", "/health")).code == "store_gone"
        shutil.copy(away, database)
        assert (await server.connect(account, "two")).code == "store_gone"
        away.rename(database)

        assert (await server.connect(account, "three")).status == 201
        assert (await server.get()).status == 200
        lost = [(line["work"], line["code"]) for line in said(server, "store_lost")]
        # Each kind of work once. Whether a write of the server's own fell into that time is chance.
        assert ("reads", "store_gone") in lost
        assert len(set(lost)) == len(lost)
        assert {code for _, code in lost} == {"store_gone"}

        copied = tmp_path / "rescued.db"
        for name in ("carrick.db", "carrick.db-wal"):
            (server.data_dir / name).unlink()
        for link in Path(f"/proc/{server.pid}/fd").iterdir():
            name, _, deleted = link.readlink().name.partition(" ")
            if deleted and name in ("carrick.db", "carrick.db-wal"):
                shutil.copy(link, f"{copied}{name.removeprefix('carrick.db')}")
        with sqlite3.connect(copied) as rescued:
            found = rescued.execute("SELECT connection_id FROM connections ORDER BY id").fetchall()
        assert found == [("one",), ("three",)]
        assert b"Traceback" not in server.log


async def test_a_page_that_is_overwritten_under_a_server_is_named(tmp_path: Path) -> None:
    """What lies on the page is answered 503 `store_damaged`, and the file is not repaired."""
    settings = Settings(data_dir=tmp_path)

    async def everything(tx: Tx) -> int:
        return len(await tx.rows(select(store_facts)))

    async def fill(tx: Tx) -> None:
        for number in range(200):
            await tx.execute(insert(store_facts).values(name=str(number), value="x" * 2000))

    async with opened_store(settings, SystemClock(), migrated=True) as store:
        await store.write(fill)
    database = tmp_path / "carrick.db"
    with sqlite3.connect(database) as beside:
        root = beside.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'store_facts'"
        ).fetchone()[0]
    async with opened_store(settings, SystemClock(), migrated=True) as store:
        with database.open("r+b") as file:
            file.seek((root - 1) * 4096)
            file.write(b"\xff" * 4096)
        damaged = database.read_bytes()
        with pytest.raises(StoreDamaged, match="carrick restore"):
            await store.read(everything)
        with pytest.raises(StoreDamaged):
            await store.write(fill)
        assert database.read_bytes() == damaged


# --- what a server refuses to start on ------------------------------------------------------


async def test_no_new_key_is_made_beside_what_another_encrypted(tmp_path: Path) -> None:
    """A lost `keys.toml` is asked for by the key's name, not replaced by one that opens nothing."""
    settings = Settings(data_dir=tmp_path)
    async with running(settings) as app:
        key = app.vault.vault.active
    keys = tmp_path / "keys.toml"
    kept = keys.read_bytes()
    keys.unlink()

    with pytest.raises(KeyMissing, match=key):
        async with running(settings):
            pass
    assert not keys.exists()
    other = Settings(data_dir=tmp_path, encryption_key="A" * 43 + "=")
    with pytest.raises(SettingsInvalid, match=key):
        async with running(other):
            pass
    keys.write_bytes(kept)
    async with running(settings) as app:
        assert await app.rooms.environments.by_name("dev") is not None


async def test_a_database_of_a_later_version_is_not_served(store: Store, store_url: str) -> None:
    """Neither start nor `carrick migrate` touches it, and neither is what is asked for."""

    async def move_on(tx: Tx) -> None:
        await tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    await store.write(move_on)
    settings = _settings_of(store_url)

    for migrated in (False, True):
        with pytest.raises(StoreNewer, match="later version"):
            async with opened_store(settings, SystemClock(), migrated=migrated):
                pass


def _settings_of(store_url: str) -> Settings:
    if store_url.startswith("sqlite"):
        return Settings(data_dir=Path(store_url.removeprefix("sqlite:///")).parent)
    return Settings(database_url=store_url)


# --- no descriptors left --------------------------------------------------------------------


async def test_a_server_without_descriptors_says_so_and_recovers(tmp_path: Path) -> None:
    """What is open serves on, what would have to be opened is refused; it spins for nobody."""
    async with served(tmp_path) as server:
        account = server.provider.add_account("Ada")
        await server.deploy({"check": VALIDATE})
        assert (await server.connect(account)).status == 201
        await asyncio.gather(*(server.call("GET", "/live") for _ in range(16)))  # stay connected
        held = await asyncio.to_thread(_exhaust, server)
        try:
            before = _cpu_s(server.pid)
            assert (await server.connect(account, "two")).status == 201
            refused = []
            while not refused:  # as many readings as overlap take as many connections to the file
                asked = [server.call("GET", "/connections") for _ in range(16)]
                refused = [one for one in await asyncio.gather(*asked) if one.status != 200]
            assert {(one.status, one.code) for one in refused} == {(503, "store_unavailable")}
            assert all("too many open files" in one.message for one in refused)
            assert (await server.get()).status == 200
            kill(server.runners())
            assert _cpu_s(server.pid) - before < 1
        finally:
            for one in held:
                one.close()
        again = await server.until(
            lambda: server.connect(account, "three"), lambda answer: answer.status != 503
        )
        assert again.status == 201, again.text
        assert len(said(server, "store_lost")) == 1


def _exhaust(server: ServerProcess) -> list[socket.socket]:
    """Leave a server few descriptors, and take them all."""
    files = Path(f"/proc/{server.pid}/fd")
    most = len(list(files.iterdir())) + 20
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (most, most))
    address = urlsplit(server.url)
    held = []
    while len(list(files.iterdir())) < most:
        held.append(socket.create_connection((address.hostname, address.port)))
    return held


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
