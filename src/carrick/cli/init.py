"""`carrick init`: a project to start from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

_ID = re.compile(r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init")(init)


def init(
    directory: Annotated[Path, typer.Argument(help="Folder to make the project in.")] = Path(),
    integration: Annotated[
        str, typer.Option("--integration", "-i", help="Id of the example's integration.")
    ] = "github",
) -> None:
    """Make a project with an example: one function for each of the three events."""
    from carrick.cli.output import print_line

    if not _ID.match(integration):
        raise typer.BadParameter(
            f"{integration!r} is not usable as a folder and an integration id.",
            param_hint="--integration",
        )
    files = scaffold(directory.resolve().name, integration)
    taken = [path for path in files if (directory / path).exists()]
    if taken:
        from carrick.errors import ProjectInvalid

        raise ProjectInvalid(f"{directory / taken[0]} exists already; nothing was written.")
    for path, content in files.items():
        place = directory / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
    print_line(f"Made a project in {directory.resolve()}:")
    for path in files:
        print_line(f"  {path}")
    print_line("README.md says what to do next; `carrick compile` checks the project.")


def scaffold(project_name: str, integration_id: str) -> dict[str, str]:
    """Return the files of a new project by path."""
    from importlib.resources import files

    values = {
        "__PROJECT__": re.sub(r"[^a-zA-Z0-9]+", "-", project_name).strip("-") or "functions",
        "__INTEGRATION__": integration_id,
    }
    found: dict[str, str] = {}
    root = files("carrick.cli") / "scaffold"
    for source, target in _FILES.items():
        path = target.replace("__INTEGRATION__", integration_id)
        content = root.joinpath(source).read_text()
        for mark, value in values.items():
            content = content.replace(mark, value)
        found[path] = content
    return found


_FILES = {
    "pyproject.toml.txt": "pyproject.toml",
    "README.md.txt": "README.md",
    "gitignore.txt": ".gitignore",
    "metadata.py.txt": "__INTEGRATION__/metadata.py",
    "validate_connection.py.txt": "__INTEGRATION__/on_events/validate_connection.py",
    "post_connection_setup.py.txt": "__INTEGRATION__/on_events/post_connection_setup.py",
    "pre_connection_cleanup.py.txt": "__INTEGRATION__/on_events/pre_connection_cleanup.py",
}
