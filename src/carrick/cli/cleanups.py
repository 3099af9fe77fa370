"""`carrick cleanups`: cleanups that are not done, and what a person can do about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrick.cli.access import EnvironmentOption, JsonOption, LimitOption, YesOption

if TYPE_CHECKING:
    from carrick.client import Client
    from carrick.model.json import JSONObject

CleanupArgument = Annotated[str, typer.Argument(help="The cleanup's id.")]


def group() -> typer.Typer:
    """Build the group of commands."""
    app = typer.Typer(name="cleanups", help="Cleanups of deleted connections that are not done.")
    app.command("list")(list_cleanups)
    app.command("retry")(retry)
    app.command("force")(force)
    return app


def list_cleanups(
    environment: EnvironmentOption = "dev", limit: LimitOption = 50, as_json: JsonOption = False
) -> None:
    """List cleanups that are not done, parked ones first."""
    from carrick.cli.access import with_client
    from carrick.cli.output import print_json, print_table, styled

    async def listed(client: Client) -> list[JSONObject]:
        return await client.cleanups(limit=limit)

    found = with_client(environment, listed)
    if as_json:
        print_json(found)
        return
    rows: list[tuple[Any, ...]] = [
        (
            one.get("id"),
            one.get("integration_id"),
            one.get("connection_id"),
            one.get("function"),
            styled(str(one.get("state")), "red" if one.get("state") == "parked" else ""),
            one.get("attempts"),
            one.get("due_at"),
            one.get("error_message"),
        )
        for one in found
    ]
    columns = ("id", "integration", "connection", "function", "state", "attempts", "due", "error")
    print_table(columns, rows, empty="Every cleanup is done.")


def retry(
    cleanup_id: CleanupArgument,
    environment: EnvironmentOption = "dev",
    as_json: JsonOption = False,
) -> None:
    """Try a parked cleanup again, with the function as it is deployed now."""
    from carrick.cli.access import with_client
    from carrick.cli.output import print_json, print_line

    async def again(client: Client) -> JSONObject:
        return await client.retry_cleanup(cleanup_id)

    answer = with_client(environment, again)
    if as_json:
        print_json(answer)
    else:
        print_line(f"Cleanup {cleanup_id} is tried again.")


def force(
    cleanup_id: CleanupArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is recorded.")],
    environment: EnvironmentOption = "dev",
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Give a cleanup up: what it would have removed at the provider stays there."""
    from carrick.cli.access import with_client
    from carrick.cli.output import confirm, print_json, print_line

    confirm(f"Give up cleanup {cleanup_id}? What it would have removed stays.", yes=yes)

    async def give_up(client: Client) -> JSONObject:
        return await client.force_cleanup(cleanup_id, reason)

    answer = with_client(environment, give_up)
    if as_json:
        print_json(answer)
    else:
        print_line(f"Gave up cleanup {cleanup_id}.")
