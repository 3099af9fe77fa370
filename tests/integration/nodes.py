"""Several nodes of one Carrick on one Postgres, any of which can be killed or told to stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from tests.integration.forks import FaultyServer
from tests.integration.server import PATIENCE_S

from carrick.testing.fake_provider import Account, FakeProvider


class Node(FaultyServer):
    """A `carrick serve` on the database that all nodes share."""

    argv: tuple[str, ...] = ("--migrate",)

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
            place.mkdir(parents=True)
            node = kind(place, provider, shared)
            if made:
                node.secret_key, node.encryption_key = made[0].secret_key, made[0].encryption_key
            stack.push_async_callback(node.close)
            made.append(node)
        await asyncio.gather(*(node.warm_up() for node in made))
        yield made


async def with_tokens(node: Node, account: Account, connection_id: str) -> None:
    """Connect an account by tokens that are refreshed, under an integration of their own."""
    provider = node.provider
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
    tokens = {
        "type": "OAUTH2",
        "access_token": account.access_token,
        "refresh_token": account.refresh_token,
    }
    answer = await node.connect(
        account,
        connection_id,
        provider_config_key="tokens",
        credentials=tokens,
        connection_config={},
    )
    assert answer.status == 201, answer.text
