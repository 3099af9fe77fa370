"""What the notifications page tells an app to do proves who sent a notification."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from carrick.api.schemas.environments import SettingsChanges
from carrick.notify import signature_headers

PAGE = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text()
KEY = "11111111-2222-4333-8444-555555555555"
BODY = '{"connectionId":"c1","tags":{"city":"Zürich 🏔"}}'
HEADERS = signature_headers(KEY, BODY.encode(), message_id="m", timestamp_s=1)


def block(language: str) -> str:
    """Return the page's code in a language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    assert found is not None
    return found[1]


def test_the_python_example_tells_ours_from_others() -> None:
    """It accepts what was signed and nothing else."""
    names: dict[str, Any] = {}
    exec(block("python"), names)
    check = names["is_from_carrick"]
    assert check(BODY.encode(), HEADERS, KEY)
    assert not check(BODY.replace("ü", "u").encode(), HEADERS, KEY)
    assert not check(BODY.encode(), {}, KEY)


def test_the_javascript_example_tells_ours_from_others(tmp_path: Path) -> None:
    """It does the same."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    headers = {name.lower(): value for name, value in HEADERS.items()}
    script = tmp_path / "check.mjs"
    script.write_text(
        f"{block('js')}\n"
        f"const [body, headers, key] = {json.dumps([BODY, headers, KEY])};\n"
        "console.log(isFromCarrick(body, headers, key), isFromCarrick(body + ' ', headers, key),"
        " isFromCarrick(body, {}, key));"
    )
    said = subprocess.run([node, script], capture_output=True, text=True, check=True)
    assert said.stdout == "true false false\n"


def test_every_gate_is_on_the_page() -> None:
    """A setting that turns notifications on or off stands in the table."""
    gates = {name for name in SettingsChanges.model_fields if name.startswith("on_")}
    assert {gate for gate in gates if f"`{gate}=" not in PAGE} == set()


def test_the_table_has_every_header() -> None:
    """What is sent is told."""
    assert {name for name in HEADERS if f"`{name}`" not in PAGE} == set()
