"""The migrations make exactly the schema that the code expects, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from carrick.store.migrate import migrate, revisions, schema_state
from carrick.store.tables import metadata
from carrick.store.unit import Store, Tx


async def test_migrating_an_empty_database_gives_the_declared_tables(empty_store: Store) -> None:
    """After migrating there is no difference left between the database and the table module."""
    await migrate(empty_store)

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return list(compare_metadata(context, metadata))

    assert await empty_store.migrate_with(differences) == []


async def test_the_state_of_the_schema_is_told(empty_store: Store) -> None:
    """A database without tables is empty, and current once it has been migrated."""
    assert await schema_state(empty_store) == "empty"

    assert await migrate(empty_store) is True

    assert await schema_state(empty_store) == "current"


async def test_migrating_twice_does_nothing_the_second_time(empty_store: Store) -> None:
    """A schema that is current is left alone."""
    await migrate(empty_store)

    assert await migrate(empty_store) is False


async def test_a_schema_from_a_later_version_is_recognised(empty_store: Store) -> None:
    """A revision this package does not know means a newer one has been here: nothing is touched."""
    await migrate(empty_store)
    await empty_store.write(_set_revision("9999"))

    assert await schema_state(empty_store) == "newer"
    assert await migrate(empty_store) is False


async def test_two_nodes_may_migrate_at_once(empty_store: Store) -> None:
    """Concurrent migrations wait for each other instead of failing."""
    await asyncio.gather(migrate(empty_store), migrate(empty_store))

    assert await schema_state(empty_store) == "current"


def test_revisions_are_numbered_without_gaps() -> None:
    """Each migration's file begins with its number, and numbers follow each other."""
    assert revisions() == [f"{number:04}" for number in range(1, len(revisions()) + 1)]


def _set_revision(revision: str) -> Callable[[Tx], Awaitable[None]]:
    async def unit(tx: Tx) -> None:
        await tx.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))

    return unit
