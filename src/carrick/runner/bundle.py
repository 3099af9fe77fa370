"""Loading a project's files under a package of its own.

The project's folder is never on `sys.path`: an integration folder named `stripe` must not hide the
installed package of that name. Its files are modules of a synthetic package instead, found by
their place in the folder, whatever characters their names have; relative imports work in it.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from carrick.sdk import EventFunction

PACKAGE = "carrick_project"
FUNCTION_FOLDERS = ("on_events", "on-events")
_DOT = "\u2024"  # stands for a dot inside a folder's name, which Python would take for a package


class NoSuchFunction(Exception):
    """The bundle has no function of that name, or its file does not hold exactly one."""


class ProjectFinder:
    """Finds the modules of one project below its synthetic package."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module of the project, `None` for any other."""
        head, *names = fullname.split(".")
        if head != PACKAGE:
            return None
        place = self._root.joinpath(*(name.replace(_DOT, ".") for name in names))
        if place.is_dir():
            return _folder_spec(fullname, place)
        file = place.with_name(f"{place.name}.py")
        if names and file.is_file():
            return importlib.util.spec_from_file_location(fullname, file)
        return None


def _folder_spec(fullname: str, place: Path) -> importlib.machinery.ModuleSpec | None:
    init = place / "__init__.py"
    if init.is_file():
        return importlib.util.spec_from_file_location(
            fullname, init, submodule_search_locations=[str(place)]
        )
    spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
    spec.submodule_search_locations = [str(place)]
    return spec


class LoadedBundle:
    """A project that functions are run from."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._functions: dict[tuple[str, str], EventFunction[Any]] = {}

    def install(self, dependencies: Path | None) -> None:
        """Make the project's modules and its declared packages importable in this process."""
        sys.meta_path.insert(0, ProjectFinder(self.root))
        if dependencies is not None:
            sys.path.append(str(dependencies))

    def function(self, integration_id: str, name: str) -> EventFunction[Any]:
        """Return a function, importing its file the first time.

        Raises:
            NoSuchFunction: There is no such file, or it does not hold exactly one function.
            BaseException: Whatever importing the file raised.
        """
        key = (integration_id, name)
        if key not in self._functions:
            file = self._file(integration_id, name)
            found = functions_in(self.load(file))
            if len(found) != 1:
                raise NoSuchFunction(f"{file} holds {len(found)} event functions instead of one")
            self._functions[key] = found[0]
        return self._functions[key]

    def load(self, file: str) -> ModuleType:
        """Import a file by its path inside the project."""
        parts = file.removesuffix(".py").split("/")
        return importlib.import_module(
            ".".join([PACKAGE, *(part.replace(".", _DOT) for part in parts)])
        )

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield integration and name of everything that lies where functions do."""
        for folder in sorted(path for path in self.root.iterdir() if path.is_dir()):
            for place in (folder / name for name in FUNCTION_FOLDERS):
                for file in sorted(place.glob("[!_]*.py")):
                    yield folder.name, function_name(file.name)

    def _file(self, integration_id: str, name: str) -> str:
        for folder in FUNCTION_FOLDERS:
            place = self.root / integration_id / folder
            if place.parent.parent != self.root or not place.is_dir():
                continue
            for file in sorted(place.glob("[!_]*.py")):
                if function_name(file.name) == name:
                    return f"{integration_id}/{folder}/{file.name}"
        raise NoSuchFunction(f"{integration_id}/{name} is not in the deployed project")


def function_name(file_name: str) -> str:
    """Return the function's name for a file's: `post_setup.py` is `post-setup`."""
    return file_name.removesuffix(".py").replace("_", "-")


def functions_in(module: ModuleType) -> list[EventFunction[Any]]:
    """Return the event functions that a module defines itself, not those it imports."""
    found: list[EventFunction[Any]] = []
    for value in vars(module).values():
        is_own = isinstance(value, EventFunction) and value.__module__ == module.__name__
        if is_own and not any(value is other for other in found):
            found.append(value)
    return found
