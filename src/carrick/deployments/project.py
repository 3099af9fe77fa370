"""A project of event functions as files: what belongs to it, where its functions lie.

Nothing here runs or imports what it reads, so the server may use it on what was uploaded.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from carrick.deployments.problem import Problem
from carrick.errors import ProjectInvalid

#: Most bytes a project may have, all files together.
MAX_PROJECT_BYTES = 20 * 1024 * 1024
#: Most files a project may have.
MAX_FILES = 2_000
#: Largest Python file: a longer one is data, and parsing it would stall the server.
MAX_SOURCE_BYTES = 1024 * 1024

FUNCTION_FOLDERS = ("on_events", "on-events")
IGNORED_FOLDERS = frozenset(
    {"tests", "venv", "env", "node_modules", "__pycache__", "site-packages"}
)
#: Files beside the code that a function may read at run time. Anything else is left behind.
DATA_SUFFIXES = frozenset(
    {".json", ".yaml", ".yml", ".toml", ".txt", ".md", ".csv", ".sql", ".graphql", ".xml"}
    | {".html", ".j2", ".jinja", ".tmpl", ".tpl", ".pem", ".crt", ".xsd", ".proto"}
)

_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)[ \t]*(\[[A-Za-z0-9._, -]*\])?[^@\r\n]*")


@dataclass(frozen=True)
class Project:
    """Everything of a project that is deployed."""

    #: Content by path inside the project (forward slashes).
    files: Mapping[str, bytes] = field(repr=False)
    #: `[project].dependencies` of pyproject.toml without carrick itself.
    dependencies: tuple[str, ...] = ()
    #: What could not be read.
    problems: tuple[Problem, ...] = ()

    @property
    def python_files(self) -> list[str]:
        """Every Python file, in name order."""
        return sorted(path for path in self.files if path.endswith(".py"))


def read_project(path: Path) -> Project:
    """Read a project's files from a folder.

    Raises:
        ProjectInvalid: There is no such folder.
    """
    if not path.is_dir():
        raise ProjectInvalid(f"There is no project folder {path}.")
    files: dict[str, bytes] = {}
    problems: list[Problem] = []
    size = 0
    for relative, place in _walk(path):
        if place.is_symlink():
            problems.append(_symlink(relative))
            continue
        try:
            content = place.read_bytes()
        except OSError as error:
            reason = error.strerror or str(error)
            problems.append(Problem(relative, None, f"The file cannot be read: {reason}."))
            continue
        size += len(content)
        files[relative] = content
        if len(files) > MAX_FILES or size > MAX_PROJECT_BYTES:
            problems.append(_too_large())
            break
    return make_project(files, problems)


def make_project(files: Mapping[str, bytes], problems: list[Problem] | None = None) -> Project:
    """Make a project of files that are already in memory."""
    dependencies, faults = _dependencies(files.get("pyproject.toml"))
    return Project(files, dependencies, (*(problems or ()), *faults))


def belongs(relative: PurePosixPath) -> bool:
    """Whether a file of that path is part of a deployed project."""
    if any(_is_ignored(part) for part in relative.parts[:-1]) or relative.name.startswith("."):
        return False
    if len(relative.parts) == 1:
        # The root also holds lock files, settings and, too often, secrets.
        return relative.suffix == ".py" or relative.name == "pyproject.toml"
    return relative.suffix == ".py" or relative.suffix.lower() in DATA_SUFFIXES


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    for folder, names, files in os.walk(root):
        here = Path(folder)
        for name in sorted(names):
            if (here / name).is_symlink() and not _is_ignored(name):
                yield (here / name).relative_to(root).as_posix(), here / name
        names[:] = sorted(
            name for name in names if not _is_ignored(name) and not (here / name).is_symlink()
        )
        for name in sorted(files):
            place = here / name
            relative = place.relative_to(root).as_posix()
            if belongs(PurePosixPath(relative)):
                yield relative, place


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name in IGNORED_FOLDERS


def _symlink(relative: str) -> Problem:
    return Problem(
        relative,
        None,
        "Symbolic links are not deployed.",
        "Put the file itself here, or import it from a package in pyproject.toml.",
    )


def _too_large() -> Problem:
    limit = MAX_PROJECT_BYTES // (1024 * 1024)
    return Problem(
        "",
        None,
        f"The project is larger than {limit} MiB or has more than {MAX_FILES} files.",
        "Run this in the project's own folder, and keep data that functions do not need elsewhere.",
    )


def _dependencies(content: bytes | None) -> tuple[tuple[str, ...], list[Problem]]:
    if content is None:
        return (), []
    try:
        document = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return (), [Problem("pyproject.toml", None, f"This is not valid TOML: {error}.")]
    table = document.get("project")
    listed = table.get("dependencies", []) if isinstance(table, dict) else []
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        message = "[project].dependencies must be a list of texts."
        return (), [Problem("pyproject.toml", None, message)]
    found: list[str] = []
    problems: list[Problem] = []
    for item in listed:
        match = _REQUIREMENT.fullmatch(item.strip())
        if match is None:
            problems.append(_bad_requirement(item))
        elif re.sub(r"[-_.]+", "-", match[1]).lower() != "carrick":
            found.append(item.strip())
    return tuple(sorted(found)), problems


def _bad_requirement(item: str) -> Problem:
    return Problem(
        "pyproject.toml",
        None,
        f"The dependency {item[:120]!r} cannot be installed on a server.",
        "Name a package of the index, e.g. 'httpx>=0.28': no addresses, paths or options.",
    )
