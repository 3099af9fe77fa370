"""What the Python client adds to the API it asks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.integration.server import served

from carrick.cli.app import run
from carrick.client import Client

_FAILING = """
@create_on_event(event="pre-connection-deletion", description="Later", waits=[3600])
async def function(ctx: EventContext) -> None:
    raise ValueError("not yet")
"""
_REFUSING = """
@create_on_event(event="pre-connection-deletion", description="Never")
async def function(ctx: EventContext) -> None:
    raise ActionError("not at all")
"""


async def test_parked_cleanups_come_first_however_many_others_there_are(tmp_path: Path) -> None:
    """A page that older, waiting cleanups would fill begins with what waits for a person."""
    async with served(tmp_path) as server:
        for name in ("one", "two"):
            await server.connect(server.provider.add_account(name), name)
        await server.deploy({"clean-up": _FAILING})
        deleting = asyncio.create_task(server.delete("one"))  # answers when it has waited enough
        await server.until(
            lambda: server.call("GET", "/cleanups"),
            lambda answer: [one["attempts"] for one in answer.json["data"]] == [1],
        )
        await server.deploy({"clean-up": _REFUSING})
        await server.delete("two")
        async with Client(server.url, server.secret_key) as client:
            first = await client.cleanups(limit=1)
            both = await client.cleanups()
            parked = await client.cleanups(state="parked")
        deleting.cancel()
        await asyncio.wait({deleting})
    assert [one["connection_id"] for one in first] == ["two"]
    assert [(one["connection_id"], one["state"]) for one in both] == [
        ("two", "parked"),
        ("one", "retrying"),
    ]
    assert parked == first


_TALKATIVE = """
@create_on_event(event="pre-connection-deletion", description="Talks", attempts=3, waits=[0])
async def function(ctx: EventContext) -> None:
    for number in range(400):
        await ctx.log(f"line {number}")
    {}["missing"]
"""


async def test_a_parked_cleanup_shows_its_whole_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """However much it logged: what went wrong comes last, with the line of the function."""
    async with served(tmp_path) as server:
        await server.connect(server.provider.add_account("one"), "one")
        await server.deploy({"clean-up": _TALKATIVE})
        await server.delete("one")
        answer = await server.until(
            lambda: server.call("GET", "/cleanups?state=parked"), lambda answer: answer.json["data"]
        )
        [cleanup] = answer.json["data"]
        monkeypatch.setenv("CARRICK_SERVER_URL", server.url)
        monkeypatch.setenv("CARRICK_SECRET_KEY_DEV", server.secret_key)
        assert await asyncio.to_thread(run, ["cleanups", "show", cleanup["id"]]) == 0
    shown = capsys.readouterr().out
    assert shown.count("line 399\n") == 3
    assert shown.rstrip().endswith("KeyError: 'missing'")
    assert "clean_up.py:" in shown
