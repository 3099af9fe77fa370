"""Projects are imported in a process of their own; whatever they do there is a problem at most."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from carrick.deployments import Inspection, Scope, inspect_project
from carrick.model.event import Event

TIDY = Path(__file__).parents[1] / "projects" / "tidy"

GOOD = """from carrick import EventContext, create_on_event
{top}
@create_on_event(event="validate-connection", description="Check")
async def check(ctx: EventContext) -> None:
    await ctx.get("/me")
"""


def project(root: Path, tops: dict[str, str]) -> Path:
    for path, top in tops.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(GOOD.format(top=top) if "/on_events/" in path else top)
    return root


async def inspected(root: Path, top: str, **options: float) -> Inspection:
    return await inspect_project(project(root, {"a/on_events/f.py": top}), **options)


async def test_a_tidy_project_is_understood_whole() -> None:
    """Names, order and declarations come out as they were written."""
    inspection = await inspect_project(TIDY)

    assert inspection.problems == ()
    found = {function.label: function for function in inspection.functions}
    assert list(found) == [
        "google-drive/watch-changes",
        "salesforce/post-connection-setup",
        "salesforce/pre-connection-cleanup",
        "salesforce/validate-connection",
        "stripe/check-account",
    ]
    declaration = found["salesforce/validate-connection"].declaration
    assert declaration.event is Event.VALIDATE_CONNECTION
    assert declaration.version == "1.2.0"
    assert declaration.metadata_schema is not None
    assert "organization_id" in declaration.metadata_schema["properties"]
    assert found["salesforce/validate-connection"].position == 2
    assert not list(TIDY.rglob("__pycache__")), "nothing is written into the project"


async def test_an_import_that_never_ends_is_a_problem(tmp_path: Path) -> None:
    """It is stopped at the limit and the file that hangs is named."""
    tops = {"a/on_events/f.py": "", "a/on_events/g.py": "import time\ntime.sleep(3600)"}

    inspection = await inspect_project(project(tmp_path, tops), timeout_s=3)

    assert [problem.file for problem in inspection.problems] == ["a/on_events/g.py"]
    assert "did not end within 3 s" in inspection.problems[0].message


@pytest.mark.parametrize("top", ["import os\nos._exit(3)", "import os\nos.kill(os.getpid(), 9)"])
async def test_an_import_that_ends_the_process_is_a_problem(tmp_path: Path, top: str) -> None:
    """Ending the process hides nothing: the file is named."""
    inspection = await inspected(tmp_path, top)

    assert [problem.file for problem in inspection.problems] == ["a/on_events/f.py"]
    assert inspection.functions == ()


async def test_an_import_that_exits_is_a_problem(tmp_path: Path) -> None:
    """`sys.exit` at the top of a file is refused like any other error."""
    inspection = await inspected(tmp_path, "import sys\nprint('bye')\nsys.exit(0)")

    assert [problem.file for problem in inspection.problems] == ["a/on_events/f.py"]


async def test_an_import_that_eats_memory_is_a_problem(tmp_path: Path) -> None:
    """The memory limit holds at import, too."""
    if sys.platform != "linux":
        pytest.skip("only Linux bounds another process's memory")

    inspection = await inspected(tmp_path, "data = bytearray(4 * 1024**3)")

    assert [problem.file for problem in inspection.problems] == ["a/on_events/f.py"]


async def test_a_process_left_behind_does_not_hold_the_inspection_up(tmp_path: Path) -> None:
    """What an import starts ends with it."""
    top = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'input()'])"

    inspection = await inspected(tmp_path, top, timeout_s=20)

    assert inspection.problems == ()


async def test_an_import_error_is_named_where_it_happens(tmp_path: Path) -> None:
    """The line is the author's, also in a shared module."""
    tops = {"a/on_events/f.py": "from ..lib import x", "a/lib.py": "x = 1\nimport no_such_thing\n"}

    inspection = await inspect_project(project(tmp_path, tops))

    problem = inspection.problems[0]
    assert (problem.file, problem.line) == ("a/lib.py", 2)
    assert "no_such_thing" in problem.message


async def test_a_declaration_that_does_not_fit_is_a_problem(tmp_path: Path) -> None:
    """What only running can tell is told with the author's file, too."""
    path = project(tmp_path, {"a/on_events/f.py": ""}) / "a/on_events/f.py"
    path.write_text(path.read_text().replace('"Check"', '"Check", timeout=-1'))

    inspection = await inspect_project(tmp_path)

    assert [problem.file for problem in inspection.problems] == ["a/on_events/f.py"]
    assert "timeout" in inspection.problems[0].message


async def test_the_environment_of_an_import_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code that is inspected sees none of the server's secrets."""
    monkeypatch.setenv("CARRICK_ENCRYPTION_KEY", "secret")
    top = "import os\nif 'CARRICK_ENCRYPTION_KEY' in os.environ: raise ValueError('seen')"

    assert (await inspected(tmp_path, top)).problems == ()


async def test_a_scope_leaves_other_functions_alone(tmp_path: Path) -> None:
    """Half-written work elsewhere is neither imported nor complained about."""
    tops = {"a/on_events/f.py": "", "a/on_events/g.py": "raise ValueError", "b/on_events/h.py": ")"}
    root = project(tmp_path, tops)

    inspection = await inspect_project(root, scope=Scope(functions=("a/f",)))

    assert inspection.problems == ()
    assert [function.label for function in inspection.functions] == ["a/f"]


async def test_every_file_is_inspected_though_one_is_broken(tmp_path: Path) -> None:
    """A syntax error in one file does not hide an import error in another."""
    tops = {"a/on_events/f.py": "def (", "a/on_events/g.py": "raise ValueError('no')"}

    inspection = await inspect_project(project(tmp_path, tops))

    assert [problem.file for problem in inspection.problems] == [
        "a/on_events/f.py",
        "a/on_events/g.py",
    ]
