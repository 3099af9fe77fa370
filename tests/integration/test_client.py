"""What the Python client adds to the API it asks."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.integration.server import INTEGRATION, served

from carrick.cli.app import run
from carrick.client import ApiError, Client, SyncClient

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


async def test_a_product_does_its_daily_work_with_it(tmp_path: Path) -> None:
    """Sessions, metadata, tags, keys, calls with a connection's credentials, and its end."""
    async with (
        served(tmp_path) as server,
        Client(server.url, server.secret_key) as client,
    ):
        await server.connect(server.provider.add_account("ann"), "ann")
        session = await client.create_connect_session(
            {"id": "u1", "email": "ann@example.com"}, allowed_integrations=[INTEGRATION]
        )
        assert session["connect_link"].endswith(session["token"])
        again = await client.create_reconnect_session("ann", INTEGRATION)
        assert again["token"] != session["token"]

        await client.set_metadata("ann", INTEGRATION, {"a": 1})
        await client.update_metadata(["ann"], INTEGRATION, {"b": 2})
        await client.change_connection("ann", INTEGRATION, {"tags": {"plan": "pro"}})
        found = await client.connection("ann", INTEGRATION, force_refresh=True)
        assert (found["metadata"], found["tags"]) == ({"a": 1, "b": 2}, {"plan": "pro"})

        key = await client.create_api_key("reads", ["environment:connections:list"])
        async with Client(server.url, str(key["secret"])) as reader:
            assert [one["connection_id"] for one in await reader.connections()] == ["ann"]
            with pytest.raises(ApiError, match="scope"):
                await reader.integrations()
        assert "reads" in [one["display_name"] for one in await client.api_keys()]
        await client.delete_api_key(int(str(key["id"])))
        changed = await client.change_integration(INTEGRATION, {"display_name": "Acme!"})
        assert changed == await client.integration(INTEGRATION)
        assert (await client.delete_connection("ann", INTEGRATION))["success"] is True


async def test_a_providers_answer_is_told_from_the_servers_own(tmp_path: Path) -> None:
    """A refusal by the provider is an answer; one by Carrick is an error."""
    async with (
        served(tmp_path) as server,
        Client(server.url, server.secret_key) as client,
    ):
        account = server.provider.add_account("ann")
        await server.connect(account, "ann")
        ann = {"connection_id": "ann", "integration_id": INTEGRATION}
        me = await client.proxy("GET", "/api/me", **ann)
        assert (me.status, me.json()["organization_id"]) == (200, account.organization_id)
        made = await client.proxy("POST", "webhooks", data={"url": "https://a.example"}, **ann)
        assert made.status == 201
        missing = await client.proxy("GET", "/nowhere", params={"q": "ä b"}, **ann)
        assert missing.status == 404
        sent = server.provider.calls[-1]
        assert (sent.path, sent.query) == ("/nowhere", "q=ä b")
        with pytest.raises(ApiError, match="nobody"):
            await client.proxy("GET", "/api/me", connection_id="nobody", integration_id=INTEGRATION)


def test_code_that_does_not_await_has_the_same(tmp_path: Path) -> None:
    """From several threads at once, against a real server."""

    async def use() -> None:
        async with served(tmp_path) as server:
            await server.connect(server.provider.add_account("ann"), "ann")

            def work() -> list[str]:
                with SyncClient(server.url, server.secret_key) as client:
                    assert client.health() == {"result": "ok"}
                    with ThreadPoolExecutor(4) as threads:
                        found = list(threads.map(lambda _: client.connections(), range(8)))
                    with pytest.raises(ApiError, match="nobody"):
                        client.connection("nobody", INTEGRATION)
                return [str(page[0]["connection_id"]) for page in found]

            assert await asyncio.to_thread(work) == ["ann"] * 8

    asyncio.run(use())
