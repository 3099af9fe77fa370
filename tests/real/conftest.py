"""A JupyterHub in an environment of its own, and a Carrick server beside it."""

from __future__ import annotations

import base64
import os
import secrets
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from tests.real.actors import Carrick, Hub, HubFacts

from carrick.demo.server import Server, command, serving
from carrick.deployments import pack, read_project

ROOT = Path(__file__).resolve().parents[2]
JUPYTERHUB = ROOT / ".venv-jupyterhub" / "bin" / "jupyterhub"
READY_WITHIN_S = 60.0
EXAMPLE = ROOT / "examples" / "jupyterhub"
PROD_KEY = "9d0a1d53-5a6b-4c0e-8a3b-6f3f1c1f7e22"


@pytest.fixture(scope="session")
def jupyterhub_installed() -> None:
    """Skip what needs a JupyterHub where there is none."""
    if not JUPYTERHUB.exists():
        pytest.skip("JupyterHub is not installed: `make test-real` does that")


@pytest.fixture(scope="session")
def hub_process(
    jupyterhub_installed: None, carrick_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HubFacts]:
    """Start the hub once; it knows Carrick as an OAuth client."""
    directory = tmp_path_factory.mktemp("jupyterhub")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    facts = HubFacts(
        url, secrets.token_hex(20), secrets.token_urlsafe(12), secrets.token_urlsafe(24)
    )
    environ = {
        "PATH": f"{JUPYTERHUB.parent}{os.pathsep}{os.defpath}",
        "HOME": str(directory),
        "HUB_URL": url,
        "HUB_HARNESS_TOKEN": facts.token,
        "HUB_PASSWORD": facts.password,
        "HUB_CLIENT_SECRET": facts.client_secret,
        "HUB_REDIRECT_URI": f"{carrick_server.url}/oauth/callback",
    }
    config = Path(__file__).with_name("jupyterhub_config.py")
    with (directory / "hub.log").open("wb") as log:
        process = subprocess.Popen(
            [JUPYTERHUB, "-f", config], cwd=directory, env=environ, stdout=log, stderr=log
        )
    try:
        _wait_for(url, process, directory / "hub.log")
        yield facts
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
def hub(hub_process: HubFacts, http: aiohttp.ClientSession) -> Hub:
    """The hub, ready to be asked."""
    return Hub(hub_process, http)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def carrick_server(
    jupyterhub_installed: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    """A Carrick server with the integration `jupyterhub` and the example's functions in `dev`."""
    directory = tmp_path_factory.mktemp("carrick")
    secret_key = "3f8c2f3e-6f0e-4a57-9a53-0d0f6f1b2a11"
    settings = {"CARRICK_EGRESS_ALLOW": "127.0.0.0/8", "CARRICK_SECRET_KEY_PROD": PROD_KEY}
    async with serving(directory, secret_key, settings) as server:
        async with aiohttp.ClientSession() as http:
            integration = {"provider": "jupyterhub", "unique_key": "jupyterhub"}
            status, body = await Carrick(server, http).call("POST", "/integrations", integration)
            assert status == 200, body
        code, output = await command(server, "deploy", "-e", "dev", "--yes", cwd=EXAMPLE)
        assert code == 0, output
        yield server


@pytest.fixture
def carrick(carrick_server: Server, http: aiohttp.ClientSession) -> Carrick:
    """The Carrick server, ready to be called."""
    return Carrick(carrick_server, http)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def prod(carrick_server: Server, hub_process: HubFacts) -> Server:
    """The same server's `prod`: the same functions, and an integration that takes OAuth."""
    server = replace(carrick_server, secret_key=PROD_KEY)
    integration = {
        "provider": "jupyterhub-oauth",
        "unique_key": "jupyterhub",
        "integration_config": {"base_url": hub_process.url},
        "credentials": {
            "type": "OAUTH2",
            "client_id": "service-carrick",
            "client_secret": hub_process.client_secret,
        },
    }
    bundle = base64.b64encode(pack(read_project(EXAMPLE)).content).decode()
    async with aiohttp.ClientSession() as http:
        carrick = Carrick(server, http)
        status, body = await carrick.call("POST", "/integrations", integration)
        assert status == 200, body
        status, body = await carrick.call("POST", "/deployments", {"bundle": bundle})
        assert status == 200, body
    return server


@pytest.fixture
def oauth(prod: Server, http: aiohttp.ClientSession) -> Carrick:
    """The Carrick server's `prod`, ready to be called."""
    return Carrick(prod, http)
