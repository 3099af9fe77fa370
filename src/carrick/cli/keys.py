"""`carrick keys`: the API key this machine uses."""

from __future__ import annotations

import typer

from carrick.cli.access import EnvironmentOption, JsonOption


def group() -> typer.Typer:
    """Build the group of commands."""
    app = typer.Typer(name="keys", help="API keys on this machine.")
    app.callback()(_group)
    app.command("show")(show)
    return app


def _group() -> None:
    """API keys on this machine."""


def show(environment: EnvironmentOption = "dev", as_json: JsonOption = False) -> None:
    """Print the environment's API key: from CARRICK_SECRET_KEY_<NAME>, else from keys.toml."""
    from carrick.cli.access import secret_key, settings
    from carrick.cli.output import print_json

    key = secret_key(environment, settings())
    if as_json:
        print_json({"environment": environment, "secret_key": key})
    else:
        print(key)
