"""A server killed with notifications in its hands: told twice at worst, in order, never not."""

from __future__ import annotations

import contextlib
from pathlib import Path

import aiohttp
from tests.integration.killed import KilledServer

from carrick.testing.fake_provider import FakeProvider


async def test_what_was_sent_and_not_recorded_is_sent_again_under_its_id(tmp_path: Path) -> None:
    """Killed after the app answered: the same id once more, then what came after it."""
    async with FakeProvider() as provider:
        account = provider.add_account("one")
        async with KilledServer(tmp_path, provider, kill_at="notification-sent") as server:
            await server.integrate()
            with contextlib.suppress(aiohttp.ClientError, OSError):
                await server.connect(account)
            await server.start_again()
            assert (await server.connect(account)).status == 201
            await provider.until(lambda: len(provider.notifications) == 3)
            listed = await server.until(
                lambda: server.call("GET", "/notifications?state=delivered"),
                lambda answer: len(answer.json["data"]) == 2,
            )

    first, again, last = provider.notifications
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
    assert first.body == again.body
    assert [one.json()["operation"] for one in provider.notifications] == [
        "creation",
        "creation",
        "override",
    ]
    ids = [one["id"] for one in listed.json["data"]]
    assert ids == [last.headers["webhook-id"], first.headers["webhook-id"]]
