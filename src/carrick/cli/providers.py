"""`carrick providers`: the catalogue of external APIs. Needs no server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrick.cli.access import JsonOption, YesOption

if TYPE_CHECKING:
    from carrick.cli.provider_files import ImportReport
    from carrick.providers import Catalogue

_SHOWN = 8

FileArgument = Annotated[
    Path, typer.Argument(help="A YAML or JSON file with provider definitions.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Even if integrations are left without their provider.")
]


def group() -> typer.Typer:
    """Build the group of commands."""
    app = typer.Typer(name="providers", help="The catalogue of external APIs.")
    app.command("list")(list_providers)
    app.command("show")(show)
    app.command("check")(check)
    app.command("import")(import_file)
    app.command("imports")(imports)
    app.command("remove")(remove)
    return app


def list_providers(
    search: Annotated[str | None, typer.Argument(help="Only those with this in the name.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the providers there are, your own among them."""
    from carrick.cli.output import print_json, print_table

    wanted = (search or "").lower()
    catalogue = _catalogue()
    found = [
        (one.name, one.display_name, one.auth_mode, catalogue.origin(one.name))
        for one in catalogue.all()
        if wanted in one.name.lower() or wanted in one.display_name.lower()
    ]
    if as_json:
        names = ("name", "display_name", "auth_mode", "origin")
        print_json([dict(zip(names, one, strict=True)) for one in found])
        return
    columns = ("name", "display name", "auth mode", "from")
    print_table(columns, found, empty="There is no such provider.")


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
    file: FileArgument,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail, too.")] = False,
) -> None:
    """Check a file of provider definitions; nothing is kept."""
    from carrick.cli.output import print_line
    from carrick.cli.provider_files import own_entries

    providers, warnings = _catalogue(own_file=False).read(own_entries(file), origin=file.name)
    _warn(warnings)
    print_line(f"{file} is in order: {_some([one.name for one in providers])}.", style="green")
    if strict and warnings:
        raise typer.Exit(1)


def import_file(
    file: FileArgument,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Of the import; an earlier one of that name is replaced."),
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Import a file into the database, for every server that uses it; all of it or nothing."""
    from carrick.cli.access import settings
    from carrick.cli.output import print_json, working
    from carrick.cli.provider_files import import_file as importing

    with working(f"Importing {file.name}"):
        report = asyncio.run(importing(settings(), file, name or file.stem, force=force))
    if as_json:
        print_json(_as_json(report))
    else:
        _say(report, file)


def imports(as_json: JsonOption = False) -> None:
    """List what was imported, oldest first; of the same provider, the later one counts."""
    from carrick.cli.access import settings
    from carrick.cli.output import print_json, print_table
    from carrick.cli.provider_files import list_imports

    found = asyncio.run(list_imports(settings()))
    if as_json:
        names = ("name", "providers", "imported_at")
        print_json([{field: getattr(one, field) for field in names} for one in found])
        return
    rows = [(one.name, one.providers, one.imported_at.isoformat(" ", "seconds")) for one in found]
    print_table(("name", "providers", "imported"), rows, empty="Nothing was imported.")


def remove(
    name: Annotated[str, typer.Argument(help="The import's name.")],
    force: ForceOption = False,
    yes: YesOption = False,
) -> None:
    """Forget an import; what it had replaced is there again."""
    from carrick.cli.access import settings
    from carrick.cli.output import confirm, print_line
    from carrick.cli.provider_files import remove_import

    confirm(f"Forget the import {name}?", yes=yes)
    asyncio.run(remove_import(settings(), name, force=force))
    print_line(f"The import {name} is forgotten.")


def _say(report: ImportReport, file: Path) -> None:
    from carrick.cli.output import print_line

    _warn(report.warnings)
    total = len(report.added) + len(report.replaced)
    print_line(f"Imported {total} providers from {file} as {report.name}.", style="green")
    for word in ("added", "replaced", "removed"):
        names = getattr(report, word)
        if names:
            print_line(f"  {len(names)} {word}: {_some(names)}")
    print_line("Servers that run notice within seconds.")


def _warn(warnings: Sequence[str]) -> None:
    from carrick.cli.failures import write
    from carrick.providers import summarised

    for line in summarised(warnings):
        write(f"Warning: {line}")


def _as_json(report: ImportReport) -> dict[str, Any]:
    from carrick.providers import summarised

    return {
        "name": report.name,
        "added": report.added,
        "replaced": report.replaced,
        "removed": report.removed,
        "warnings": summarised(report.warnings),
    }


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _catalogue(*, own_file: bool = True) -> Catalogue:
    from carrick.cli.access import settings
    from carrick.cli.provider_files import whole_catalogue

    return asyncio.run(whole_catalogue(settings(), own_file=own_file))
