"""`carrick operations`: what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrick.cli.access import EnvironmentOption, JsonOption, LimitOption

if TYPE_CHECKING:
    from carrick.client import Client
    from carrick.model.json import JSONObject

_STYLES = {"success": "green", "failed": "red", "timeout": "red", "running": "yellow"}
OperationArgument = Annotated[str, typer.Argument(help="The operation's id.")]


def group() -> typer.Typer:
    """Build the group of commands."""
    app = typer.Typer(name="operations", help="What happened: connects, runs, refreshes, calls.")
    app.command("list")(list_operations)
    app.command("show")(show)
    app.command("retry")(retry)
    return app


def list_operations(
    *,
    environment: EnvironmentOption = "dev",
    state: Annotated[
        str | None,
        typer.Option("--state", help="waiting, running, success, failed, timeout or cancelled."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--type", help="auth, events, proxy, webhook or deploy.")
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
    """List operations, the newest first."""
    from carrick.cli.access import with_client
    from carrick.cli.output import print_json, print_table, styled

    async def listed(client: Client) -> list[JSONObject]:
        return await client.operations(
            state=state,
            type=kind,
            integration_id=integration,
            connection_id=connection,
            limit=limit,
        )

    found = with_client(environment, listed)
    if as_json:
        print_json(found)
        return
    rows: list[tuple[Any, ...]] = []
    for one in found:
        happened = str(one.get("state"))
        rows.append(
            (
                one.get("id"),
                kind_of(one),
                styled(happened, _STYLES.get(happened, "")),
                one.get("integration_id"),
                one.get("connection_id"),
                one.get("message") or (one.get("error") or {}).get("message"),
            )
        )
    columns = ("id", "what", "state", "integration", "connection", "message")
    print_table(columns, rows, empty="Nothing happened yet.")


def show(
    operation_id: OperationArgument,
    environment: EnvironmentOption = "dev",
    as_json: JsonOption = False,
) -> None:
    """Show an operation with its messages."""
    from carrick.cli.access import with_client
    from carrick.cli.output import print_facts, print_json, print_messages

    async def find(client: Client) -> JSONObject:
        return await client.operation(operation_id)

    found = with_client(environment, find)
    if as_json:
        print_json(found)
        return
    messages = found.pop("messages", None) or ()
    print_facts(list(found.items()))
    print_messages(messages)


def retry(
    operation_id: OperationArgument,
    environment: EnvironmentOption = "dev",
    as_json: JsonOption = False,
) -> None:
    """Run a failed setup again; what it did already is not done twice."""
    from carrick.cli.access import with_client
    from carrick.cli.output import print_json, print_line

    async def again(client: Client) -> JSONObject:
        return await client.retry_operation(operation_id)

    answer = with_client(environment, again)
    if as_json:
        print_json(answer)
    else:
        print_line(f"{operation_id} runs again; `carrick operations list` shows how it goes.")


def kind_of(operation: dict[str, Any]) -> str:
    """Return what an operation is, e.g. `events.post_connection_creation`."""
    kind = operation.get("operation")
    if isinstance(kind, dict):
        operation = kind
    return f"{operation.get('type')}.{operation.get('action')}"
