"""`carrick providers`: the catalogue of external APIs. Needs no server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carrick.cli.access import JsonOption

if TYPE_CHECKING:
    from carrick.providers import Catalogue


def group() -> typer.Typer:
    """Build the group of commands."""
    app = typer.Typer(name="providers", help="The catalogue of external APIs.")
    app.command("list")(list_providers)
    app.command("show")(show)
    app.command("check")(check)
    return app


def list_providers(
    search: Annotated[str | None, typer.Argument(help="Only those with this in the name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the providers there are, your own file's among them."""
    from carrick.cli.output import print_json, print_table

    wanted = (search or "").lower()
    found = [
        provider
        for provider in _catalogue().all()
        if wanted in provider.name.lower() or wanted in provider.display_name.lower()
    ]
    if as_json:
        print_json(
            [
                {"name": one.name, "display_name": one.display_name, "auth_mode": one.auth_mode}
                for one in found
            ]
        )
        return
    rows = [(one.name, one.display_name, one.auth_mode) for one in found]
    print_table(("name", "display name", "auth mode"), rows, empty="There is no such provider.")


def show(
    name: Annotated[str, typer.Argument(help="The provider's name.")], as_json: JsonOption = False
) -> None:
    """Show a provider's definition."""
    from carrick.cli.output import print_facts, print_json

    definition = {"name": name, **_catalogue().get(name).definition}
    if as_json:
        print_json(definition)
    else:
        print_facts(list(definition.items()))


def check(
    file: Annotated[Path, typer.Argument(help="A YAML or JSON file with provider definitions.")],
) -> None:
    """Check a file of provider definitions as the server reads it with --providers-file."""
    from carrick.cli.output import print_line
    from carrick.providers import load_catalogue, read_definitions

    load_catalogue(file)
    names = sorted(read_definitions(file.read_text(), origin=str(file)))
    print_line(f"{file} is in order: {', '.join(names)}.", style="green")


def _catalogue() -> Catalogue:
    from carrick.cli.access import settings
    from carrick.providers import load_catalogue

    return load_catalogue(settings().providers_file)
