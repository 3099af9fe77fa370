"""From the project here to the bundle that is sent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carrick.deployments import Bundle, FunctionFile, Problem, Project, Scope


def scope_of(
    project: Project, integrations: Sequence[str], functions: Sequence[str]
) -> Scope | None:
    """Return what a command names, with each function's integration found in the project.

    Raises:
        DeploymentRejected: A function's name fits several integrations, or none.
    """
    from carrick.deployments import Scope

    if not integrations and not functions:
        return None
    names = tuple(_full_name(project, name) for name in functions)
    return Scope(tuple(integrations), names)


def bundle_of(project: Project, scope: Scope | None) -> Bundle:
    """Pack a project that reads well. Whether it also imports is the server's to find out.

    Raises:
        ProjectInvalid: It does not; the problems are within the scope.
    """
    from carrick.deployments import pack, project_invalid
    from carrick.deployments.inspection import static_problems

    problems: Sequence[Problem] = static_problems(project, scope)
    if problems:
        raise project_invalid(problems)
    return pack(project)


def read(path: Path) -> Project:
    """Read the project in a folder."""
    from carrick.deployments import read_project

    return read_project(path)


def function_files(project: Project) -> list[FunctionFile]:
    """Return the functions that a project would deploy."""
    from carrick.deployments import Sources, select

    return select(project, Sources(project)).files


def _full_name(project: Project, name: str) -> str:
    from carrick.errors import DeploymentRejected

    if "/" in name:
        return name
    found = [file.label for file in function_files(project) if file.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise DeploymentRejected(f"{name} is a function of {', '.join(found)}: say which one.")
    raise DeploymentRejected(
        f"The project has no function {name}. To remove a deployed one, write <integration>/{name}."
    )
