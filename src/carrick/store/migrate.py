"""The schema's version: what the database has, and how it gets to what this package needs.

Alembic is imported only when there is something to do; the check alone is one small query.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Connection, text

from carrick.store.unit import Store, Tx

if TYPE_CHECKING:
    from alembic.config import Config

SchemaState = Literal["current", "outdated", "empty", "newer"]

MIGRATIONS = Path(__file__).parent / "migrations"
#: Any number: Postgres keeps two nodes that migrate at once apart by it.
_ADVISORY_LOCK = 4_703_211_958


async def schema_state(store: Store) -> SchemaState:
    """Say how the database's schema relates to the one this package needs."""
    known = revisions()

    async def unit(tx: Tx) -> SchemaState:
        if not await tx.scalar(text(_has_table(tx.is_postgres))):
            return "empty"
        revision = await tx.scalar(text("SELECT version_num FROM alembic_version"))
        if revision is None:
            return "empty"
        if revision not in known:
            return "newer"
        return "current" if revision == known[-1] else "outdated"

    return await store.read(unit)


async def migrate(store: Store) -> bool:
    """Bring the schema up to date and say whether anything had to be done.

    A schema that is newer than this package is left alone.
    """
    if await schema_state(store) in ("current", "newer"):
        return False

    def upgrade(connection: Connection) -> None:
        from alembic import command

        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
        command.upgrade(configuration(connection), "head")

    await store.migrate_with(upgrade)
    return True


def revisions() -> list[str]:
    """Return the id of every migration, oldest first."""
    files = (MIGRATIONS / "versions").glob("[0-9]*.py")
    return sorted(file.name.partition("_")[0] for file in files)


def configuration(connection: Connection) -> Config:
    """Return Alembic's configuration for migrating through that connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _has_table(is_postgres: bool) -> str:
    if is_postgres:
        return "SELECT to_regclass('alembic_version') IS NOT NULL"
    return "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'alembic_version')"
