"""`carrick demo` is the shortest proof that everything works: it must pass and clean up."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

_PROGRAM = "import sys; from carrick.demo import run; sys.exit(run(as_json=True))"


async def test_the_demo_passes_every_check_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """All steps are as expected, every write was made once, and its directory is gone."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM),
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)},
    )
    output, _ = await asyncio.wait_for(process.communicate(), timeout=120)
    facts = json.loads(output)
    failed = [check for step in facts["steps"] for check in step["checks"] if not check["ok"]]
    assert (facts["ok"], facts["problem"], failed) == (True, None, [])
    assert process.returncode == 0
    calls = [call for step in facts["steps"] for call in step["provider_calls"]]
    made = [call for call in calls if call["path"].startswith("/services/apexrest/")]
    assert [call["method"] for call in made] == ["POST", "DELETE"]
    assert all(call["idempotency_key"] for call in made)
    assert list(tmp_path.iterdir()) == []
