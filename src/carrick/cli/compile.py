"""`carrick compile`: is this project in order?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from carrick.cli.access import HERE, JsonOption, ProjectOption

if TYPE_CHECKING:
    from carrick.deployments import Inspection


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compile")(compile_project)


def compile_project(project: ProjectOption = HERE, as_json: JsonOption = False) -> None:
    """Check the project: every problem with its file, its line and what to do."""
    from carrick.cli.output import print_json, working
    from carrick.deployments import inspect_project

    with working("Checking the project"):
        inspection = asyncio.run(inspect_project(project))
    if as_json:
        print_json(_as_json(inspection))
    else:
        _show(inspection)
    if inspection.problems:
        raise typer.Exit(1)


def _show(inspection: Inspection) -> None:
    from carrick.cli.failures import problem_lines, write
    from carrick.cli.output import print_line, print_table

    if inspection.problems:
        count = len(inspection.problems)
        write(f"Error: The project has {count} problem{'s' if count > 1 else ''}:")
        for problem in inspection.problems:
            for line in problem_lines(problem.as_json()):
                write(line)
        return
    rows = [
        (
            function.integration_id,
            function.name,
            function.declaration.event.value,
            function.declaration.description,
        )
        for function in inspection.functions
    ]
    print_table(("integration", "function", "event", "description"), rows, empty="No functions.")
    for path in inspection.left_out:
        print_line(f"Left out by index.py: {path}", style="yellow")
    count = len(inspection.functions)
    print_line(f"{count} function{'s' if count != 1 else ''}, no problems.", style="green")


def _as_json(inspection: Inspection) -> dict[str, object]:
    from carrick.store.deployments import declaration_to_json

    return {
        "functions": [
            {
                "integration_id": function.integration_id,
                "name": function.name,
                "file": function.file,
                "content_hash": function.content_hash,
                "declaration": declaration_to_json(function.declaration),
            }
            for function in inspection.functions
        ],
        "problems": [problem.as_json() for problem in inspection.problems],
        "left_out": list(inspection.left_out),
    }
