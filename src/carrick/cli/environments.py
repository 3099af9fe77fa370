"""`carrick environments`: what environments the server has, and the variables in each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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
    app.command("variables")(list_variables)
    app.command("set")(set_variables)
    return app


Assignments = Annotated[
    list[str], typer.Argument(help="NAME=VALUE, or NAME= to take the variable away.")
]


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


def list_variables(environment: EnvironmentOption = "dev", as_json: JsonOption = False) -> None:
    """List the names of an environment's variables; --json shows their values as well."""
    from carrick.cli.access import with_client
    from carrick.cli.output import print_json, print_table

    async def listed(client: Client) -> list[JSONObject]:
        return await client.variables()

    found = with_client(environment, listed)
    if as_json:
        print_json(found)
        return
    rows = [(one.get("name"),) for one in found]
    print_table(("variable",), rows, empty=f"There are no variables in {environment}.")


def set_variables(assignments: Assignments, environment: EnvironmentOption = "dev") -> None:
    """Set variables that functions may read where they declare them."""
    from carrick.cli.access import with_client

    values: dict[str, str | None] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{assignment!r} is not NAME=VALUE")
        values[name] = value or None

    async def set_them(client: Client) -> None:
        await client.set_variables(values)

    with_client(environment, set_them)
    print(f"Set {', '.join(sorted(values))} in {environment}.")
