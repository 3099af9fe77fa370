"""`carrick dryrun`: try a function on a real connection without touching anything."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrick.cli.access import HERE, EnvironmentOption, JsonOption, ProjectOption, YesOption

if TYPE_CHECKING:
    from carrick.client import Client

_FINE = ("succeeded", "incomplete")
#: How much of what a call sent is shown, in characters.
_BODY_SHOWN = 200


class Operation(StrEnum):
    """Why the event is taken to happen."""

    CREATION = "creation"
    RECONNECT = "reconnect"
    IMPORT = "import"
    DELETION = "deletion"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("dryrun")(dryrun)


def dryrun(
    name: Annotated[str, typer.Argument(help="The function's name.")],
    connection_id: Annotated[str, typer.Argument(help="The connection to run it against.")],
    *,
    environment: EnvironmentOption = "dev",
    integration: Annotated[
        str | None, typer.Option("--integration", "-i", help="The function's integration.")
    ] = None,
    operation: Annotated[
        Operation | None, typer.Option("--operation", help="What the event is about.")
    ] = None,
    metadata: Annotated[
        str | None,
        typer.Option("--metadata", help="Metadata the function sees: JSON, or @FILE with JSON."),
    ] = None,
    deployed: Annotated[
        bool, typer.Option("--deployed", help="Run what is deployed, not the project here.")
    ] = False,
    live: Annotated[bool, typer.Option("--live", help="Really make the writes.")] = False,
    yes: YesOption = False,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Run a function against a connection: reads are real, writes are shown and not made.

    Exit code 0 when it succeeded or could not be finished without real writes, else 1.
    """
    from carrick.cli.access import with_client
    from carrick.cli.output import confirm, print_json, working

    given = _metadata(metadata)
    if live:
        confirm(f"Make the writes of {name} on {connection_id} for real?", yes=yes)
    bundle = None if deployed else _bundle(project, name, integration)

    async def run(client: Client) -> dict[str, Any]:
        return await client.dry_run(
            name,
            connection_id,
            integration_id=integration,
            operation=operation.value if operation else None,
            metadata=given,
            live=live,
            bundle=bundle,
        )

    with working(f"Running {name}"):
        report = with_client(environment, run)
    if as_json:
        print_json(report)
    else:
        show_report(report)
    if report.get("outcome") not in _FINE:
        raise typer.Exit(1)


def show_report(report: dict[str, Any]) -> None:
    """Print what a run did, or would have done."""
    from carrick.cli.output import print_line, print_table, styled

    heading = f"{report.get('integration_id')}/{report.get('function')}"
    print_line(f"{heading} on {report.get('event')} ({report.get('operation')})", style="bold")
    rows = []
    for call in report.get("calls") or ():
        withheld = call.get("withheld")
        mark = styled("not made", "yellow") if withheld else styled("made", "green")
        status = "" if withheld else call.get("status")
        body = str(call.get("body") or "")[:_BODY_SHOWN]
        rows.append((mark, call.get("method"), call.get("endpoint"), status, body))
    print_table(("", "method", "endpoint", "status", "body"), rows, empty="No calls.")
    for entry in report.get("log") or ():
        print_line(f"{entry.get('level', 'info'):>5}  {entry.get('message')}", style="dim")
    _show_metadata(report.get("metadata_before") or {}, report.get("metadata_after") or {})
    _show_outcome(report)


def _show_metadata(before: dict[str, Any], after: dict[str, Any]) -> None:
    from carrick.cli.output import print_line

    for key in sorted({*before, *after}):
        if before.get(key) != after.get(key):
            was, now = (
                json.dumps(side.get(key), ensure_ascii=False, default=str)
                for side in (before, after)
            )
            print_line(f"metadata  {key}: {was} -> {now}")


def _show_outcome(report: dict[str, Any]) -> None:
    from carrick.cli.output import print_line

    outcome = str(report.get("outcome"))
    style = {"succeeded": "green", "incomplete": "yellow"}.get(outcome, "red")
    message = report.get("message")
    print_line(f"{outcome}: {message}" if message else outcome, style=style)
    if report.get("detail") and outcome not in _FINE:
        print_line(str(report["detail"]), style="dim")
    if not report.get("live"):
        print_line("Nothing was changed; --live makes the writes.", style="dim")


def _metadata(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except ValueError as error:
        raise typer.BadParameter(f"This is not JSON: {error}", param_hint="--metadata") from error
    if not isinstance(value, dict):
        raise typer.BadParameter("Metadata is a JSON object.", param_hint="--metadata")
    return value


def _bundle(project: Path, name: str, integration: str | None) -> bytes:
    """Pack the project here, after a look at whether the function is in it at all."""
    from carrick.cli.bundling import bundle_of, function_files, read
    from carrick.errors import UnknownFunction

    files = read(project)
    bundle = bundle_of(files, None)
    found = [
        file
        for file in function_files(files)
        if file.name == name and integration in (None, file.integration_id)
    ]
    if not found:
        known = ", ".join(file.label for file in function_files(files))
        raise UnknownFunction(f"The project here has no function {name}. It has: {known}.")
    return bundle.content
