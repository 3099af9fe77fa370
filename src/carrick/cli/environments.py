"""`carrick environments`: what environments the server has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from carrick.cli.access import EnvironmentOption, JsonOption

if TYPE_CHECKING:
    from carrick.client import Client
    from carrick.model.json import JSONObject


def group() -> typer.Typer:
    """Build the group of commands."""
    app = typer.Typer(name="environments", help="Environments of the server.")
    app.callback()(_group)
    app.command("list")(list_environments)
    return app


def _group() -> None:
    """Environments of the server."""


def list_environments(environment: EnvironmentOption = "dev", as_json: JsonOption = False) -> None:
    """List the server's environments."""
    from carrick.cli.access import with_client
    from carrick.cli.output import print_json, print_table

    async def listed(client: Client) -> list[JSONObject]:
        return await client.environments()

    found = with_client(environment, listed)
    if as_json:
        print_json(found)
        return
    rows = [(one.get("name"), one.get("uuid")) for one in found]
    print_table(("name", "uuid"), rows, empty="There are no environments.")
