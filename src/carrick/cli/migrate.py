"""`carrick migrate`: bring the database schema up to date."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from carrick.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("migrate")(migrate)


def migrate() -> None:
    """Bring the database schema up to date. A SQLite server does this by itself."""
    from carrick.cli.access import settings
    from carrick.cli.output import print_line, working

    with working("Migrating"):
        asyncio.run(_migrate(settings()))
    print_line("The database schema is up to date.", style="green")


async def _migrate(given: Settings) -> None:
    from carrick.app import opened_store
    from carrick.model.clock import SystemClock

    async with opened_store(given, SystemClock(), migrated=True):
        pass
