"""What a project holds: read here, imported only in a child process.

The child (`python -m carrick.runner.inspect`) starts with an empty environment and a memory limit,
and says on a descriptor of its own what it found. A project that hangs, exits or eats memory while
it is imported is a problem that names the file, and nothing worse.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from carrick.deployments.checks import check_selected
from carrick.deployments.child import ChildReport, Isolate, import_in_child
from carrick.deployments.diff import Scope
from carrick.deployments.problem import Problem, sort_key
from carrick.deployments.project import Project, read_project
from carrick.deployments.reach import content_hash
from carrick.deployments.selection import FunctionFile, Selection, find_function_files
from carrick.deployments.sources import Sources
from carrick.errors import FunctionsUnavailable
from carrick.model.event import Declaration

#: Longest the import of a whole project may take, in seconds.
INSPECT_TIMEOUT_S = 30.0
INSPECT_MEMORY_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True)
class FoundFunction:
    """One event function of a project that compiles."""

    integration_id: str
    name: str
    position: int
    file: str
    content_hash: str
    declaration: Declaration

    @property
    def label(self) -> str:
        """The function as `integration/name`."""
        return f"{self.integration_id}/{self.name}"


@dataclass(frozen=True)
class Inspection:
    """What a project holds and what is wrong with it."""

    functions: tuple[FoundFunction, ...] = ()
    problems: tuple[Problem, ...] = ()
    #: Function files that an `index.py` leaves out.
    left_out: tuple[str, ...] = ()
    project: Project = field(default_factory=lambda: Project({}), repr=False)


async def inspect_project(
    path: Path,
    *,
    dependencies: Path | None = None,
    scope: Scope | None = None,
    timeout_s: float = INSPECT_TIMEOUT_S,
    memory_bytes: int = INSPECT_MEMORY_BYTES,
) -> Inspection:
    """Inspect the project in a folder.

    Raises:
        ProjectInvalid: There is no such folder.
    """
    project = await asyncio.to_thread(read_project, path)
    return await inspect_files(
        project,
        await asyncio.to_thread(path.absolute),
        dependencies=dependencies,
        scope=scope,
        timeout_s=timeout_s,
        memory_bytes=memory_bytes,
    )


async def inspect_files(
    project: Project,
    directory: Path,
    *,
    dependencies: Path | None = None,
    scope: Scope | None = None,
    timeout_s: float = INSPECT_TIMEOUT_S,
    memory_bytes: int = INSPECT_MEMORY_BYTES,
    isolate: Isolate | None = None,
) -> Inspection:
    """Inspect a project whose files are read already.

    Args:
        project: Its files.
        directory: Where they lie, as an absolute path.
        dependencies: Where the packages it imports lie, if not in this interpreter's own path.
        scope: Functions out of it are neither imported nor complained about.
        timeout_s: Longest its import may take.
        memory_bytes: Memory limit of the process that imports it.
        isolate: What comes before that process's command, to keep it from the machine's files.
    """
    sources = Sources(project)
    selection, problems = await asyncio.to_thread(check_selected, project, sources)
    files, problems = _within(scope, selection, problems, project)
    broken = {problem.file for problem in problems}
    importable = [file for file in files if file.path not in broken]
    report = ChildReport()
    if importable:
        with _temporary_directory() as elsewhere:
            report = await import_in_child(
                directory,
                dependencies,
                [file.path for file in importable],
                working_directory=elsewhere,
                timeout_s=timeout_s,
                memory_bytes=memory_bytes,
                isolate=isolate,
            )
    problems += [problem for problem in report.problems if problem not in problems]
    functions = await asyncio.to_thread(_found, importable, report, sources)
    return Inspection(
        functions=tuple(functions) if not problems else (),
        problems=tuple(sorted(problems, key=sort_key)),
        left_out=tuple(selection.left_out),
        project=project,
    )


@contextlib.contextmanager
def _temporary_directory() -> Iterator[Path]:
    try:
        made = tempfile.TemporaryDirectory(prefix="carrick-inspect-", ignore_cleanup_errors=True)
    except OSError as error:
        where = error.filename or "the temporary directory"
        raise FunctionsUnavailable(
            f"Functions cannot be looked at: {where}: {error.strerror or error}. "
            "Nothing was changed."
        ) from error
    with made as path:
        yield Path(path)


def static_problems(project: Project, scope: Scope | None = None) -> list[Problem]:
    """Return what reading a project shows to be wrong within a scope; nothing is imported."""
    selection, problems = check_selected(project, Sources(project))
    return _within(scope, selection, problems, project)[1]


def _found(
    files: Sequence[FunctionFile], report: ChildReport, sources: Sources
) -> list[FoundFunction]:
    return [
        FoundFunction(
            integration_id=file.integration_id,
            name=file.name,
            position=file.position,
            file=file.path,
            content_hash=content_hash(file, sources),
            declaration=report.declarations[file.path],
        )
        for file in files
        if file.path in report.declarations
    ]


def _within(
    scope: Scope | None, selection: Selection, problems: Sequence[Problem], project: Project
) -> tuple[list[FunctionFile], list[Problem]]:
    """Drop what is out of scope: half-written work elsewhere must not hold up a narrow deploy."""
    if scope is None:
        return selection.files, list(problems)
    covered = [f for f in selection.files if scope.covers(f.integration_id, f.name)]
    integrations = {file.integration_id for file in find_function_files(project)}
    concerned = {file.integration_id for file in covered} | set(scope.integration_ids)
    elsewhere = {f.path for f in selection.files} - {file.path for file in covered}
    kept = []
    for problem in problems:
        folder = PurePosixPath(problem.file).parts[0] if problem.file else ""
        is_other = folder in integrations and folder not in concerned
        is_empty_project = not problem.file and not integrations
        if not (is_other or problem.file in elsewhere or is_empty_project):
            kept.append(problem)
    return covered, kept
