"""`carrick serve` and `carrick worker`: a server, and a node that only works."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("serve")(serve)
    app.command("worker")(worker)


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where the database and the keys live.")
    ] = None,
    providers_file: Annotated[
        Path | None, typer.Option(help="A file that adds providers or overrides built-in ones.")
    ] = None,
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Bring the database schema up to date first.")
    ] = False,
    allow_private: Annotated[
        list[str] | None,
        typer.Option(help="A private network that outbound calls may reach (repeatable)."),
    ] = None,
) -> None:
    """Start the server. It makes its data directory, keys and database when they are missing."""
    from carrick.app import serve as start
    from carrick.cli.access import settings

    given = settings(host=host, port=port, data_dir=data_dir, providers_file=providers_file)
    if allow_private:
        networks = (*given.egress_allow, *allow_private)
        given = given.model_copy(update={"egress_allow": networks})
    start(given, migrate_first=migrate)


def worker(
    *,
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Bring the database schema up to date first.")
    ] = False,
) -> None:
    """Run functions beside the servers of a Postgres database, without answering anybody."""
    from carrick.app import work
    from carrick.cli.access import settings

    work(settings(), migrate_first=migrate)
