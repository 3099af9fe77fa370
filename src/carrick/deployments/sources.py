"""The Python files of a project, parsed once, and the modules they reach in the project.

Parsing is all that happens to them here: uploaded code is imported only in a child process.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field

from carrick.deployments.problem import Problem
from carrick.deployments.project import MAX_SOURCE_BYTES, Project


@dataclass
class Sources:
    """Parsed files of one project."""

    project: Project
    _trees: dict[str, ast.Module | None] = field(default_factory=dict)
    _faults: dict[str, Problem] = field(default_factory=dict)

    def tree(self, path: str) -> ast.Module | None:
        """Return a file's syntax tree; `None` when it has none, then `fault` says why."""
        if path not in self._trees:
            self._trees[path] = self._parse(path)
        return self._trees[path]

    def fault(self, path: str) -> Problem | None:
        """Return why a file cannot be parsed, if it cannot."""
        self.tree(path)
        return self._faults.get(path)

    def module_path(self, parts: Sequence[str]) -> str | None:
        """Return the file of a dotted module path from the project's root, if there is one."""
        stem = "/".join(parts)
        for path in (f"{stem}.py", f"{stem}/__init__.py"):
            if path.lstrip("/") in self.project.files:
                return path.lstrip("/")
        return None

    def _parse(self, path: str) -> ast.Module | None:
        content = self.project.files[path]
        if len(content) > MAX_SOURCE_BYTES:
            limit = MAX_SOURCE_BYTES // (1024 * 1024)
            hint = "Keep data in a data file and read it at run time."
            message = f"A Python file may have at most {limit} MiB."
            self._faults[path] = Problem(path, None, message, hint)
            return None
        try:
            return ast.parse(content, filename=path)
        except SyntaxError as error:
            text = (error.text or "").strip()
            hint = f"Look at: {text[:160]}" if text else ""
            message = f"This is not valid Python: {error.msg}."
            self._faults[path] = Problem(path, error.lineno, message, hint)
        except (ValueError, RecursionError, MemoryError) as error:
            message = f"This file cannot be parsed: {error or type(error).__name__}."
            self._faults[path] = Problem(path, None, message)
        return None
