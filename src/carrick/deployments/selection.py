"""Which files of a project are deployed, and in which order.

Every file in `<integration-id>/on_events/` is, in name order, unless an `index.py` imports the ones
that are. An `index.py` is read, never run: what its imports name is what is deployed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from carrick.deployments.bundle import open_bundle
from carrick.deployments.problem import Problem
from carrick.deployments.project import FUNCTION_FOLDERS, Project
from carrick.deployments.sources import Sources
from carrick.errors import UnknownFunction


@dataclass(frozen=True)
class FunctionFile:
    """A file that holds one event function."""

    integration_id: str
    #: The function's name: the file's, with hyphens.
    name: str
    path: str
    #: Place in the declared order of its integration, from 0.
    position: int = 0

    @property
    def label(self) -> str:
        """The name by which people tell functions of a project apart."""
        return f"{self.integration_id}/{self.name}"


@dataclass
class Selection:
    """What is deployed of a project."""

    files: list[FunctionFile] = field(default_factory=list)
    #: Function files that an `index.py` does not import.
    left_out: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def select(project: Project, sources: Sources) -> Selection:
    """Find the functions of a project in their order."""
    found = find_function_files(project)
    selection = Selection()
    by_integration: dict[str, list[FunctionFile]] = {}
    for file in found:
        by_integration.setdefault(file.integration_id, []).append(file)
    for integration_id, files in by_integration.items():
        index = f"{integration_id}/index.py"
        if index in project.files:
            by_integration[integration_id] = _read_index(
                _Index(index, (integration_id,)), {integration_id: files}, sources, selection
            )
    chosen = [file for files in by_integration.values() for file in files]
    if "index.py" in project.files:
        chosen = _read_index(_Index("index.py", ()), by_integration, sources, selection)
    selection.files = _number(chosen)
    kept = {file.path for file in chosen}
    selection.left_out = [file.path for file in found if file.path not in kept]
    return selection


def find_function_files(project: Project) -> list[FunctionFile]:
    """Return every file that lies where event functions do, in name order."""
    files = []
    for path in project.python_files:
        parts = PurePosixPath(path).parts
        if len(parts) != 3 or parts[1] not in FUNCTION_FOLDERS or parts[2].startswith("_"):
            continue
        files.append(FunctionFile(parts[0], function_name(parts[2]), path))
    return sorted(files, key=lambda file: (file.integration_id, file.name, file.path))


def source_of(content: bytes, integration_id: str, name: str) -> str:
    """Return the text of the file in a bundle that holds a function.

    Raises:
        UnknownFunction: It holds none of that name.
    """
    _, project = open_bundle(content)
    for file in select(project, Sources(project)).files:
        if (file.integration_id, file.name) == (integration_id, name):
            return project.files[file.path].decode(errors="replace")
    raise UnknownFunction("The code of this function is not in its project.")


def function_name(file_name: str) -> str:
    """Return the function's name for a file's: `post_setup.py` is `post-setup`."""
    return file_name.removesuffix(".py").replace("_", "-")


def _number(files: Iterable[FunctionFile]) -> list[FunctionFile]:
    counts: dict[str, int] = {}
    numbered = []
    for file in files:
        position = counts.get(file.integration_id, 0)
        counts[file.integration_id] = position + 1
        numbered.append(FunctionFile(file.integration_id, file.name, file.path, position))
    return numbered


# --- index.py -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Index:
    path: str
    #: The folder it stands in, as parts.
    folder: tuple[str, ...]


@dataclass
class _Reader:
    """Turns the imports of one index file into function files, in the order they stand."""

    index: _Index
    candidates: dict[str, list[FunctionFile]]
    sources: Sources
    problems: list[Problem]
    chosen: list[FunctionFile] = field(default_factory=list)

    def read(self, tree: ast.Module) -> None:
        """Follow every import at the top of the file."""
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                self._import_from(node)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    self._import(alias.name.split("."), node.lineno)

    def _import_from(self, node: ast.ImportFrom) -> None:
        module = node.module.split(".") if node.module else []
        if node.level == 0:
            parts = module
        elif node.level <= len(self.index.folder) + 1:
            kept = len(self.index.folder) + 1 - node.level
            parts = [*self.index.folder[:kept], *module]
        else:
            self._missing(node.lineno, "." * node.level + ".".join(module))
            return
        for alias in node.names:
            self._take(parts, alias.name, node.lineno, is_relative=node.level > 0)

    def _import(self, parts: Sequence[str], line: int) -> None:
        if len(parts) == 1:
            self._take([], parts[0], line, is_relative=False)
        else:
            self._take(parts[:-1], parts[-1], line, is_relative=False)

    def _take(self, parts: Sequence[str], name: str, line: int, *, is_relative: bool) -> None:
        full = [*parts] if name == "*" else [*parts, name]
        files = self._resolve(full, line)
        if files is not None:
            self.chosen += [file for file in files if file not in self.chosen]
        elif self._is_other_module(parts, name):
            return
        elif is_relative or any(part in FUNCTION_FOLDERS for part in parts):
            self._missing(line, ".".join(full))

    def _resolve(self, full: Sequence[str], line: int) -> list[FunctionFile] | None:
        """Return what a dotted path names: an integration, its folder, a file or its function."""
        files = self._integration(full[0]) if full else None
        if files is None:
            return None
        rest = [part for part in full[1:] if part != "index"]
        if not rest or (len(rest) == 1 and rest[0] in FUNCTION_FOLDERS):
            return files
        if rest[0] not in FUNCTION_FOLDERS:
            return None
        wanted = function_name(rest[1])
        matching = [file for file in files if file.name == wanted]
        if not matching:
            return None
        if len(rest) > 2 and not self._defines(matching[0], rest[2]):
            self._missing(line, ".".join(full))
        return matching

    def _integration(self, name: str) -> list[FunctionFile] | None:
        if name in self.candidates:
            return self.candidates[name]
        for integration_id, files in self.candidates.items():
            if integration_id.replace("-", "_") == name:  # Python cannot spell a hyphen
                return files
        return None

    def _defines(self, file: FunctionFile, name: str) -> bool:
        tree = self.sources.tree(file.path)
        return tree is None or name == "*" or name in _top_names(tree)

    def _is_other_module(self, parts: Sequence[str], name: str) -> bool:
        """Whether this names a module that holds no event function, which an index may import."""
        if self.sources.module_path([*parts, name]):
            return True
        if not parts:
            return name == "*"
        # `from .on_events import x` asks for a function, also where on_events is a package.
        return parts[-1] not in FUNCTION_FOLDERS and bool(self.sources.module_path(parts))

    def _missing(self, line: int, what: str) -> None:
        self.problems.append(
            Problem(
                self.index.path,
                line,
                f"This imports {what}, which is not in the project.",
                "Import functions as `from .<integration>.on_events import <file name>`.",
            )
        )


def _read_index(
    index: _Index,
    candidates: dict[str, list[FunctionFile]],
    sources: Sources,
    selection: Selection,
) -> list[FunctionFile]:
    tree = sources.tree(index.path)
    if tree is None:  # its syntax error is reported by the checks
        return [file for files in candidates.values() for file in files]
    reader = _Reader(index, candidates, sources, selection.problems)
    before = len(selection.problems)
    reader.read(tree)
    if not reader.chosen and len(selection.problems) == before:
        selection.problems.append(
            Problem(
                index.path,
                1,
                "This index.py imports no function, so nothing would be deployed.",
                "Import what is to be deployed, or remove the file to deploy every function.",
            )
        )
    return reader.chosen


def _top_names(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name.split(".")[0] for alias in node.names)
    return names
