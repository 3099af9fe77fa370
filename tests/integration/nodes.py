"""Several nodes of one Carrick on one Postgres, any of which can be killed or told to stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from tests.integration.forks import FaultyServer, Forks
from tests.integration.networks import Network
from tests.integration.server import PATIENCE_S, Answer
from tests.integration.walk import FUNCTIONS

from carrick.testing.fake_provider import Account, FakeProvider

#: What a node can have in hand when it dies.
KINDS = ("setup", "cleanup", "refresh", "notification", "validation")


class Node(FaultyServer):
    """A `carrick serve` on the database that all nodes share."""

    argv: tuple[str, ...] = ("--migrate",)

    #: Where others reach it.
    host = "127.0.0.1"

    def move_into(self, network: Network, host: str) -> None:
        """Have it run in a namespace, reached at an address there."""
        self._forks = Forks(*network.prefix)
        self.host = host

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self._port}"

    def environ(self) -> dict[str, str]:
        """Return the whole environment of the process."""
        return {**super().environ(), "CARRICK_HOST": self.host}

    async def spawn(self, port: int | None = None) -> Any:
        """Fork it."""
        environ = {**self.environ(), "CARRICK_PORT": str(self._port if port is None else port)}
        argv = [*self.argv, "--follow", str(self.directory)]
        return await self._forks.start(argv, environ, self.directory / "server.log")

    @property
    def http(self) -> aiohttp.ClientSession:
        """The session it is asked with, which keeps connections as a load balancer does."""
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=90))
        return self._http

    async def warm_up(self) -> None:
        """Import everything now, so that a later start takes a fraction of a second."""
        await self._forks.ready()

    async def asked(self, method: str, path: str, body: Any = None) -> None:
        """Ask for what is never answered, because this node is killed."""
        with contextlib.suppress(OSError, aiohttp.ClientError):
            await self.call(method, path, body)


class Worker(Node):
    """A `carrick worker` on that database."""

    argv = ("--worker",)

    async def start(self) -> None:
        """Start it and wait until it says that it works."""
        (self.directory / "server.log").touch()
        begun_at = len(self.log)
        self._process = await self.spawn(0)
        async with asyncio.timeout(PATIENCE_S):
            while b"Carrick works" not in self.log[begun_at:]:
                assert self._process.returncode is None, self.log.decode(errors="replace")
                await asyncio.sleep(0.02)


async def read(database_url: str, statement: str) -> Sequence[asyncpg.Record]:
    """Read the nodes' database beside them."""
    connection = await asyncpg.connect(database_url)
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def nodes(
    directory: Path, provider: FakeProvider, database_url: str, *kinds: type[Node], **settings: str
) -> AsyncIterator[list[Node]]:
    """Prepare nodes that share keys and a database; whoever asks starts them.

    Args:
        directory: Where each gets a directory of its own.
        provider: Which their functions call.
        database_url: The Postgres database.
        kinds: What each is.
        settings: `CARRICK_<NAME>` variables by the rest of their names, in lower case.
    """
    shared = {f"CARRICK_{name.upper()}": value for name, value in settings.items()}
    shared |= {"CARRICK_DATABASE_URL": database_url, "CARRICK_ISOLATION": "none"}
    async with contextlib.AsyncExitStack() as stack:
        made: list[Node] = []
        for number, kind in enumerate(kinds):
            place = directory / f"node-{number}"
            place.mkdir(parents=True, exist_ok=True)
            node = kind(place, provider, shared)
            if made:
                node.secret_key, node.encryption_key = made[0].secret_key, made[0].encryption_key
            stack.push_async_callback(node.close)
            made.append(node)
        yield made


async def prepare(node: Node) -> None:
    """Make integrations, one by API key and one by tokens, and deploy functions for the first."""
    provider = node.provider
    await node.integrate()
    await node.integrate(
        "tokens",
        provider="oauth2",
        credentials={
            "type": "OAUTH2",
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
        },
        integration_config={"token_url": f"{provider.url}/oauth/token"},
    )
    answer = await node.deploy(FUNCTIONS)
    assert answer.status == 200, answer.text


async def give_five_things(
    node: Node, accounts: Mapping[str, Account], prefix: str = ""
) -> list[asyncio.Task[None]]:
    """Have a node begin five things that the provider carries out and does not answer.

    Args:
        node: The only one that runs.
        accounts: One for each of `KINDS`.
        prefix: What the connections' names begin with, before the kind.
    """
    provider = node.provider
    for kind in ("cleanup", "validation"):
        assert (await node.connect(accounts[kind], prefix + kind)).status == 201
        await node.set_up(prefix + kind)
    answer = await with_tokens(node, accounts["refresh"], f"{prefix}refresh")
    assert answer.status == 201, answer.text
    await node.until(
        lambda: node.call("GET", "/notifications?state=waiting"),
        lambda answer: answer.json["data"] == [],
    )

    async def given(path: str, *asked: Any) -> asyncio.Task[None]:
        seen = len(provider.calls)
        provider.fail("hang", path=path, after=True)
        task = asyncio.create_task(node.asked(*asked))
        await provider.until(
            lambda: any(call.fault == "hang" for call in provider.calls[seen:]),
            timeout_s=PATIENCE_S,
        )
        return task

    def imported(kind: str) -> tuple[str, str, Any]:
        return "POST", "/connections", node.import_body(accounts[kind], prefix + kind)

    by_token = f"/connections/{prefix}refresh?provider_config_key=tokens&force_refresh=true"
    return [
        await given("/webhooks", *imported("setup")),
        await given(
            "/webhooks/*", "DELETE", f"/connections/{prefix}cleanup?provider_config_key=acme"
        ),
        await given("/oauth/token", "GET", by_token),
        await given("/api/me", *imported("validation")),
        await given("/app/webhooks", *imported("notification")),
    ]


async def with_tokens(
    node: Node, account: Account, connection_id: str, *, integration_id: str = "tokens"
) -> Answer:
    """Connect an account by its tokens."""
    tokens = {
        "type": "OAUTH2",
        "access_token": account.access_token,
        "refresh_token": account.refresh_token,
    }
    return await node.connect(
        account,
        connection_id,
        provider_config_key=integration_id,
        credentials=tokens,
        connection_config={},
    )
