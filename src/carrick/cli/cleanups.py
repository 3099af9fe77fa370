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
    app.command("show")(show)
    app.command("retry")(retry)
    app.command("force")(force)
    return app


def list_cleanups(
    parked: Annotated[
        bool, typer.Option("--parked", help="Only those that wait for a person.")
    ] = False,
    environment: EnvironmentOption = "dev",
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List cleanups that are not done, parked ones first, with the reason of each."""
    from carrick.cli.access import with_client
    from carrick.cli.output import print_json, print_table, styled

    async def listed(client: Client) -> list[JSONObject]:
        return await client.cleanups(state="parked" if parked else None, limit=limit)

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


def show(
    cleanup_id: CleanupArgument,
    environment: EnvironmentOption = "dev",
    as_json: JsonOption = False,
) -> None:
    """Show a cleanup with the history of its attempts."""
    from carrick.cli.access import with_client
    from carrick.cli.output import print_facts, print_json, print_messages

    async def find(client: Client) -> tuple[JSONObject, JSONObject]:
        cleanup = await client.cleanup(cleanup_id)
        return cleanup, await client.operation(str(cleanup["operation_id"]))

    cleanup, operation = with_client(environment, find)
    messages: Any = operation.get("messages") or ()
    if as_json:
        print_json({**cleanup, "messages": messages})
        return
    print_facts(list(cleanup.items()))
    print_messages(messages)


def retry(
    cleanup_id: Annotated[str | None, typer.Argument(help="The cleanup's id.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every parked one.")] = False,
    integration: Annotated[
        str | None, typer.Option("--integration", "-i", help="With --all: only this one's.")
    ] = None,
    environment: EnvironmentOption = "dev",
    as_json: JsonOption = False,
) -> None:
    """Try parked cleanups again, with the functions as they are deployed now."""
    from carrick.cli.access import with_client
    from carrick.cli.output import print_json, print_line

    if every == (cleanup_id is not None):
        raise typer.BadParameter("Name one cleanup, or give --all.")
    if integration is not None and not every:
        raise typer.BadParameter("--integration goes with --all.")

    async def again(client: Client) -> int:
        if cleanup_id is None:
            return await client.retry_cleanups(integration_id=integration)
        await client.retry_cleanup(cleanup_id)
        return 1

    retried = with_client(environment, again)
    if as_json:
        print_json({"retried": retried})
    elif cleanup_id is not None:
        print_line(f"Cleanup {cleanup_id} is tried again.")
    else:
        print_line(f"Parked cleanups that are tried again: {retried}.")


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
