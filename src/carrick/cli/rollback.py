"""`carrick rollback`: make an earlier deployment the active one again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrick.cli.access import EnvironmentOption, JsonOption, YesOption

if TYPE_CHECKING:
    from carrick.client import Client


#: More deployments than an environment has: the active one may be far down.
_ALL = 10_000


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rollback")(rollback)


def rollback(
    number: Annotated[
        int | None,
        typer.Argument(
            help="The deployment to go back to; by default the earlier one that was active last."
        ),
    ] = None,
    environment: EnvironmentOption = "dev",
    show: Annotated[bool, typer.Option("--list", help="Only show the deployments.")] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Go back to an earlier deployment; its functions are active again at once."""
    from carrick.cli.access import with_client
    from carrick.cli.output import confirm, print_json, print_line

    async def listed(client: Client) -> list[dict[str, Any]]:
        return await client.deployments(limit=50 if show else _ALL)

    if show:
        _show(with_client(environment, listed), as_json=as_json)
        return
    if number is None:
        number = _previous(with_client(environment, listed))
    confirm(f"Make deployment {number} the active one in {environment}?", yes=yes)

    async def activate(client: Client) -> dict[str, Any]:
        return await client.activate_deployment(number)

    activated = with_client(environment, activate)
    if as_json:
        print_json(activated)
    else:
        print_line(f"Deployment {number} is active in {environment}.", style="green")


def _previous(deployments: list[dict[str, Any]]) -> int:
    """Return the deployment that was active last of those below the active one.

    Not simply the number below: that may be one which was rolled back already.
    """
    from carrick.errors import NotFound

    active = [one["number"] for one in deployments if one.get("state") == "active"]
    below = [one for one in deployments if active and one["number"] < active[0]]
    if not below:
        raise NotFound("There is no earlier deployment to go back to.")
    last = max(below, key=lambda one: (str(one.get("activated_at") or ""), one["number"]))
    return int(last["number"])


def _show(deployments: list[dict[str, Any]], *, as_json: bool) -> None:
    from carrick.cli.output import print_json, print_table

    if as_json:
        print_json(deployments)
        return
    rows = []
    for one in deployments:
        counts = one.get("summary") or {}
        changes = ", ".join(
            f"{counts[kind]} {kind}"
            for kind in ("added", "changed", "removed", "unchanged")
            if counts.get(kind)
        )
        when = one.get("created_at"), one.get("activated_at")
        rows.append((one.get("number"), one.get("state"), *when, changes))
    columns = ("number", "state", "made", "activated", "changes")
    print_table(columns, rows, empty="Nothing was deployed yet.")
