"""The README's quick start must work as it is written."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import pytest

README = Path(__file__).resolve().parents[2] / "README.md"
READY_WITHIN_S = 60.0


def blocks() -> list[str]:
    """Return the shell blocks of the quick start."""
    _, _, rest = README.read_text().partition("## Quick start")
    section, _, _ = rest.partition("\n## ")
    return re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)


def on_ports(script: str, provider: int, server: int) -> str:
    """Return a script that uses free ports and this environment's commands."""
    script = script.replace(". .venv/bin/activate", f"PATH={Path(sys.executable).parent}:$PATH")
    script = script.replace("9000", str(provider)).replace("localhost:3003", f"localhost:{server}")
    return f"set -e\nexport CARRICK_PORT={server}\n{script}"


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


async def until_ready(port: int, ended: asyncio.Task[int]) -> None:
    """Wait until the server answers that it is ready."""
    async with asyncio.timeout(READY_WITHIN_S), aiohttp.ClientSession() as http:
        while not ended.done():
            try:
                async with http.get(f"http://127.0.0.1:{port}/health") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.wait([ended], timeout=0.1)
    pytest.fail(f"the first terminal ended with exit code {ended.result()}")


async def test_the_quick_start_works_as_written(tmp_path: Path) -> None:
    """Both terminals' commands run; the second connect is refused, the lists show it and why."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    first, second = (on_ports(block, *free) for free in [free_ports(2)] for block in blocks())
    port = int(re.findall(r"CARRICK_PORT=(\d+)", first)[0])
    environ = {"PATH": os.defpath, "HOME": str(tmp_path), "COLUMNS": "200"}
    server = await asyncio.create_subprocess_exec(
        *("bash", "-c", first),
        cwd=tmp_path,
        env=environ,
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    ended = asyncio.create_task(server.wait())
    try:
        await until_ready(port, ended)
        terminal = await asyncio.create_subprocess_exec(
            *("bash", "-c", second), cwd=tmp_path, env=environ, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await terminal.communicate()
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        await ended
    text = output.decode()
    assert terminal.returncode == 0, text
    assert '"connection_id":"customer-1"' in text
    assert "connection_validation_failed" in text
    assert "auth error" in text
    assert text.count("This is not the account") == 2  # what connect was told, and the log
    assert "DELETE" in text
    assert "Nothing was changed" in text
