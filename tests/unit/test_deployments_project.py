"""What belongs to a project, which of its files are functions, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from carrick.deployments import Sources, read_project, select
from carrick.deployments.project import MAX_FILES, make_project
from carrick.errors import ProjectInvalid

TIDY = Path(__file__).parents[1] / "projects" / "tidy"

FUNCTION = b"""from carrick import EventContext, create_on_event
@create_on_event(event="validate-connection", description="Check")
async def check(ctx: EventContext) -> None:
    await ctx.get("/me")
"""


def selected(files: dict[str, bytes]) -> tuple[list[str], list[str]]:
    """Return the labels of what is selected and the messages of what is wrong."""
    project = make_project(files)
    selection = select(project, Sources(project))
    return [file.label for file in selection.files], [p.message for p in selection.problems]


def write(root: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def test_a_project_is_its_code_its_data_and_its_pyproject() -> None:
    """Tests, settings and what lies in hidden folders are no part of what is deployed."""
    project = read_project(TIDY)

    assert "salesforce/on_events/validate_connection.py" in project.files
    assert "lib/names.py" in project.files
    assert "pyproject.toml" in project.files
    assert not {"carrick.toml", "tests/fixture.py"} & set(project.files)
    assert project.problems == ()


def test_hidden_folders_and_virtual_environments_are_left_behind(tmp_path: Path) -> None:
    """What tools keep beside the code is never read."""
    write(
        tmp_path,
        {
            "a/on_events/f.py": FUNCTION,
            ".venv/lib/x.py": b"",
            "venv/x.py": b"",
            ".env": b"SECRET=1",
            "a/.secret.json": b"{}",
            "a/__pycache__/f.py": b"",
            "a/node_modules/x/y.json": b"{}",
            "notes.md": b"",
            "a/template.json": b"{}",
            "a/archive.bin": b"",
        },
    )

    assert set(read_project(tmp_path).files) == {"a/on_events/f.py", "a/template.json"}


def test_there_must_be_a_folder(tmp_path: Path) -> None:
    """A folder that is not there is said to be not there."""
    with pytest.raises(ProjectInvalid, match="no project folder"):
        read_project(tmp_path / "nowhere")


@pytest.mark.parametrize("target", ["outside.py", "folder"])
def test_symbolic_links_are_a_problem(tmp_path: Path, target: str) -> None:
    """A link could point anywhere, so it is refused and named."""
    write(tmp_path, {"a/on_events/f.py": FUNCTION, "elsewhere/folder/x.py": b""})
    link = tmp_path / "a" / target
    link.symlink_to(tmp_path / "elsewhere" / "folder")

    project = read_project(tmp_path)

    assert [(p.file, "Symbolic" in p.message) for p in project.problems] == [(f"a/{target}", True)]


def test_too_many_files_are_a_problem(tmp_path: Path) -> None:
    """Deploying from the wrong folder is noticed before anything is sent."""
    write(tmp_path, {f"a/{number}.json": b"" for number in range(MAX_FILES + 1)})

    assert "larger than" in read_project(tmp_path).problems[0].message


def test_dependencies_are_those_of_pyproject_without_carrick() -> None:
    """The server has carrick itself, whatever way its name is spelled."""
    text = b'[project]\ndependencies = ["httpx>=0.28", "Carrick>=0.1", "attrs[tests] ; x"]'

    assert make_project({"pyproject.toml": text}).dependencies == (
        "attrs[tests] ; x",
        "httpx>=0.28",
    )


@pytest.mark.parametrize(
    "dependency",
    ["--index-url=http://x", "-e .", "x @ https://host/x.whl", "./local", "x\\n--pre"],
)
def test_a_dependency_is_a_package_of_the_index(dependency: str) -> None:
    """Options, addresses and paths never reach the installer."""
    project = make_project(
        {"pyproject.toml": f'[project]\ndependencies = ["{dependency}"]'.encode()}
    )

    assert project.dependencies == ()
    assert project.problems[0].file == "pyproject.toml"


@pytest.mark.parametrize("text", [b"[project", b"\xff\xfe", b'[project]\ndependencies = "x"'])
def test_a_broken_pyproject_is_a_problem(text: bytes) -> None:
    """A pyproject.toml that cannot be read is not passed over."""
    assert make_project({"pyproject.toml": text}).problems[0].file == "pyproject.toml"


def test_without_an_index_every_function_is_selected_in_name_order() -> None:
    """Folders may have hyphens; names that begin with _ do not count."""
    labels, problems = selected(dict(read_project(TIDY).files))

    assert labels == [
        "google-drive/watch-changes",
        "salesforce/post-connection-setup",
        "salesforce/pre-connection-cleanup",
        "salesforce/validate-connection",
        "stripe/check-account",
    ]
    assert problems == []


@pytest.mark.parametrize(
    "index",
    [
        b"from .a.on_events import second, first",
        b"from .a.on_events.second import check\nfrom .a.on_events.first import check as c",
        b"import a.on_events.second\nimport a.on_events.first",
        b"from a.on_events import second\nfrom a.on_events import first",
    ],
)
def test_an_index_at_the_root_selects_and_orders(index: bytes) -> None:
    """What the index imports is deployed, in the order of its imports, and nothing else."""
    files = {f"a/on_events/{name}.py": FUNCTION for name in ("first", "second", "third")}

    labels, problems = selected({**files, "b/on_events/other.py": FUNCTION, "index.py": index})

    assert labels == ["a/second", "a/first"]
    assert problems == []


def test_what_an_index_leaves_out_is_said() -> None:
    """A function that is not selected is listed, so that nobody wonders."""
    files = {"a/on_events/f.py": FUNCTION, "a/on_events/g.py": FUNCTION}
    project = make_project({**files, "index.py": b"from .a.on_events import g"})

    assert select(project, Sources(project)).left_out == ["a/on_events/f.py"]


def test_an_index_of_an_integration_orders_that_one_only() -> None:
    """Other integrations keep the name order; a hyphen in a folder is no obstacle."""
    labels, problems = selected(
        {
            "my-crm/on-events/a.py": FUNCTION,
            "my-crm/on-events/b.py": FUNCTION,
            "my-crm/index.py": b"from .on_events import b, a",
            "other/on_events/z.py": FUNCTION,
        }
    )

    assert labels == ["my-crm/b", "my-crm/a", "other/z"]
    assert problems == []


def test_an_index_can_take_an_integration_as_a_whole() -> None:
    """Importing the folder selects what its own index selects."""
    labels, problems = selected(
        {
            "my-crm/on_events/a.py": FUNCTION,
            "my-crm/on_events/b.py": FUNCTION,
            "my-crm/index.py": b"from .on_events import b",
            "other/on_events/z.py": FUNCTION,
            "index.py": b"from . import other\nfrom . import my_crm",
        }
    )

    assert labels == ["other/z", "my-crm/b"]
    assert problems == []


@pytest.mark.parametrize(
    ("index", "line"),
    [
        (b"from .a.on_events import missing", 1),
        (b"import json\nfrom a.on_events.missing import check", 2),
        (b"from .nowhere import thing", 1),
        (b"from ..a.on_events import f", 1),
        (b"from .a.on_events.f import not_there", 1),
    ],
)
def test_an_index_that_imports_something_missing_is_a_problem(index: bytes, line: int) -> None:
    """A misspelt import never drops a function silently."""
    project = make_project({"a/on_events/f.py": FUNCTION, "index.py": index})

    problem = select(project, Sources(project)).problems[0]

    assert (problem.file, problem.line) == ("index.py", line)
    assert "not in the project" in problem.message


def test_an_index_may_import_other_things() -> None:
    """Packages and the project's own modules are no functions, and no problem."""
    labels, problems = selected(
        {
            "a/on_events/f.py": FUNCTION,
            "a/lib.py": b"X = 1",
            "index.py": b"import json\nfrom typing import Any\nfrom .a.lib import X\n"
            b"from .a.on_events import f\n__all__ = ['f']",
        }
    )

    assert labels == ["a/f"]
    assert problems == []


def test_an_index_that_selects_nothing_is_a_problem() -> None:
    """An empty index would remove everything that is deployed."""
    _, problems = selected({"a/on_events/f.py": FUNCTION, "index.py": b'"""Nothing."""'})

    assert "imports no function" in problems[0]
