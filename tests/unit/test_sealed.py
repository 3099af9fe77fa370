"""The list of what is sealed is whole: what is not on it would be lost with its key."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import LargeBinary

from carrick.store.sealed import SEALED
from carrick.store.tables import bundles, metadata
from carrick.vault import contexts

PACKAGE = Path(__file__).parents[2] / "src" / "carrick"
ROOMS = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent.name != "vault"]
SEALING = {"seal", "seal_json"}


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Call, ast.AST]]:
    """Yield what seals with a vault, and the innermost function around it."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in SEALING
                and any(word.arg == "context" for word in node.keywords)
            ):
                yield node, function


def _contexts_in(tree: ast.AST) -> set[str]:
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "contexts"
    }


def test_every_binary_column_is_on_the_list() -> None:
    """Bundles are code and named by their hash; every other binary column holds ciphertext."""
    binary = {
        column
        for table in metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, LargeBinary) and column is not bundles.c.content
    }
    assert {place.column for place in SEALED if place.inside is None} == binary


def test_every_kind_of_secret_is_on_the_list() -> None:
    """Each function of `contexts` makes the context of a column."""
    kinds = {name for name, _ in inspect.getmembers(contexts, inspect.isfunction)}
    listed = _contexts_in(ast.parse((PACKAGE / "store" / "sealed.py").read_text()))
    assert listed == kinds
    assert len(kinds) >= 9


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_is_sealed_is_of_a_kind_on_the_list(path: Path) -> None:
    """A context written where something is sealed would be known to nobody else."""
    odd = [
        f"{path.name}:{call.lineno}"
        for call, function in _calls(ast.parse(path.read_text()))
        if not _contexts_in(function) and not _is_handed_in(call, function)
    ]
    assert odd == []


def _is_handed_in(call: ast.Call, function: ast.AST) -> bool:
    """Whether the context comes from the caller, or from a property that makes it."""
    (given,) = (word.value for word in call.keywords if word.arg == "context")
    if isinstance(given, ast.Call):  # a method of the same class, such as `_checkpoint_context`
        return isinstance(given.func, ast.Attribute) and given.func.attr.endswith("_context")
    parameters = {one.arg for one in ast.walk(function) if isinstance(one, ast.arg)}
    return isinstance(given, ast.Name) and given.id in parameters
