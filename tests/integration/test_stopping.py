"""A server that is told to stop says so, and leaves nobody without an answer."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
import pytest
from tests.integration.server import PATIENCE_S, served
from tests.lifecycle.house import VALIDATE


async def test_a_server_that_is_told_to_stop_says_so_first(tmp_path: Path) -> None:
    """It is not healthy any more, answers all the same, and keeps no connection open."""
    async with served(tmp_path, drain_s="600") as server:
        account = server.provider.add_account("one")
        assert (await server.call("GET", "/health")).headers.get("Connection") is None
        os.kill(server.pid, signal.SIGTERM)
        answer = await server.until(
            lambda: server.call("GET", "/health"), lambda answer: answer.status == 503
        )
        connected = await server.connect(account)

        assert "being stopped" in answer.message
        assert (await server.call("GET", "/ready")).status == 503
        assert (await server.call("GET", "/live")).status == 200
        assert connected.status == 201
        assert connected.headers["Connection"] == "close"
        assert await server.terminate() == 0


@pytest.mark.nodes
async def test_a_server_that_stops_answers_what_it_was_asked(tmp_path: Path) -> None:
    """A validation that is under way is finished; who comes now finds the door closed."""
    async with served(tmp_path) as server:
        account = server.provider.add_account("one")
        assert (await server.deploy({"validate": VALIDATE})).status == 200
        server.provider.fail("slow", path="/api/me", delay_s=12)
        connecting = asyncio.create_task(server.connect(account))
        await server.provider.until(
            lambda: bool(server.provider.calls_to("GET", "/api/me")), timeout_s=PATIENCE_S
        )

        ended = asyncio.create_task(server.terminate())
        with pytest.raises(aiohttp.ClientConnectorError):
            await server.until(lambda: server.call("GET", "/live"), lambda _: False)

        assert (await connecting).status == 201
        assert await ended == 0
