"""`carrick notifications`: what the app was told, and whether it heard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrick.cli.access import EnvironmentOption, JsonOption, LimitOption

if TYPE_CHECKING:
    from carrick.client import Client
    from carrick.model.json import JSONObject

_STYLES = {"delivered": "green", "failed": "red", "waiting": "yellow"}
NotificationArgument = Annotated[str, typer.Argument(help="The notification's id.")]


def group() -> typer.Typer:
    """Build the group of commands."""
    app = typer.Typer(name="notifications", help="What your app was told, and whether it heard.")
    app.command("list")(list_notifications)
    app.command("show")(show)
    app.command("retry")(retry)
    return app


def list_notifications(
    *,
    environment: EnvironmentOption = "dev",
    state: Annotated[
        str | None, typer.Option("--state", help="waiting, delivered or failed.")
    ] = None,
    integration: Annotated[
        str | None, typer.Option("--integration", "-i", help="Only this integration's.")
    ] = None,
    connection: Annotated[
        str | None, typer.Option("--connection", help="Only this connection's.")
    ] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List notifications, the newest first."""
    from carrick.cli.access import with_client
    from carrick.cli.output import print_json, print_table, styled

    async def listed(client: Client) -> list[JSONObject]:
        return await client.notifications(
            state=state, integration_id=integration, connection_id=connection, limit=limit
        )

    found = with_client(environment, listed)
    if as_json:
        print_json(found)
        return
    rows: list[tuple[Any, ...]] = []
    for one in found:
        became = str(one.get("state"))
        rows.append(
            (
                one.get("id"),
                one.get("kind"),
                styled(became, _STYLES.get(became, "")),
                one.get("connection_id"),
                one.get("url"),
                one.get("attempts"),
                one.get("next_attempt_at"),
            )
        )
    columns = ("id", "kind", "state", "connection", "address", "attempts", "next attempt")
    print_table(columns, rows, empty="Your app was told nothing yet.")


def show(
    notification_id: NotificationArgument,
    environment: EnvironmentOption = "dev",
    as_json: JsonOption = False,
) -> None:
    """Show a notification with its body and every attempt to deliver it."""
    from carrick.cli.access import with_client
    from carrick.cli.output import print_facts, print_json, print_table

    async def find(client: Client) -> JSONObject:
        return await client.notification(notification_id)

    found = with_client(environment, find)
    if as_json:
        print_json(found)
        return
    history = found.pop("history", None) or ()
    print_facts(list(found.items()))
    columns = ("attempt", "at", "ms", "status", "error", "answer")
    names = ("number", "at", "duration_ms", "status", "error", "answer")
    rows = [tuple(each.get(name) for name in names) for each in history]
    print_table(columns, rows, empty="It was not tried yet.")


def retry(
    notification_id: NotificationArgument,
    environment: EnvironmentOption = "dev",
    as_json: JsonOption = False,
) -> None:
    """Send a notification now that waits or was given up."""
    from carrick.cli.access import with_client
    from carrick.cli.output import print_json, print_line

    async def again(client: Client) -> JSONObject:
        return await client.retry_notification(notification_id)

    answer = with_client(environment, again)
    if as_json:
        print_json(answer)
    else:
        print_line(f"{notification_id} is sent again; `carrick notifications show` tells how.")
