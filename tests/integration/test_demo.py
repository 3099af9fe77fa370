"""`carrick demo` is the shortest proof that everything works: it must pass and clean up."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from carrick.demo.run import example_project
from carrick.demo.server import ServerFailed, serving

_PROGRAM = """
import sys
from pathlib import Path
from carrick.demo import run
sys.exit(run(as_json=True, project=Path(sys.argv[1])))
"""


async def run_demo(project: Path, directory: Path) -> tuple[int | None, dict[str, Any]]:
    """Run the demo in a process of its own; return its exit code and what it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM, str(project)),
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(directory)},
    )
    output, _ = await asyncio.wait_for(process.communicate(), timeout=120)
    return process.returncode, json.loads(output)


def failed_checks(facts: dict[str, Any]) -> list[str]:
    """Return the checks that did not hold, each with its step."""
    return [
        f"{step['title']}: {check['name']}"
        for step in facts["steps"]
        for check in step["checks"]
        if not check["ok"]
    ]


async def test_the_demo_passes_every_check_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """All steps are as expected, every write was made once, and its directory is gone."""
    code, facts = await run_demo(example_project(), tmp_path)
    assert (facts["problem"], failed_checks(facts)) == (None, [])
    assert (code, facts["ok"]) == (0, True)
    calls = [call for step in facts["steps"] for call in step["provider_calls"]]
    made = [call for call in calls if call["path"].startswith("/services/apexrest/")]
    assert [call["method"] for call in made] == ["POST", "DELETE"]
    assert all(call["idempotency_key"] for call in made)
    assert list(tmp_path.iterdir()) == []


async def test_the_demo_fails_when_another_organisation_is_let_in(tmp_path: Path) -> None:
    """Functions that do not hold the connection to its account make the demo exit with 1."""
    project = tmp_path / "careless"
    shutil.copytree(example_project(), project)
    validate = project / "salesforce" / "on_events" / "validate_connection.py"
    careless = [
        line for line in validate.read_text().splitlines() if "require_same_account" not in line
    ]
    validate.write_text("\n".join(careless))
    directory = tmp_path / "temporary"
    directory.mkdir()
    code, facts = await run_demo(project, directory)
    assert (code, facts["ok"]) == (1, False)
    title = "Reconnect as org-b: refused"
    assert facts["problem"] == f"stopped at: {title}"
    assert f"{title}: the answer is connection_validation_failed" in failed_checks(facts)
    assert list(directory.iterdir()) == []


async def test_a_server_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    """The end of the server's own output is in the message, not only that it ended."""
    with pytest.raises(ServerFailed, match="CARRICK_PORT"):
        async with serving(tmp_path, "key", {"CARRICK_PORT": "no-port"}):
            pass
