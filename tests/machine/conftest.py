"""Databases for the state machine, and how long it runs."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import HealthCheck, Verbosity, settings

settings.register_profile(
    "machine",
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    database=None,
    print_blob=True,
    verbosity=Verbosity.normal,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def fresh_data(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[], tuple[str, Path]]]:
    """Make databases with every table: the address of each, and a data directory for it."""
    made: list[str] = []

    def make() -> tuple[str, Path]:
        directory = tmp_path / uuid.uuid4().hex
        directory.mkdir()
        if backend == "sqlite":
            shutil.copy(request.getfixturevalue("sqlite_template"), directory / "carrick.db")
            return "sqlite", directory
        server: str = request.getfixturevalue("postgres_server")
        template: str = request.getfixturevalue("postgres_template")
        name = f"carrick_machine_{uuid.uuid4().hex}"
        asyncio.run(_execute(server, f"CREATE DATABASE {name} TEMPLATE {template}"))
        made.append(name)
        return urlunsplit(urlsplit(server)._replace(path=f"/{name}")), directory

    yield make
    for name in made:
        server = request.getfixturevalue("postgres_server")
        asyncio.run(_execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
