"""PgQueuer's tables on Postgres: whether they are there, and putting them there."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
from pgqueuer import AsyncpgDriver
from pgqueuer.queries import Queries

from carrick.engine.queue import builders, settings
from carrick.store.unit import Store

#: Any number: two nodes that install at once are kept apart by it.
_ADVISORY_LOCK = 4_703_211_959


def arguments(store: Store) -> dict[str, Any]:
    """Return how asyncpg reaches the store's database, as the store's own driver reads its URL."""
    _, keywords = store.engine.dialect.create_connect_args(store.engine.url)
    # Ours to say, not asyncpg's: the store's adapter takes these for itself.
    return {
        name: value
        for name, value in keywords.items()
        if not name.startswith("prepared_statement") and name != "async_fallback"
    }


async def schema_is_installed(store: Store) -> bool:
    """Say whether the engine's tables are there; SQLite needs none."""
    if not store.is_postgres:
        return True
    async with _connected(store) as connection:
        queries = Queries(AsyncpgDriver(connection), *builders(settings()))
        plan = await queries.plan_upgrade()
        return not plan.statements


async def install_schema(store: Store) -> bool:
    """Put the engine's tables in place and say whether anything had to be done."""
    if not store.is_postgres:
        return False
    async with _connected(store) as connection:
        queries = Queries(AsyncpgDriver(connection), *builders(settings()))
        await connection.execute("SELECT pg_advisory_lock($1)", _ADVISORY_LOCK)
        if not await queries.schema_is_installed():
            await queries.install()
            await queries.optimize_autovacuum()
            return True
        plan = await queries.apply_upgrade()
        return bool(plan.statements)


@contextlib.asynccontextmanager
async def _connected(store: Store) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(**arguments(store))
    try:
        yield connection
    finally:
        await connection.close()  # lets go of the advisory lock, too
