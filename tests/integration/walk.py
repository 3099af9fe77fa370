"""The model that a killed server is held to, small enough to read.

A journey takes a connection from one state that can be seen from outside to another. Killed at any
instant and started again, the server ends in one of the two, by itself; in the second one if the
caller had heard that it succeeded. Whatever it wrote at the provider on the way was written once,
whatever it told the app was told, and nothing is left half done.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from tests.integration.forks import FaultyServer
from tests.integration.server import PATIENCE_S, Answer, deployment
from tests.lifecycle.house import VALIDATE

from carrick.testing.fake_provider import Account, FakeProvider

#: Two writes and one of metadata; a second failure waits for a minute.
SETUP = """
@create_on_event(event="post-connection-creation", description="Register", waits=[0.01, 60])
async def function(ctx: EventContext) -> None:
    hook = await ctx.post("/webhooks", data={"url": "https://app.example/" + ctx.connection_id})
    await ctx.post("/api/echo", data={"connection": ctx.connection_id})
    await ctx.update_metadata(webhook_id=hook.data["id"])
"""
#: Removes what metadata names, what a setup left behind, and what one may have left behind.
CLEANUP = """
@create_on_event(event="pre-connection-deletion", description="Remove", waits=[0.01])
async def function(ctx: EventContext) -> None:
    found = {(await ctx.get_metadata()).get("webhook_id")}
    for effect in ctx.effects:
        if effect.endpoint == "/webhooks" and effect.data:
            found.add(effect.data["id"])
        elif effect.endpoint == "/webhooks":
            url = "https://app.example/" + ctx.connection_id
            hooks = (await ctx.get("/webhooks")).data["webhooks"]
            found |= {hook["id"] for hook in hooks if hook["url"] == url}
    for webhook_id in sorted(found - {None}):
        await ctx.delete("/webhooks/" + webhook_id)
"""
FUNCTIONS = {"check": VALIDATE, "set-up": SETUP, "clean-up": CLEANUP}


@dataclass(frozen=True)
class Shown:
    """A connection as it can be seen from outside: by its API, and at its provider."""

    exists: bool = False
    #: Whose credentials are live.
    account: str | None = None
    is_broken: bool = False
    note: str | None = None
    setup: str | None = None
    webhooks: int = 0


ABSENT = Shown()


@dataclass
class Case:
    """One connection on one journey, with accounts of its own."""

    name: str
    account: Account
    other: Account
    integration_id: str = "acme"
    #: What a journey remembers between its steps.
    kept: dict[str, Any] = field(default_factory=dict)
    #: Notifications that were told before the journey.
    told: set[str] = field(default_factory=set)


@dataclass
class World:
    """A server that is killed again and again, and the provider it talks to."""

    server: FaultyServer
    provider: FakeProvider
    #: A Postgres database instead of the file, where nobody is told anything: what a dead process
    #: was about to send would be held for most of a minute.
    database_url: str | None = None
    _cases: int = 0

    # --- a case -----------------------------------------------------------------------------

    def case(self, journey: str) -> Case:
        """Return a new connection's name and two accounts for it."""
        self._cases += 1
        name = f"{journey}-{self._cases}"
        a, b = (self.provider.add_account(f"{name}-{letter}") for letter in "ab")
        return Case(name, a, b)

    async def kill_at(
        self, point: str, passing: int, case: Case, act: Callable[[], Awaitable[Answer]]
    ) -> tuple[Answer | None, bool]:
        """Go on a journey that is cut off at a point; return what was heard, and whether it was.

        What a journey starts in the background belongs to it.
        """
        self.server.arm(point, passing)
        heard = None
        with suppress(aiohttp.ClientError):
            heard = await act()
        died = await self._dies(case)
        self.server.disarm()
        self.provider.recover()  # a fault that was not met would meet another case
        if died:
            await self.server.death()
            await self.server.start()
        await self.settled(case)
        return heard, died

    async def _dies(self, case: Case) -> bool:
        async with asyncio.timeout(PATIENCE_S):
            while not self.server.is_dead:
                if not await self.unsettled(case) and await self._is_idle():
                    return self.server.is_dead
                await asyncio.sleep(0.01)
        return True

    async def _is_idle(self) -> bool:
        """Whether it answers a few more calls: whatever it was about to do, it has done."""
        try:
            for _ in range(3):
                await self.server.call("GET", "/live")
        except aiohttp.ClientError:
            return False
        return True

    async def settled(self, case: Case) -> None:
        """Wait until nothing is left to do for a case."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while await self.unsettled(case):
                    await asyncio.sleep(0.01)
        except TimeoutError:
            left = await self.unsettled(case)
            raise AssertionError(f"{case.name} does not settle: {left}") from None

    async def unsettled(self, case: Case) -> list[tuple[Any, ...]]:
        """Return what is still to be done for a case: events, and notifications."""
        soon = "now() + interval '30 seconds'"
        if self.database_url is None:
            soon = "datetime('now', '+30 seconds')"
        mine = f"connection_row_id IN (SELECT id FROM connections WHERE {self.of(case)})"
        return await self.read(
            "SELECT function, state, attempt, due_at FROM lifecycle_events "
            f"WHERE {mine} AND (state = 'running' OR state = 'waiting' "
            f"AND due_at < {soon}) "
            f"UNION ALL SELECT kind, state, attempt, due_at FROM notifications "
            f"WHERE {mine} AND state = 'waiting'"
        )

    @staticmethod
    def of(case: Case) -> str:
        """Return the SQL that finds a case's connections: by id, or by end user."""
        end_user = f"SELECT id FROM end_users WHERE end_user_id = '{case.name}'"
        return f"(connection_id LIKE '{case.name}%' OR end_user_row_id IN ({end_user}))"

    async def read(self, statement: str) -> list[tuple[Any, ...]]:
        """Read the server's own database beside it."""
        if self.database_url is not None:
            postgres = await asyncpg.connect(self.database_url)
            try:
                return [tuple(row) for row in await postgres.fetch(statement)]
            finally:
                await postgres.close()
        path = f"file:{self.server.data_dir}/carrick.db?mode=ro"
        connection = sqlite3.connect(path, uri=True)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    # --- what is seen -----------------------------------------------------------------------

    async def name_of(self, case: Case) -> str:
        """Return the id of a case's connection, which the server chose if it was a browser's."""
        statement = f"SELECT connection_id FROM connections WHERE {self.of(case)} LIMIT 1"
        found = await self.read(statement)
        return str(found[0][0]) if found else case.name

    async def shown(self, case: Case) -> Shown:
        """Look at a connection from outside."""
        name = await self.name_of(case)
        hooks = [one for one in self.provider.webhooks if one.url.endswith(f"/{name}")]
        path = f"/connections/{name}?provider_config_key={case.integration_id}"
        answer = await self.ask("GET", path, None, case.kept.get("key"))
        gone = ("not_found", "unknown_connection", "unknown_provider_config", "unknown_account")
        if answer.status >= 400 and answer.code in gone:
            return Shown(webhooks=len(hooks))
        if answer.status == 424:
            return Shown(True, None, True, webhooks=len(hooks))
        assert answer.status == 200, answer.text
        seen = answer.json
        metadata = seen["metadata"] or {}
        if seen["setup"] == "done" and "webhook_id" in metadata:
            assert [one.id for one in hooks] == [metadata["webhook_id"]]
        return Shown(
            exists=True,
            account=self._owner(case, seen["credentials"]),
            note=metadata.get("note"),
            setup=seen["setup"],
            webhooks=len(hooks),
        )

    def _owner(self, case: Case, credentials: Mapping[str, Any]) -> str | None:
        secret = credentials.get("apiKey") or credentials.get("access_token")
        for account in (case.account, case.other):
            if secret in (account.api_key, account.access_token, case.kept.get(account.name)):
                return account.name
        return None

    async def news(self, case: Case) -> dict[str, Any]:
        """Return what the app was told of a connection, by the notification's id.

        One that came twice came with the same id and the same words.
        """
        found: dict[str, Any] = {}
        names = (case.name, await self.name_of(case))
        for one in self.provider.notifications:
            if one.json().get("connectionId", "").startswith(names):
                key = one.headers["webhook-id"]
                assert found.setdefault(key, one.json()) == one.json()
        return found

    # --- what always holds ------------------------------------------------------------------

    async def expect_nothing_half_done(self, case: Case) -> None:
        """Check what holds whatever became of a journey."""
        await self._expect_writes_once(case)
        await self._expect_operations_follow_events(case)
        await self._expect_store_in_order(case)

    async def _expect_writes_once(self, case: Case) -> None:
        """Nothing was sent twice but what the operation says it does not know the outcome of."""
        sends: Counter[tuple[str, str, str | None]] = Counter()
        keys: dict[tuple[str, str, str], set[str | None]] = defaultdict(set)
        for call in self.provider.calls:
            is_ours = (call.account or "").startswith(f"{case.name}-")
            if is_ours and call.idempotency_key and (call.status or 0) < 300:
                sends[(call.method, call.path, call.idempotency_key)] += 1
                keys[(call.method, call.path, call.body)].add(call.idempotency_key)
        assert all(len(each) == 1 for each in keys.values()), keys
        again = {key for key, count in sends.items() if count > 1}
        if again:
            said = json.dumps(await self.server.operations(type="events"))
            for method, path, _ in again:
                assert f"{method} {path}: the outcome of an earlier send is unknown" in said

    async def _expect_operations_follow_events(self, case: Case) -> None:
        """An operation is open exactly as long as there is something to be done for it."""
        open_ = "state IN ('waiting', 'running')"
        unfinished = f"SELECT operation_id FROM lifecycle_events WHERE {open_}"
        name = await self.name_of(case)
        found = await self.read(
            f"SELECT id, function, state FROM operations WHERE connection_id = '{name}' "
            f"AND ({open_}) <> (id IN ({unfinished}))"
        )
        assert found == []

    async def _expect_store_in_order(self, case: Case) -> None:
        like = self.of(case)
        held = await self.read(
            f"SELECT state FROM connections WHERE {like} AND state = 'gone' AND "
            "(credentials IS NOT NULL OR metadata IS NOT NULL "
            "OR CAST(connection_config AS text) <> '{}')"
        )
        assert held == []
        left = (
            "SELECT connection_row_id FROM lifecycle_events "
            "WHERE state IN ('waiting', 'running', 'parked')"
        )
        stuck = f"SELECT id FROM connections WHERE {like} AND state = 'deleting'"
        assert await self.read(f"{stuck} AND id NOT IN ({left})") == [], "deleted, and never gone"
        unclaimed = "SELECT count(*) FROM journal_entries WHERE connection_row_id IS NULL"
        assert await self.read(unclaimed) == [(0,)]
        if self.database_url is not None:
            return  # a lease that nobody needs is left to run out
        taken = f"SELECT mailbox_owner FROM connections WHERE {like} AND mailbox_owner IS NOT NULL"
        assert await self.read(taken) == []
        assert await self.read("PRAGMA integrity_check") == [("ok",)]

    # --- what journeys are made of ----------------------------------------------------------

    async def deploy(
        self, integrations: Mapping[str, Mapping[str, str]], secret_key: str | None = None
    ) -> Answer:
        """Deploy a project: functions by name, by integration."""
        return await self.ask("POST", "/deployments", deployment(integrations), secret_key)

    async def ask(self, method: str, path: str, body: Any, secret_key: str | None = None) -> Answer:
        """Ask with another environment's key."""
        if secret_key is None:
            return await self.server.call(method, path, body)
        headers = {"Authorization": f"Bearer {secret_key}"}
        return await self.server.call(method, path, body, headers=headers, signed=False)

    async def connect(self, case: Case, account: Account, **changes: Any) -> Answer:
        """Connect or reconnect a case by an account's API key."""
        changes.setdefault("provider_config_key", case.integration_id)
        return await self.server.connect(account, case.name, **changes)


@asynccontextmanager
async def world(directory: Path, database_url: str | None = None) -> AsyncIterator[World]:
    """A server with an API key integration and an OAuth one, and everything deployed for both."""
    async with FakeProvider(honour_idempotency_keys=True) as provider:
        directory.mkdir(parents=True, exist_ok=True)
        settings = {"CARRICK_ISOLATION": "none"}
        if database_url is not None:
            settings |= {"CARRICK_DATABASE_URL": database_url, "CARRICK_WEBHOOK_URL_DEV": ""}
        server = FaultyServer(directory, provider, settings)
        server.disarm()
        async with server:
            made = World(server, provider, database_url)
            if database_url is None:
                _allow_everything(server)
            every = {"on_connection_deletion": True}
            assert (await server.call("PATCH", "/environment/settings", every)).status == 200
            await server.integrate()
            await server.integrate("oauth", provider="oauth2", **oauth(provider))
            deployed = await made.deploy({"acme": FUNCTIONS, "oauth": FUNCTIONS})
            assert deployed.status == 200, deployed.text
            yield made


def _allow_everything(server: FaultyServer) -> None:
    """Let the key make and delete environments, which no key of a new server may."""
    connection = sqlite3.connect(server.data_dir / "carrick.db")
    with connection:
        connection.execute("""UPDATE api_keys SET scopes = '["environment:*", "account:*"]'""")
    connection.close()


def oauth(provider: FakeProvider) -> dict[str, Any]:
    """Return what an OAuth integration with the fake provider needs."""
    return {
        "credentials": {
            "type": "OAUTH2",
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
            "scopes": "read",
        },
        "integration_config": {
            "authorization_url": f"{provider.url}/oauth/authorize",
            "token_url": f"{provider.url}/oauth/token",
            "base_url": provider.url,
        },
    }
