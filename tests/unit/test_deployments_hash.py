"""The content hash changes with what a function's behaviour depends on, and with nothing else."""

from __future__ import annotations

from carrick.deployments import Sources, select
from carrick.deployments.project import make_project
from carrick.deployments.reach import content_hash

FUNCTION = """from carrick import EventContext, create_on_event
{imports}
@create_on_event(event="validate-connection", description="Check")
async def check(ctx: EventContext) -> None:
    {line}
"""


def function(imports: str = "", line: str = "pass") -> str:
    return FUNCTION.format(imports=imports, line=line)


BASE = {
    "a/on_events/f.py": function("from ..lib import x\nfrom .g import check as other"),
    "a/on_events/g.py": function(),
    "a/on_events/h.py": function(),
    "a/lib.py": "from ..deep.inner import y as x\n",
    "deep/inner.py": "y = 1\n",
    "unused.py": "z = 1\n",
}


def hashes(changes: dict[str, str] | None = None) -> dict[str, str]:
    files = {**BASE, **(changes or {})}
    project = make_project({path: text.encode() for path, text in files.items()})
    sources = Sources(project)
    return {file.name: content_hash(file, sources) for file in select(project, sources).files}


def changed(changes: dict[str, str]) -> set[str]:
    before, after = hashes(), hashes(changes)
    return {name for name in before if before[name] != after.get(name)}


def test_the_same_project_has_the_same_hashes() -> None:
    """Nothing but content counts."""
    assert changed({}) == set()


def test_a_function_changes_with_its_own_file() -> None:
    """And with it those that import it."""
    assert changed({"a/on_events/h.py": function(line="print(1)")}) == {"h"}
    assert changed({"a/on_events/g.py": function(line="print(1)")}) == {"f", "g"}


def test_a_function_changes_with_the_modules_it_reaches() -> None:
    """However many imports lie between."""
    assert changed({"deep/inner.py": "y = 2\n"}) == {"f"}
    assert changed({"deep/__init__.py": "print('hello')"}) == {"f"}


def test_a_package_that_a_function_lies_in_counts() -> None:
    """An `__init__.py` above a function runs before it."""
    assert changed({"a/__init__.py": "SETTING = 1"}) == {"f", "g", "h"}


def test_a_module_that_nobody_imports_does_not_count() -> None:
    """A change elsewhere in the project leaves a function unchanged."""
    assert changed({"unused.py": "z = 2\n", "b/on_events/n.py": function()}) == set()


def test_the_order_does_not_count() -> None:
    """An index.py selects and orders; it is no part of a function."""
    index = "from .a.on_events import h, g, f\n"

    assert changed({"index.py": index}) == set()


def test_dependencies_count_for_every_function() -> None:
    """Another version of a package is another behaviour."""
    text = '[project]\ndependencies = ["attrs"]'

    assert changed({"pyproject.toml": text}) == {"f", "g", "h"}
    assert changed({"pyproject.toml": '[project]\nname = "x"'}) == set()


def test_a_module_that_may_read_anything_counts_every_shared_file() -> None:
    """Where reading cannot tell, a function too many is called changed."""
    opaque = function("import importlib", "importlib.import_module('x')")
    files = {"a/on_events/h.py": opaque}
    before = hashes(files)

    for change in ({"unused.py": "z = 2\n"}, {"a/template.json": "{}"}):
        after = hashes({**files, **change})
        assert {name for name in before if before[name] != after[name]} == {"h"}


def test_a_shared_module_that_does_not_parse_counts_every_shared_file() -> None:
    """A file that cannot be read may reach anything."""
    files = {"a/lib.py": "def ("}

    assert hashes(files)["f"] != hashes({**files, "unused.py": "z = 2"})["f"]
