"""`carrick connections`: the accounts that customers connected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrick.cli.access import EnvironmentOption, JsonOption, LimitOption, YesOption

if TYPE_CHECKING:
    from carrick.client import Client
    from carrick.model.json import JSONObject

ConnectionArgument = Annotated[str, typer.Argument(help="The connection's id.")]
IntegrationOption = Annotated[
    str | None,
    typer.Option("--integration", "-i", help="Its integration; needed when several have the id."),
]


def group() -> typer.Typer:
    """Build the group of commands."""
    app = typer.Typer(name="connections", help="The accounts that customers connected.")
    app.command("list")(list_connections)
    app.command("show")(show)
    app.command("delete")(delete)
    return app


def list_connections(
    environment: EnvironmentOption = "dev",
    integration: Annotated[
        str | None, typer.Option("--integration", "-i", help="Only this integration's.")
    ] = None,
    search: Annotated[
        str | None, typer.Option("--search", help="In ids and end users' names and addresses.")
    ] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List connections, the newest first."""
    from carrick.cli.access import with_client
    from carrick.cli.output import print_json, print_table

    async def listed(client: Client) -> list[JSONObject]:
        return await client.connections(integration_id=integration, search=search, limit=limit)

    found = with_client(environment, listed)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one.get("connection_id"),
            one.get("provider_config_key"),
            _state(one),
            one.get("setup"),
            (one.get("end_user") or {}).get("id"),
            one.get("created"),
        )
        for one in found
    ]
    columns = ("connection", "integration", "state", "setup", "end user", "created")
    print_table(columns, rows, empty="There are no connections.")


def show(
    connection_id: ConnectionArgument,
    environment: EnvironmentOption = "dev",
    integration: IntegrationOption = None,
    credentials: Annotated[
        bool, typer.Option("--credentials", help="Show the credentials, too.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a connection; its credentials only when asked for."""
    from carrick.cli.access import with_client
    from carrick.cli.output import print_facts, print_json

    async def find(client: Client) -> JSONObject:
        return await client.connection(
            connection_id, await _integration_of(client, connection_id, integration)
        )

    found = with_client(environment, find)
    if not credentials:
        found.pop("credentials", None)
    if as_json:
        print_json(found)
    else:
        print_facts([("state", _state(found)), *found.items()])


def delete(
    connection_id: ConnectionArgument,
    environment: EnvironmentOption = "dev",
    integration: IntegrationOption = None,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a connection; its cleanup functions run first."""
    from carrick.cli.access import with_client
    from carrick.cli.output import confirm, print_json, print_line, working

    confirm(f"Delete the connection {connection_id} in {environment}?", yes=yes)

    async def remove(client: Client) -> JSONObject:
        return await client.delete_connection(
            connection_id, await _integration_of(client, connection_id, integration)
        )

    with working("Deleting"):
        answer = with_client(environment, remove)
    if as_json:
        print_json(answer)
        return
    state = answer.get("cleanup")
    after = {
        "parked": " `carrick cleanups list` shows what a person has to decide.",
        "retrying": " It is tried again by itself.",
    }
    print_line(f"Deleted {connection_id}.")
    if state:
        print_line(f"Cleanup: {state}.{after.get(str(state), '')}")


async def _integration_of(client: Client, connection_id: str, given: str | None) -> str:
    """Find a connection's integration when nobody said which."""
    from carrick.errors import UnknownConnection

    if given is not None:
        return given
    found = await client.connections(connection_id=connection_id, limit=10)
    names = [str(one["provider_config_key"]) for one in found]
    if len(names) == 1:
        return names[0]
    if names:
        raise UnknownConnection(
            f"{connection_id} is a connection of {', '.join(names)}: pass --integration."
        )
    raise UnknownConnection(f"There is no connection {connection_id}.")


def _state(connection: dict[str, Any]) -> str:
    errors = connection.get("errors") or ()
    return "auth error" if any(error.get("type") == "auth" for error in errors) else "active"
