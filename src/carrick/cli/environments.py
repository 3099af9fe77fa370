"""`carrick environments`: the server's environments, their variables and their settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrick.cli.access import EnvironmentOption, JsonOption, YesOption

if TYPE_CHECKING:
    from carrick.client import Client
    from carrick.model.json import JSONObject


def group() -> typer.Typer:
    """Build the group of commands."""
    app = typer.Typer(name="environments", help="Environments of the server.")
    app.callback()(_group)
    app.command("list")(list_environments)
    app.command("create")(create)
    app.command("delete")(delete)
    app.command("variables")(list_variables)
    app.command("set")(set_variables)
    app.command("settings")(show_settings)
    app.command("configure")(configure)
    app.command("rotate-signing-key")(rotate_signing_key)
    return app


Assignments = Annotated[
    list[str], typer.Argument(help="NAME=VALUE, or NAME= to take the variable away.")
]


NameArgument = Annotated[str, typer.Argument(help="The environment's name.")]
Settings = Annotated[
    list[str],
    typer.Argument(
        help="NAME=VALUE, e.g. primary_url=https://… or on_connection_deletion=true; "
        "`carrick environments settings` shows every name."
    ),
]
_BOOLEANS = {"true": True, "false": False}


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


def create(name: NameArgument, as_json: JsonOption = False) -> None:
    """Make an environment and print its API key, this once.

    It takes a key of the account: see CARRICK_ACCOUNT_KEY.
    """
    from carrick.cli.access import key_variable, with_account_client
    from carrick.cli.failures import write
    from carrick.cli.output import print_json

    async def make(client: Client) -> JSONObject:
        return await client.create_environment(name)

    made = with_account_client(make)
    if as_json:
        print_json(made)
    else:
        print(made["secret_key"])
        write(f"Made {name}. Keep the key as {key_variable(name)}.")


def delete(name: NameArgument, yes: YesOption = False) -> None:
    """Delete an environment, with a cleanup for each of its connections.

    It takes a key of the account: see CARRICK_ACCOUNT_KEY.
    """
    from carrick.cli.access import with_account_client
    from carrick.cli.output import confirm

    confirm(f"Delete {name} with everything in it? Its connections are cleaned up.", yes=yes)

    async def remove(client: Client) -> None:
        await client.delete_environment(name)

    with_account_client(remove)
    print(f"Deleted {name}; what its connections have left is being cleaned up.")


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


def show_settings(environment: EnvironmentOption = "dev", as_json: JsonOption = False) -> None:
    """Show an environment's settings: where notifications go, and which."""
    from carrick.cli.access import with_client
    from carrick.cli.output import print_facts, print_json

    async def find(client: Client) -> JSONObject:
        return await client.environment_settings()

    found = with_client(environment, find)
    if as_json:
        print_json(found)
    else:
        print_facts([(name, "-" if value is None else value) for name, value in found.items()])


def configure(assignments: Settings, environment: EnvironmentOption = "dev") -> None:
    """Change an environment's settings; NAME= resets one."""
    from carrick.cli.access import with_client

    changes: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{assignment!r} is not NAME=VALUE")
        changes[name] = _BOOLEANS.get(value.lower(), value or None)

    async def change(client: Client) -> None:
        await client.change_environment_settings(changes)

    with_client(environment, change)
    print(f"Changed {', '.join(sorted(changes))} of {environment}.")


def rotate_signing_key(
    environment: EnvironmentOption = "dev", yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Replace the key that notifications are signed with, and print the new one."""
    from carrick.cli.access import with_client
    from carrick.cli.output import confirm, print_json

    confirm(f"Replace the signing key of {environment}? The old one ends at once.", yes=yes)

    async def rotate(client: Client) -> str:
        return await client.rotate_signing_key()

    key = with_client(environment, rotate)
    if as_json:
        print_json({"webhook_signing_key": key})
    else:
        print(key)
