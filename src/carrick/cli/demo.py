"""`carrick demo`: the whole life of a connection in a few seconds."""

from __future__ import annotations

from typing import Annotated

import typer

from carrick.cli.access import JsonOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the server's directory and say where it is.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show connect, reconnect, refusal and cleanup against a fake provider on this machine."""
    from carrick.demo import run

    raise typer.Exit(run(keep=keep, as_json=as_json))
