"""A JupyterHub in an environment of its own, and a Carrick server beside it."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from tests.real.actors import Carrick, Hub

from carrick.demo.server import Server, command, serving

ROOT = Path(__file__).resolve().parents[2]
JUPYTERHUB = ROOT / ".venv-jupyterhub" / "bin" / "jupyterhub"
READY_WITHIN_S = 60.0


@pytest.fixture(scope="session")
def hub_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Start the hub once; yield its address and its administrator's token."""
    if not JUPYTERHUB.exists():
        pytest.skip("JupyterHub is not installed: `make test-real` does that")
    directory = tmp_path_factory.mktemp("jupyterhub")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    token = secrets.token_hex(20)
    environ = {
        "PATH": f"{JUPYTERHUB.parent}{os.pathsep}{os.defpath}",
        "HOME": str(directory),
        "HUB_URL": url,
        "HUB_HARNESS_TOKEN": token,
    }
    config = Path(__file__).with_name("jupyterhub_config.py")
    with (directory / "hub.log").open("wb") as log:
        process = subprocess.Popen(
            [JUPYTERHUB, "-f", config], cwd=directory, env=environ, stdout=log, stderr=log
        )
    try:
        _wait_for(url, process, directory / "hub.log")
        yield url, token
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    deadline = time.monotonic() + READY_WITHIN_S
    ended = None
    while time.monotonic() < deadline and ended is None:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            # Waits a moment for the process instead of sleeping: it may end right now.
            try:
                ended = process.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                continue
        else:
            return
    tail = log.read_text(errors="replace")[-2000:]
    raise AssertionError(f"JupyterHub is not up (exit code {ended}):\n{tail}")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A plain HTTP client."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def hub(hub_process: tuple[str, str], http: aiohttp.ClientSession) -> Hub:
    """The hub, ready to be asked."""
    return Hub(*hub_process, http)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def carrick_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A Carrick server with the integration `jupyterhub` and the example's functions."""
    directory = tmp_path_factory.mktemp("carrick")
    secret_key = "3f8c2f3e-6f0e-4a57-9a53-0d0f6f1b2a11"
    async with serving(directory, secret_key, {"CARRICK_EGRESS_ALLOW": "127.0.0.0/8"}) as server:
        async with aiohttp.ClientSession() as http:
            integration = {"provider": "jupyterhub", "unique_key": "jupyterhub"}
            status, body = await Carrick(server, http).call("POST", "/integrations", integration)
            assert status == 200, body
        project = ROOT / "examples" / "jupyterhub"
        code, output = await command(server, "deploy", "-e", "dev", "--yes", cwd=project)
        assert code == 0, output
        yield server


@pytest.fixture
def carrick(carrick_server: Server, http: aiohttp.ClientSession) -> Carrick:
    """The Carrick server, ready to be called."""
    return Carrick(carrick_server, http)
