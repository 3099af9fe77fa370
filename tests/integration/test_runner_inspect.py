"""Inspecting a project in a process of its own: what its files hold, and what is wrong."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.integration.runner_project import DECORATOR, HEAD, write_file, write_function


async def inspect(root: Path, *files: str, dependencies: str = "") -> list[dict[str, Any]]:
    """Return what the inspection says of these files, without its marks of progress."""
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-B", "-m", "carrick.runner.inspect", str(writing), str(root), dependencies),
        *files,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=(writing,),
        env={},
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as report:
        lines = await asyncio.to_thread(report.readlines)
    assert await process.wait() == 0
    entries = [json.loads(line) for line in lines]
    assert entries[-1] == {"done": True}
    assert [entry["loading"] for entry in entries if "loading" in entry] == list(files)
    return [entry for entry in entries[:-1] if "loading" not in entry]


async def test_functions_are_told_with_their_declarations(tmp_path: Path) -> None:
    """Each file's declaration comes as JSON, in the order of the files."""
    write_function(tmp_path, "my-crm/on-events/set_up.py", "pass")
    write_function(tmp_path, "acme/on_events/first.py", "pass", head="print('noise')")
    found = await inspect(tmp_path, "my-crm/on-events/set_up.py", "acme/on_events/first.py")
    assert [entry["file"] for entry in found] == [
        "my-crm/on-events/set_up.py",
        "acme/on_events/first.py",
    ]
    declaration = found[0]["declaration"]
    assert declaration["event"] == "post-connection-creation"
    assert declaration["description"] == "Test"
    assert found[0]["line"] > 0


async def test_a_metadata_model_is_told_as_its_schema(tmp_path: Path) -> None:
    """The schema of a declared model is part of the declaration."""
    write_file(
        tmp_path,
        "acme/on_events/f.py",
        "from pydantic import BaseModel\nfrom carrick import EventContext, create_on_event\n"
        "class M(BaseModel):\n    team: str\n"
        "@create_on_event(event='validate-connection', description='x', metadata=M)\n"
        "async def f(ctx: EventContext[M]) -> None: ...\n",
    )
    (found,) = await inspect(tmp_path, "acme/on_events/f.py")
    assert found["declaration"]["metadata_schema"]["required"] == ["team"]


@pytest.mark.parametrize(
    ("source", "line", "message", "hint"),
    [
        ("x = 1\n", 1, "There is no event function in this file.", "Decorate an async"),
        ("def broken(:\n", 1, "This is not valid Python", ""),
        ("\nimport not_installed.deep\n", 2, "No module named", "Add not_installed to the dep"),
        ("\n\nimport lib.words\n", 3, "No module named 'lib'", "relatively"),
        ("from ....lib import words\n", 1, "ImportError", ""),
        ("from ..lib import words\n", 1, "No module named", "Check the dots"),
        ("raise SystemExit(1)\n", 1, "SystemExit: 1", "must not end the process"),
        ("1 / 0\n", 1, "ZeroDivisionError: division by zero", ""),
        (
            HEAD + DECORATOR.replace("post-connection-creation", "created"),
            None,
            "This is not valid Python",
            "",
        ),
        (
            "from carrick import create_on_event\n\ncreate_on_event(event='x', description='y')\n",
            3,
            "There is no event 'x'.",
            "",
        ),
        (
            f"{HEAD}\n{DECORATOR}\nasync def one(ctx): ...\n{DECORATOR}\nasync def two(ctx): ...\n",
            8,
            "There are 2 event functions in this file.",
            "One function per file",
        ),
    ],
)
async def test_what_is_wrong_is_told_with_file_and_line(
    tmp_path: Path, source: str, line: int | None, message: str, hint: str
) -> None:
    """Every fault names the file, the line and what to do; the next file is still inspected."""
    write_file(tmp_path, "acme/on_events/f.py", source)
    write_file(tmp_path, "lib/words.py", "WORD = 1\n")
    write_function(tmp_path, "acme/on_events/good.py", "pass")
    wrong, good = await inspect(tmp_path, "acme/on_events/f.py", "acme/on_events/good.py")
    assert wrong["file"] == "acme/on_events/f.py"
    assert message in wrong["message"]
    assert hint in wrong["hint"]
    if line is not None:
        assert wrong["line"] == line
    assert good["declaration"]["description"] == "Test"


async def test_a_broken_module_is_one_problem(tmp_path: Path) -> None:
    """A fault in a module that several files import is told at its own place, once."""
    write_file(tmp_path, "lib/broken.py", "\n\nraise ValueError('bad')\n")
    for name in ("one", "two"):
        write_function(
            tmp_path, f"acme/on_events/{name}.py", "pass", head="from ...lib import broken"
        )
    (found,) = await inspect(tmp_path, "acme/on_events/one.py", "acme/on_events/two.py")
    assert (found["file"], found["line"]) == ("lib/broken.py", 3)
    assert found["message"] == "ValueError: bad"


async def test_an_imported_function_is_not_the_files_own(tmp_path: Path) -> None:
    """A function belongs to the file that defines it, not to those that import it."""
    write_function(tmp_path, "acme/on_events/one.py", "pass")
    write_file(tmp_path, "acme/on_events/two.py", "from .one import f\n")
    one, two = await inspect(tmp_path, "acme/on_events/one.py", "acme/on_events/two.py")
    assert "declaration" in one
    assert two["message"] == "There is no event function in this file."


async def test_two_files_of_one_name_and_a_file_elsewhere_are_problems(tmp_path: Path) -> None:
    """`set-up.py` and `set_up.py` are the same function; functions lie in their folder alone."""
    for place in ("acme/on_events/set_up.py", "acme/on-events/set-up.py", "acme/other.py"):
        write_function(tmp_path, place, "pass")
    found = await inspect(
        tmp_path, "acme/on_events/set_up.py", "acme/on-events/set-up.py", "acme/other.py"
    )
    assert "already holds a function named set-up" in found[1]["message"]
    assert "do not lie here" in found[2]["message"]


async def test_declared_packages_are_importable(tmp_path: Path) -> None:
    """The folder of declared packages is on the path, behind what is installed."""
    write_file(tmp_path, "dependencies/declared_package.py", "VALUE = 1\n")
    write_function(tmp_path, "project/acme/on_events/f.py", "pass", head="import declared_package")
    (found,) = await inspect(
        tmp_path / "project",
        "acme/on_events/f.py",
        dependencies=str(tmp_path / "dependencies"),
    )
    assert "declaration" in found
