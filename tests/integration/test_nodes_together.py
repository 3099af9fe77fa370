"""Many nodes on one Postgres that all live: what one is told, all know; one after another stops."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
from tests.integration.nodes import Node, Worker, nodes, read, with_tokens
from tests.integration.server import PATIENCE_S, Answer
from tests.lifecycle.house import CLEANUP, SETUP, VALIDATE

from carrick.testing.fake_provider import FakeProvider

pytestmark = [pytest.mark.postgres, pytest.mark.asyncio(loop_scope="module")]

#: Refuses everybody, in words that tell which deployment it belongs to.
REFUSAL = """
@create_on_event(event="validate-connection", description="Nobody gets in")
async def function(ctx: EventContext) -> None:
    raise ActionError("refused by {name}")
"""

#: Refuses everybody with the value of a variable, which is too short to be kept out of messages.
TELLS = """
@create_on_event(event="validate-connection", description="Tells", variables=["WORD"])
async def function(ctx: EventContext) -> None:
    raise ActionError("the word is " + (await ctx.get_environment_variables())["WORD"])
"""
#: A provider of one's own, whose calls carry a header that says which edition it is.
VENDOR = """
vendor:
  auth_mode: API_KEY
  credentials: {{apiKey: {{type: string, title: Key}}}}
  proxy:
    base_url: {url}
    headers: {{authorization: "Bearer ${{apiKey}}", x-edition: "{edition}"}}
"""


@dataclass
class Trio:
    """Two servers and a worker."""

    a: Node
    b: Node
    worker: Node
    provider: FakeProvider
    database_url: str
    _made: itertools.count[int] = field(default_factory=itertools.count)

    def names(self, count: int = 1) -> list[str]:
        """Return names that no test has used."""
        return [f"name-{next(self._made)}" for _ in range(count)]

    async def events(self, function: str) -> int:
        """Return how many events of a function have been finished."""
        statement = (
            "SELECT count(*) AS n FROM lifecycle_events "
            f"WHERE function = '{function}' AND state = 'done'"
        )
        return int((await read(self.database_url, statement))[0]["n"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trio(
    tmp_path_factory: pytest.TempPathFactory, shared_postgres_url: str
) -> AsyncIterator[Trio]:
    """Three nodes that run, with functions."""
    directory = tmp_path_factory.mktemp("trio")
    async with (
        FakeProvider(honour_idempotency_keys=True) as provider,
        nodes(directory, provider, shared_postgres_url, Node, Node, Worker, drain_s="1") as made,
    ):
        a, b, worker = made
        await a.start()
        await asyncio.gather(b.start(), worker.start())
        await a.integrate()
        yield Trio(a, b, worker, provider, shared_postgres_url)


@pytest_asyncio.fixture(loop_scope="module")
async def deployed(trio: Trio) -> Trio:
    """The same, with a check, a setup and a cleanup."""
    functions = {"validate": VALIDATE, "setup": SETUP, "cleanup": CLEANUP}
    assert (await trio.a.deploy(functions)).status == 200
    return trio


async def test_what_is_deployed_on_one_node_runs_on_all(trio: Trio) -> None:
    """Every node's next attempt is of the new deployment, and of the old one after a rollback."""
    account = trio.provider.add_account(*trio.names())

    numbers = []
    for name in ("first", "second"):
        answer = await trio.a.deploy({"refuse": REFUSAL.replace("{name}", name)})
        numbers.append(answer.json["data"]["number"])
        for node in (trio.a, trio.b):
            refused = await node.connect(account, *trio.names())
            assert refused.message == f"refused by {name}"
    activated = await trio.b.call("POST", f"/deployments/{numbers[0]}/activate", {})
    assert activated.status == 200
    for node in (trio.a, trio.b):
        assert (await node.connect(account, *trio.names())).message == "refused by first"


async def test_a_deleted_key_opens_no_other_node_after_seconds(trio: Trio) -> None:
    """Every node may know a key for five seconds; the one that deleted it forgets it at once."""
    made = await trio.a.call(
        "POST", "/environment/api-keys", {"display_name": "short", "scopes": ["environment:*"]}
    )
    assert made.status == 200, made.text
    key, number = made.json["data"]["secret"], made.json["data"]["id"]

    async def asked(node: Node) -> Answer:
        headers = {"Authorization": f"Bearer {key}"}
        return await node.call("GET", "/connections", headers=headers, signed=False)

    assert {(await asked(node)).status for node in (trio.a, trio.b)} == {200}
    deleted = await trio.a.call("DELETE", f"/environment/api-keys?id={number}")

    assert deleted.status == 200, deleted.text
    assert (await asked(trio.a)).status == 401
    await trio.b.until(lambda: asked(trio.b), lambda answer: answer.status == 401)


async def test_what_one_node_changes_the_other_answers_at_once(trio: Trio) -> None:
    """An integration's settings and end, a connection's credentials, metadata and end."""
    name, other = trio.names(2)
    account = trio.provider.add_account(name)
    assert (await trio.a.deploy({"idle": CLEANUP.replace("ctx.delete", "ctx.get")})).status == 200
    await trio.a.integrate(name)
    one = {"provider_config_key": name}
    assert (await trio.b.connect(account, other, **one)).status == 201
    assert (await trio.a.get(other, name)).json["credentials"]["apiKey"] == account.api_key

    renewed = trio.provider.add_account(f"{name}-renewed")
    assert (await trio.b.connect(renewed, other, **one)).status == 201
    assert (await trio.a.get(other, name)).json["credentials"]["apiKey"] == renewed.api_key
    headers = {"Provider-Config-Key": name, "Connection-Id": other}
    for node in (trio.a, trio.b):
        assert (await node.call("GET", "/proxy/api/me", headers=headers)).status == 200
    assert (
        await trio.a.call("PATCH", f"/integrations/{name}", {"display_name": "New"})
    ).status == 200
    assert (await trio.b.call("GET", f"/integrations/{name}")).json["data"]["display_name"] == "New"
    assert (await trio.a.call("DELETE", f"/integrations/{name}")).status == 200
    assert (await trio.b.get(other, name)).code == "unknown_provider_config"
    assert (await trio.b.call("GET", "/proxy/api/me", headers=headers)).status >= 400
    assert (await trio.b.connect(account, other, **one)).status >= 400


async def test_new_client_credentials_and_variables_hold_on_every_node_at_once(trio: Trio) -> None:
    """What a developer changes on one node, the next refresh and the next attempt elsewhere use."""
    provider, (name, other) = trio.provider, trio.names(2)
    account = provider.add_account(name)
    client = {"type": "OAUTH2", "client_id": provider.client_id}
    await trio.a.integrate(
        name,
        provider="oauth2",
        credentials={**client, "client_secret": "not the right one"},
        integration_config={"token_url": f"{provider.url}/oauth/token"},
    )
    assert (await with_tokens(trio.b, account, name, integration_id=name)).status == 201
    forced = f"/connections/{name}?provider_config_key={name}&force_refresh=true"
    for node in (trio.a, trio.b):
        assert (await node.call("GET", forced)).status == 400
    right = {"credentials": {**client, "client_secret": provider.client_secret}}
    assert (await trio.a.call("PATCH", f"/integrations/{name}", right)).status == 200
    for node in (trio.b, trio.a):
        answer = await node.call("GET", forced)
        assert (answer.status, answer.json["credentials"]["access_token"]) == (
            200,
            account.access_token,
        )

    assert (await trio.a.deploy({"tells": TELLS})).status == 200
    for writer, word in ((trio.a, "one"), (trio.b, "two"), (trio.a, "six")):
        body = {"variables": {"WORD": word}}
        assert (await writer.call("POST", "/environment-variables", body)).status == 200
        for node in (trio.a, trio.b):
            assert (await node.connect(account, other)).message == f"the word is {word}"


async def test_an_import_of_providers_holds_on_every_node(trio: Trio, tmp_path: Path) -> None:
    """New providers, changed ones and removed ones, without a restart, in servers and workers."""
    [name] = trio.names()
    account = trio.provider.add_account(name)

    async def providers(*arguments: str) -> int:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "carrick", "providers", *arguments),
            env={**trio.b.environ(), "CARRICK_DATA_DIR": str(tmp_path)},
            stderr=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
        )
        return await process.wait()

    async def imported(edition: str) -> None:
        file = tmp_path / "vendor.yaml"
        file.write_text(VENDOR.format(url=trio.provider.url, edition=edition))
        assert await providers("import", str(file)) == 0

    def edition_of(path: str) -> str | None:
        return trio.provider.calls_to("GET", path)[-1].headers.get("x-edition")

    async def proxied(node: Node, edition: str) -> None:
        headers = {"Provider-Config-Key": name, "Connection-Id": name}
        async with asyncio.timeout(PATIENCE_S):
            while True:
                assert (await node.call("GET", "/proxy/api/me", headers=headers)).status == 200
                if edition_of("/api/me") == edition:
                    return

    await imported("one")
    body = {"provider": "vendor", "unique_key": name}
    await trio.b.until(
        lambda: trio.b.call("POST", "/integrations", body), lambda answer: answer.status == 200
    )
    setup = TELLS.replace("validate-connection", "post-connection-creation").replace(
        'raise ActionError("the word is " + (await ctx.get_environment_variables())["WORD"])',
        'await ctx.get("/api/echo")',
    )
    assert (await trio.a.deploy({"greet": setup}, integration_id=name)).status == 200
    connected = await trio.a.until(
        lambda: trio.a.connect(account, name, provider_config_key=name, connection_config={}),
        lambda answer: answer.status == 201,
    )
    assert connected.json["provider"] == "vendor"
    for node in (trio.a, trio.b):
        await proxied(node, "one")
    await imported("two")
    for node in (trio.a, trio.b):
        await proxied(node, "two")
    assert await providers("remove", "vendor", "--yes") == 1
    assert (await trio.a.call("DELETE", f"/integrations/{name}")).status == 200
    assert await providers("remove", "vendor", "--yes") == 0
    for node in (trio.a, trio.b):
        await node.until(
            lambda node=node: node.call("GET", "/providers/vendor"),
            lambda answer: answer.status == 404,
        )


async def test_two_reconnects_at_once_go_one_after_another(deployed: Trio) -> None:
    """On different nodes: both are accepted, and the credentials of one of them are live."""
    [name] = deployed.names()
    account = deployed.provider.add_account(name)
    assert (await deployed.a.connect(account, name)).status == 201
    await deployed.a.set_up(name)
    deployed.provider.fail("slow", path="/api/me", delay_s=0.5, times=2)
    seen = len(deployed.provider.calls_to("GET", "/api/me"))

    both = await asyncio.gather(*(n.connect(account, name) for n in (deployed.a, deployed.b)))

    assert [one.status for one in both] == [201, 201]
    first, second = deployed.provider.calls_to("GET", "/api/me")[seen:]
    assert (second.at - first.at).total_seconds() >= 0.5


@pytest.mark.nodes
async def test_a_reconnect_gives_up_waiting_for_another_nodes_function(deployed: Trio) -> None:
    """After twenty seconds: 503, and when to come again. The setup is not disturbed."""
    [name] = deployed.names()
    account = deployed.provider.add_account(name)
    deployed.provider.fail("slow", path="/webhooks", delay_s=24)
    assert (await deployed.a.connect(account, name)).status == 201
    await deployed.provider.until(
        lambda: any(
            call.account == name and call.path == "/webhooks" for call in deployed.provider.calls
        ),
        timeout_s=PATIENCE_S,
    )

    answer = await deployed.b.connect(account, name)

    assert (answer.status, answer.code) == (503, "connection_busy")
    assert int(answer.headers["Retry-After"]) > 0
    await deployed.b.set_up(name)
    assert len(deployed.provider.webhooks_of(account)) == 1


# --- replacing nodes one by one ---------------------------------------------------------------


@dataclass
class Balancer:
    """Spreads calls over the nodes that say they are well, and tries another that is not there."""

    nodes: Sequence[Node]
    turned_away: Counter[str] = field(default_factory=Counter)
    cut_off: Counter[str] = field(default_factory=Counter)
    _turn: int = 0
    _well: list[Node] = field(default_factory=list)

    async def watch(self) -> None:
        """Look after the nodes' health for ever."""
        while True:
            self._well = [node for node in self.nodes if await self._is_well(node)]
            await asyncio.sleep(0.1)

    async def _is_well(self, node: Node) -> bool:
        with suppress(aiohttp.ClientError, OSError):
            async with node.http.get(f"{node.url}/health") as answer:
                return answer.status == 200
        return False

    async def connect(self, account: Any, name: str) -> Answer:
        """Connect on whichever node."""
        while True:
            self._turn += 1
            well = self._well or list(self.nodes)
            node = well[self._turn % len(well)]
            try:
                return await node.connect(account, name)
            except aiohttp.ClientConnectorError:
                self.turned_away[name] += 1
            except (aiohttp.ClientError, OSError) as error:
                self.cut_off[f"{name}: {error!r}"] += 1
            await asyncio.sleep(0.02)


async def test_nodes_are_replaced_under_load_and_no_connect_fails(deployed: Trio) -> None:
    """Migrated while old nodes run, stopped and started one by one: every connect is accepted."""
    before = await deployed.events("setup")
    balancer = Balancer([deployed.a, deployed.b])
    account = deployed.provider.add_account(*deployed.names())
    statuses: Counter[int] = Counter()
    is_over = asyncio.Event()

    async def client() -> None:
        while not is_over.is_set():
            answer = await balancer.connect(account, *deployed.names())
            statuses[answer.status] += 1

    async def after(count: int) -> None:
        wanted = statuses.total() + count
        async with asyncio.timeout(PATIENCE_S):
            while statuses.total() < wanted:
                await asyncio.sleep(0.02)

    watching = asyncio.create_task(balancer.watch())
    clients = [asyncio.create_task(client()) for _ in range(4)]
    try:
        await after(10)
        await _migrate_as_a_later_version(deployed.database_url)
        await after(10)
        for node in (deployed.a, deployed.worker, deployed.b):
            assert await node.terminate() == 0
            await after(5)
            await _forget_later_version(deployed.database_url)
            await node.start()
            await after(10)
    finally:
        is_over.set()
        await asyncio.gather(*clients)
        watching.cancel()
        await asyncio.wait({watching})

    assert set(statuses) == {201}
    assert balancer.cut_off == {}
    async with asyncio.timeout(PATIENCE_S):
        while await deployed.events("setup") < before + statuses[201]:
            await asyncio.sleep(0.1)
    assert len(deployed.provider.webhooks_of(account)) == statuses[201]


async def test_an_old_node_says_that_the_database_is_newer(trio: Trio) -> None:
    """It goes on while it runs, and does not start again."""
    await _migrate_as_a_later_version(trio.database_url)
    try:
        assert (await trio.b.call("GET", "/connections")).status == 200
        await trio.b.terminate()
        with pytest.raises(AssertionError, match="later version"):
            await trio.b.start()
    finally:
        await _forget_later_version(trio.database_url)
    await trio.b.start()


async def _migrate_as_a_later_version(database_url: str) -> None:
    """Add a column to every table that functions write to, as a later version may."""
    await _execute(
        database_url,
        "ALTER TABLE connections ADD COLUMN IF NOT EXISTS later text",
        "ALTER TABLE lifecycle_events ADD COLUMN IF NOT EXISTS later int NOT NULL DEFAULT 0",
        "ALTER TABLE operations ADD COLUMN IF NOT EXISTS later int NOT NULL DEFAULT 0",
        "ALTER TABLE journal_entries ADD COLUMN IF NOT EXISTS later text",
        "UPDATE alembic_version SET version_num = 'x' || version_num WHERE version_num !~ '^x'",
    )


async def _forget_later_version(database_url: str) -> None:
    await _execute(database_url, "UPDATE alembic_version SET version_num = ltrim(version_num, 'x')")


async def _execute(database_url: str, *statements: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            for statement in statements:
                await connection.execute(statement)
    finally:
        await connection.close()
