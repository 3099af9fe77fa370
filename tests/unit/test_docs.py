"""The pages name what there is: a setting, call or declaration nobody wrote down does not exist."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import carrick
from carrick.providers import keys
from carrick.sdk import EventContext, create_on_event
from carrick.settings import Settings

DOCS = Path(__file__).parent.parent.parent / "docs"
#: Settings that are one variable for each environment.
PER_ENVIRONMENT = {"secret_keys": "SECRET_KEY_<", "webhook_urls": "WEBHOOK_URL_<"}


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented(name: str) -> None:
    """A setting's variable stands in the table of the operating page."""
    shown = PER_ENVIRONMENT.get(name, f"{name.upper()}`")
    assert f"`CARRICK_{shown}" in (DOCS / "operating.md").read_text()


def test_every_call_of_the_context_is_documented() -> None:
    """What an author can call stands on the functions page."""
    page = (DOCS / "functions.md").read_text()
    public = {name for name in dir(EventContext) if not name.startswith("_")}
    assert {name for name in public if f"`{name}" not in page} == set()


def test_every_part_of_the_declaration_is_documented() -> None:
    """What an author can declare stands on the functions page."""
    page = (DOCS / "functions.md").read_text()
    declared = inspect.signature(create_on_event).parameters
    assert {name for name in declared if name not in page} == set()


def test_every_method_of_the_client_is_documented() -> None:
    """What a product can ask of a server stands on the client's page."""
    page = (DOCS / "client.md").read_text()
    public = {name for name in dir(carrick.Client) if name[0] != "_"} - {"close"}
    assert {name for name in public if f"`{name}`" not in page} == set()


@pytest.mark.parametrize(
    "table", ["ENTRY", "PROXY", "VERIFICATION", "FIELD", "FACT", "CHOICE", "FACT_VALUE"]
)
def test_every_key_of_a_provider_is_documented(table: str) -> None:
    """What a definition can hold stands on the providers page."""
    page = (DOCS / "providers.md").read_text()
    known = getattr(keys, table)
    assert {name for name in known if not re.search(rf"[`{{ ]{name}\b", page)} == set()


def test_every_promise_is_shown_by_a_test_that_exists() -> None:
    """The reliability page names tests; one that was renamed or removed shows nothing."""
    page = (DOCS / "reliability.md").read_text()
    named = re.findall(r"`(tests/[^`]+\.py[^`]*)`", page)
    missing = []
    for name in named:
        path, *inside = name.split("::")
        source = DOCS.parent / path
        text = source.read_text() if source.is_file() else ""
        wanted = [f"class {part}" if part.startswith("Test") else f"def {part}(" for part in inside]
        if not text or not all(
            re.search(rf"^\s*(async )?{re.escape(w)}", text, re.M) for w in wanted
        ):
            missing.append(name)
    assert len(named) > 100
    assert missing == []


def test_every_weakness_has_its_line() -> None:
    """The table of others' weaknesses is numbered through, and each line ends with a test."""
    _, _, rest = (DOCS / "reliability.md").read_text().partition("## Known weaknesses of others")
    lines = re.findall(r"^\| (\d+) \|.*$", rest.partition("\n## ")[0], re.M)
    assert [int(number) for number in lines] == list(range(1, len(lines) + 1))
    assert len(lines) == 45
