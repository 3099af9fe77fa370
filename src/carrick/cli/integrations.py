"""`carrick integrations`: an environment's configured providers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrick.cli.access import EnvironmentOption, JsonOption, YesOption

if TYPE_CHECKING:
    from carrick.client import Client
    from carrick.model.json import JSONObject

#: Auth modes whose integrations hold a client id and secret.
_WITH_CLIENT = ("OAUTH1", "OAUTH2", "TBA")


def group() -> typer.Typer:
    """Build the group of commands."""
    app = typer.Typer(name="integrations", help="An environment's configured providers.")
    app.command("list")(list_integrations)
    app.command("create")(create)
    app.command("delete")(delete)
    return app


def list_integrations(environment: EnvironmentOption = "dev", as_json: JsonOption = False) -> None:
    """List the environment's integrations."""
    from carrick.cli.access import with_client
    from carrick.cli.output import print_json, print_table

    async def listed(client: Client) -> list[JSONObject]:
        return await client.integrations()

    found = with_client(environment, listed)
    if as_json:
        print_json(found)
        return
    rows = [
        (one.get("unique_key"), one.get("provider"), one.get("display_name"), one.get("created_at"))
        for one in found
    ]
    print_table(
        ("integration", "provider", "name", "created"),
        rows,
        empty="There are no integrations; `carrick integrations create --help` says how.",
    )


def create(
    integration_id: Annotated[
        str, typer.Argument(help="Its id; functions lie in a folder named so.")
    ],
    *,
    provider: Annotated[
        str | None, typer.Option("--provider", help="The provider; the id itself by default.")
    ] = None,
    client_id: Annotated[str | None, typer.Option("--client-id", help="OAuth client id.")] = None,
    client_secret: Annotated[
        str | None,
        typer.Option(
            "--client-secret", help="OAuth client secret, or @FILE; asked for when it is left out."
        ),
    ] = None,
    scopes: Annotated[
        str | None, typer.Option("--scopes", help="OAuth scopes, separated by commas.")
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option(
            "--config", help="NAME=VALUE of the provider's integration_config (repeatable)."
        ),
    ] = None,
    display_name: Annotated[str | None, typer.Option("--name", help="A name to show.")] = None,
    environment: EnvironmentOption = "dev",
    as_json: JsonOption = False,
) -> None:
    """Configure a provider for the environment."""
    from carrick.cli.access import with_client
    from carrick.cli.output import print_json, print_line

    if client_secret is not None and client_id is None:
        raise typer.BadParameter("A secret needs its id.", param_hint="--client-id")
    secret = _secret(client_secret) if client_id is not None else None
    name = provider or integration_id

    async def make(client: Client) -> JSONObject:
        credentials = None
        if client_id is not None:
            definition = await client.provider(name)
            credentials = _credentials(definition, client_id, secret or "", scopes)
        return await client.create_integration(
            integration_id,
            name,
            display_name=display_name,
            credentials=credentials,
            integration_config=_pairs(config) or None,
        )

    made = with_client(environment, make)
    if as_json:
        print_json(made)
    else:
        print_line(f"Made the integration {integration_id} in {environment}.", style="green")


def delete(
    integration_id: Annotated[str, typer.Argument(help="Its id.")],
    environment: EnvironmentOption = "dev",
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete an integration and all its connections; each of them is cleaned up."""
    from carrick.cli.access import with_client
    from carrick.cli.output import confirm, print_json, print_line

    confirm(f"Delete {integration_id} and every connection of it in {environment}?", yes=yes)

    async def remove(client: Client) -> JSONObject:
        return await client.delete_integration(integration_id)

    answer = with_client(environment, remove)
    if as_json:
        print_json(answer)
    else:
        state = answer.get("cleanup")
        print_line(f"Deleted {integration_id}." + (f" Cleanup: {state}." if state else ""))


def _credentials(
    definition: JSONObject, client_id: str, secret: str, scopes: str | None
) -> dict[str, Any]:
    auth_mode = str(definition.get("auth_mode"))
    if auth_mode not in _WITH_CLIENT:
        raise typer.BadParameter(
            f"{definition.get('name')} has no client id: its auth mode is {auth_mode}.",
            param_hint="--client-id",
        )
    credentials = {"type": auth_mode, "client_id": client_id, "client_secret": secret}
    if scopes is not None:
        credentials["scopes"] = ",".join(part.strip() for part in scopes.split(","))
    return credentials


def _secret(given: str | None) -> str:
    import sys

    if given is None:
        if not sys.stdin.isatty():
            raise typer.BadParameter(
                "Nobody can be asked for it here: pass it or @FILE.", param_hint="--client-secret"
            )
        return str(typer.prompt("Client secret", hide_input=True, err=True))
    return Path(given[1:]).read_text().strip() if given.startswith("@") else given


def _pairs(given: list[str] | None) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for item in given or ():
        name, mark, value = item.partition("=")
        if not mark or not name:
            raise typer.BadParameter(f"{item!r} is not NAME=VALUE.", param_hint="--config")
        pairs[name] = value
    return pairs
