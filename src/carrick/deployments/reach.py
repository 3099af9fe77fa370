"""What a function's behaviour depends on inside its project, as one hash.

The hash covers the function's file, the project's modules it reaches through imports, and the
declared dependencies. It does not depend on the function's place in the order. Where reading
cannot tell what a module reaches, every file that functions can share counts: a function too many
is called changed, never one too few.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from carrick.deployments.selection import FunctionFile, find_function_files
from carrick.deployments.sources import Sources

#: Names whose use means that a module may read or import anything.
_OPAQUE = frozenset(
    {"__file__", "__import__", "__path__", "exec", "eval", "open", "importlib", "pkgutil"}
    | {"runpy", "Path", "pathlib", "sys"}
)


def content_hash(file: FunctionFile, sources: Sources) -> str:
    """Return the hash by which a deployment tells whether a function changed."""
    digest = hashlib.sha256()
    for dependency in sources.project.dependencies:
        digest.update(f"dependency {dependency}\n".encode())
    reached = _reached(file.path, sources)
    for path in sorted(reached - {file.path}):
        _add(digest, path, sources)
    # Without its path: on_events/ and on-events/ are the same place.
    _add(digest, file.path, sources, name=file.label)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, path: str, sources: Sources, name: str | None = None) -> None:
    content = sources.project.files[path]
    digest.update(f"file {name or path} {len(content)}\n".encode())
    digest.update(content)


def _reached(start: str, sources: Sources) -> set[str]:
    seen = {start, *_packages(start, sources)}
    waiting = sorted(seen)
    while waiting:
        path = waiting.pop()
        if not path.endswith(".py"):
            continue
        tree = sources.tree(path)
        reached = set(_imports(path, tree, sources)) if tree is not None else None
        if reached is None or tree is None or _is_opaque(tree):
            return {start, *_sharable(sources), *seen}
        waiting += reached - seen
        seen |= reached
    return seen


def _packages(path: str, sources: Sources) -> Iterator[str]:
    for folder in PurePosixPath(path).parents:
        package = (folder / "__init__.py").as_posix()
        if package in sources.project.files:
            yield package


def _sharable(sources: Sources) -> list[str]:
    functions = {file.path for file in find_function_files(sources.project)}
    ignored = {"index.py", "pyproject.toml"}
    return [
        path
        for path in sources.project.files
        if path not in functions and PurePosixPath(path).name not in ignored
    ]


def _is_opaque(tree: ast.Module) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in _OPAQUE:
            return True
        if isinstance(node, ast.Import) and any(
            alias.name.split(".")[0] in _OPAQUE for alias in node.names
        ):
            return True
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in _OPAQUE:
            return True
    return False


def _imports(path: str, tree: ast.Module, sources: Sources) -> Iterator[str]:
    """Yield every file of the project that a module imports, packages on the way included."""
    package = PurePosixPath(path).parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = tuple(node.module.split(".")) if node.module else ()
            if node.level > len(package) + 1:
                continue
            base = package[: len(package) + 1 - node.level] if node.level else ()
            for alias in node.names:
                yield from _files((*base, *module, alias.name), sources)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(tuple(alias.name.split(".")), sources)


def _files(parts: Sequence[str], sources: Sources) -> Iterator[str]:
    for length in range(1, len(parts) + 1):
        found = sources.module_path(parts[:length])
        if found is not None:
            yield found
