"""`carrick deploy`: make the project's functions the active ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrick.cli.access import HERE, EnvironmentOption, JsonOption, ProjectOption, YesOption

if TYPE_CHECKING:
    from carrick.client import Client

_STYLES = {"added": "green", "changed": "yellow", "unchanged": "dim", "removed": "red"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("deploy")(deploy)


def deploy(
    into: Annotated[
        str | None, typer.Argument(metavar="[ENVIRONMENT]", help="The same as --environment.")
    ] = None,
    *,
    environment: EnvironmentOption = "dev",
    integrations: Annotated[
        list[str] | None,
        typer.Option("--integration", "-i", help="Deploy only this one's functions (repeatable)."),
    ] = None,
    functions: Annotated[
        list[str] | None,
        typer.Option("--function", help="Deploy only this function (repeatable)."),
    ] = None,
    allow_removals: Annotated[
        bool, typer.Option("--allow-removals", help="Remove functions that are no longer there.")
    ] = False,
    yes: YesOption = False,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Deploy the project: show what changes, ask before removing, then activate all at once."""
    from carrick.cli.access import with_client
    from carrick.cli.bundling import bundle_of, read, scope_of
    from carrick.cli.output import print_json, working

    files = read(project)
    scope = scope_of(files, integrations or (), functions or ())
    bundle = bundle_of(files, scope)
    sent = scope.as_json() if scope else None
    environment = into or environment

    async def preview(client: Client) -> dict[str, Any]:
        return await client.preview_deployment(bundle.content, sent)

    async def activate(client: Client) -> dict[str, Any]:
        return await client.deploy(bundle.content, sent, allow_removals=may_remove)

    with working("Comparing with what is deployed"):
        changes = with_client(environment, preview)
    if not as_json:
        show_changes(changes)
    may_remove = _may_remove(changes.get("removed") or [], allowed=allow_removals or yes)
    with working("Deploying"):
        deployed = with_client(environment, activate)
    if as_json:
        print_json(deployed)
    else:
        _show_result(deployed, environment)


def show_changes(changes: dict[str, Any]) -> None:
    """Print what a deployment does to each function."""
    from carrick.cli.output import print_table, styled

    rows: list[Sequence[Any]] = []
    for kind, style in _STYLES.items():
        for change in changes.get(kind) or ():
            note = "order only" if change.get("only_order") else change.get("version") or ""
            rows.append(
                (
                    styled(kind, style),
                    change.get("integration_id"),
                    change.get("name"),
                    change.get("event"),
                    note,
                )
            )
    columns = ("", "integration", "function", "event", "version")
    print_table(columns, rows, empty="There is nothing to deploy.")


def _may_remove(removed: Sequence[dict[str, Any]], *, allowed: bool) -> bool:
    if not removed or allowed:
        return allowed
    import sys

    from carrick.cli.output import confirm
    from carrick.errors import RemovalNotConfirmed

    names = ", ".join(f"{change['integration_id']}/{change['name']}" for change in removed)
    if not sys.stdin.isatty():
        raise RemovalNotConfirmed(f"This would remove {names}, so nothing was deployed.")
    confirm(f"Remove {names}?", yes=False)
    return True


def _show_result(deployed: dict[str, Any], environment: str) -> None:
    from carrick.cli.output import print_line

    number = deployed.get("number")
    if deployed.get("is_new", True):
        print_line(f"Deployment {number} is active in {environment}.", style="green")
    else:
        print_line(f"Nothing changed: deployment {number} stays active in {environment}.")
