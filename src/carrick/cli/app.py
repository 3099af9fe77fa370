"""The command tree, and the one place where failures become exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from carrick.cli import (
    backup,
    cleanups,
    connections,
    demo,
    deploy,
    doctor,
    dryrun,
    environments,
    init,
    integrations,
    keys,
    migrate,
    notifications,
    operations,
    providers,
    rollback,
    serve,
)
from carrick.cli import compile as compiling
from carrick.cli.failures import report, write
from carrick.errors import CarrickError

_EPILOG = "Exit codes: 0 it worked, 1 it did not (stderr says why), 2 the command was used wrongly."


def build() -> typer.Typer:
    """Build the command tree."""
    app = typer.Typer(
        name="carrick",
        help="Run Python functions when a customer connects, reconnects or removes an account.",
        epilog=_EPILOG,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    commands = (init, compiling, dryrun, deploy, rollback, serve, migrate, backup, doctor, demo)
    for module in commands:
        module.register(app)
    groups = (
        environments,
        integrations,
        connections,
        operations,
        cleanups,
        notifications,
        keys,
        providers,
    )
    for group in groups:
        app.add_typer(group.group())
    return app


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    try:
        build()(args=list(arguments) if arguments is not None else None, prog_name="carrick")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except CarrickError as error:
        report(error)
        return 1
    except BrokenPipeError:  # whoever read the output has seen enough
        sys.stderr.close()
        return 1
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        write(f"Error: {name}{error.strerror or error}")
        return 1
    return 0


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"carrick {version('carrick')}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    pass
