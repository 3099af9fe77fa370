"""The API as its OpenAPI document describes it, attacked by somebody who read nothing else."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.integration.server import served

#: What it is told to look for; that it finds its own way in is not what is tested here.
_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
#: Routes that would take from it what it asks with, and one where 501 is the contract's answer.
_LEFT_OUT = r"rotate|api-keys|^/environments/|^/connection$"


async def test_what_a_stranger_makes_up_is_answered_as_documented(tmp_path: Path) -> None:
    """No request, however odd, is a server error, and every answer is one of those described."""
    async with served(tmp_path) as server:
        await server.connect(server.provider.add_account("ann"), "ann")
        attack = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {server.secret_key}"),
            *("--checks", ",".join(_CHECKS), "--exclude-path-regex", _LEFT_OUT),
            *("--phases", "coverage,fuzzing", "--max-examples", "3", "--workers", "2"),
            *("--seed", "1", "--generation-deterministic"),
            *("--no-color", "--request-timeout", "60"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await attack.communicate()
    assert attack.returncode == 0, said.decode()
