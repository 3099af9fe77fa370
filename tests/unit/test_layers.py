"""The house's rules about names and sizes that no linter knows. Imports: see `.importlinter`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "carrick"
DRAWERS = {"utils", "util", "helpers", "helper", "common", "shared", "manager", "managers", "misc"}
#: Words of the field that have another name here, and where that is.
OTHER_WORDS = {
    "provider_config_key": "integration_id",
    "unique_key": "integration_id",
    "auth_type": "auth_mode",
    "auth_session": "connect_session",
    "link_token": "connect_session",
    "account_link": "connection",
    "custom_fields": "metadata",
    "passthrough": "proxy",
    "redirect_handler": "callback",
    "workspace": "account",
    "on_event_script": "event function",
}
#: Rooms that speak the wire's language, or play somebody who does.
WIRE_ROOMS = {"api", "client", "testing", "demo"}
#: Sizes that nothing exceeds; most things are half as long.
FUNCTION_LINES, FILE_LINES = 70, 600

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "versions" not in path.parts)


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _identifiers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg | ast.keyword) and node.arg:
            yield node.arg
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_module_is_a_drawer() -> None:
    """A module is named for what it does, never for being of use to others."""
    parts = {(path, part.removesuffix(".py")) for path in MODULES for part in path.parts}

    assert [_named(path) for path, part in parts if part in DRAWERS] == []


def test_no_class_is_a_drawer() -> None:
    """A class is named for what it is."""
    drawers = re.compile(r"(Manager|Helper|Utils?|Misc)$")
    found = [
        f"{_named(path)}: {node.name}"
        for path in MODULES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ClassDef) and drawers.search(node.name)
    ]

    assert found == []


def test_one_word_for_one_thing() -> None:
    """Inside, things have the vocabulary's names; wire names stay where the wire is spoken."""
    found = [
        f"{_named(path)}: {name} (say {OTHER_WORDS[name]})"
        for path in MODULES
        if _room(path) not in WIRE_ROOMS
        for name in set(_identifiers(_tree(path)))
        if name in OTHER_WORDS
    ]

    assert found == []


def test_only_settings_read_the_environment() -> None:
    """What can be set is found in one place."""
    found = [
        f"{_named(path)}:{node.lineno}"
        for path in MODULES
        if _room(path) != "settings"
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Attribute)
        and node.attr in {"environ", "environb", "getenv"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    ]

    assert found == []


def test_no_file_is_too_long() -> None:
    """A file that no longer fits into a head is split."""
    sizes = {_named(path): len(path.read_text().splitlines()) for path in MODULES}

    assert {name: lines for name, lines in sizes.items() if lines > FILE_LINES} == {}


def test_no_function_is_too_long() -> None:
    """A function that no longer fits onto a screen is split."""
    found = {
        f"{_named(path)}:{node.name}": lines
        for path in MODULES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES
    }

    assert found == {}


@pytest.mark.parametrize("folder", ["src", "tests", "examples", "bench", "tools"])
def test_nothing_is_left_for_later(folder: str) -> None:
    """What is not done is an issue, not a comment."""
    marks = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r"\b")
    found = [
        _named(path) for path in (ROOT / folder).rglob("*.py") if marks.search(path.read_text())
    ]

    assert found == []


def test_every_test_states_its_rule() -> None:
    """The first line of a test says in a sentence what must hold."""
    found = [
        f"{_named(path)}: {node.name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not (ast.get_docstring(node) or "").rstrip().endswith(".")
    ]

    assert found == []
