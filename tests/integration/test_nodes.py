"""Many nodes on one Postgres: what a dead one had in hand is finished by the others, unasked.

Times are never asserted here; `python -m bench.takeover` measures them.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from tests.integration.nodes import (
    KINDS,
    Node,
    Worker,
    give_five_things,
    nodes,
    prepare,
    read,
)
from tests.integration.server import PATIENCE_S, Answer

from carrick.testing.fake_provider import Account, FakeProvider

pytestmark = pytest.mark.postgres
in_one_loop = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Aftermath:
    """What is there after a node was killed with five things in hand."""

    provider: FakeProvider
    survivor: Node
    database_url: str
    accounts: dict[str, Account]

    def calls(self, name: str, method: str, path: str) -> list[Any]:
        """Return the calls that an account's functions made."""
        account = self.accounts[name].name
        called = [one for one in self.provider.calls if one.account == account]
        return [one for one in called if one.method == method and one.path.startswith(path)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def aftermath(
    tmp_path_factory: pytest.TempPathFactory, shared_postgres_url: str
) -> AsyncIterator[Aftermath]:
    """A server, killed in a setup, a cleanup, a refresh, a notification and a validation."""
    async with (
        FakeProvider(
            honour_idempotency_keys=True, rotate_refresh_tokens=True, refresh_grace_s=600
        ) as provider,
        nodes(
            tmp_path_factory.mktemp("nodes"), provider, shared_postgres_url, Node, Node, Worker
        ) as (doomed, survivor, worker),
    ):
        await asyncio.gather(doomed.start(), survivor.warm_up(), worker.warm_up())
        await prepare(doomed)
        accounts = {name: provider.add_account(name) for name in KINDS}
        in_hand = await give_five_things(doomed, accounts)
        await asyncio.gather(survivor.start(), worker.start())
        await doomed.kill()
        await asyncio.gather(*in_hand)
        yield Aftermath(provider, survivor, shared_postgres_url, accounts)


@in_one_loop
async def test_the_setup_of_a_killed_node_is_finished_by_another(aftermath: Aftermath) -> None:
    """Its write, of which nobody knows the outcome, is sent again under the same key."""
    await aftermath.survivor.set_up("setup")

    sent = aftermath.calls("setup", "POST", "/webhooks")
    assert len({one.idempotency_key for one in sent}) == 1
    assert [one.replayed for one in sent] == [False, True]
    assert len(aftermath.provider.webhooks_of(aftermath.accounts["setup"])) == 1
    [operation] = await aftermath.survivor.operations(connection_id="setup", type="events")
    assert operation["state"] == "success"
    assert "the outcome of an earlier send is unknown" in json.dumps(operation)


@in_one_loop
async def test_the_cleanup_of_a_killed_node_is_finished_by_another(aftermath: Aftermath) -> None:
    """The webhook is gone, and so is the connection."""
    await _until_gone(aftermath, "cleanup")

    assert aftermath.provider.webhooks_of(aftermath.accounts["cleanup"]) == []
    sent = aftermath.calls("cleanup", "DELETE", "/webhooks/")
    assert [one.status for one in sent] == [None, 404]
    operations = await aftermath.survivor.operations(connection_id="cleanup", type="events")
    assert {one["state"] for one in operations} == {"success"}


@in_one_loop
async def test_the_refresh_of_a_killed_node_is_finished_by_another(aftermath: Aftermath) -> None:
    """Nobody asks for the credentials, and all the same they are asked for once more."""
    unanswered = "SELECT 1 FROM connections WHERE refresh_unanswered_at IS NOT NULL"
    async with asyncio.timeout(PATIENCE_S):
        while await read(aftermath.database_url, unanswered):
            await asyncio.sleep(0.1)

    asked = aftermath.provider.calls_to("POST", "/oauth/token")
    assert len(asked) == 2
    path = "/connections/refresh?provider_config_key=tokens"
    found = await aftermath.survivor.call("GET", path)
    account = aftermath.accounts["refresh"]
    assert found.json["credentials"]["access_token"] == account.access_token
    assert found.json["errors"] == []


@in_one_loop
async def test_the_notification_of_a_killed_node_is_sent_by_another(aftermath: Aftermath) -> None:
    """The app gets it again under the same id and in the same words."""
    provider = aftermath.provider

    def told() -> list[Any]:
        body = ("notification", "creation")
        return [
            one
            for one in provider.notifications
            if (one.json()["connectionId"], one.json().get("operation")) == body
        ]

    await provider.until(lambda: len(told()) == 2, timeout_s=PATIENCE_S)

    assert len({(one.headers["webhook-id"], one.body) for one in told()}) == 1
    ids = Counter(one.headers["webhook-id"] for one in provider.notifications)
    assert [count for count in ids.values() if count > 1] == [2]


@in_one_loop
async def test_a_reconnect_on_a_killed_node_has_changed_nothing(aftermath: Aftermath) -> None:
    """The connection is as it was, and connecting it again works on another node."""
    account = aftermath.accounts["validation"]
    before = await aftermath.survivor.get("validation")
    again = await aftermath.survivor.connect(account, "validation")

    assert (before.status, before.json["errors"]) == (200, [])
    assert again.status == 201, again.text


@in_one_loop
async def test_no_operation_of_a_killed_node_stays_open(aftermath: Aftermath) -> None:
    """What it had begun comes to an end in the log as well."""
    statement = "SELECT id, action, state FROM operations WHERE ended_at IS NULL"
    async with asyncio.timeout(PATIENCE_S):
        while await read(aftermath.database_url, statement):
            await asyncio.sleep(0.1)


async def _until_gone(aftermath: Aftermath, name: str) -> Answer:
    path = f"/connections/{name}?provider_config_key=acme"
    statement = f"SELECT 1 FROM connections WHERE connection_id = '{name}' AND state <> 'gone'"
    async with asyncio.timeout(PATIENCE_S):
        while await read(aftermath.database_url, statement):
            await asyncio.sleep(0.1)
    return await aftermath.survivor.call("GET", path)
