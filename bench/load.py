"""The calls that are timed, and what is asked between them."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiohttp

from bench.processes import Provider, Server

_SETTLED_WITHIN_S = 60.0
_CAUGHT_UP_WITHIN_S = 900.0

Call = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Made:
    """A connection that was made."""

    connection_id: str
    took_ms: float
    answered_at: float


class Load:
    """One app that uses a server."""

    def __init__(self, http: aiohttp.ClientSession, server: Server, provider: Provider) -> None:
        self._http = http
        self._server = server
        self._provider = provider
        self._headers = {"Authorization": f"Bearer {server.secret_key}"}

    # --- timed ------------------------------------------------------------------------------

    async def create(self, integration: str, *, base_url: str | None = None) -> Made:
        """Import a connection."""
        connection_id = str(uuid.uuid4())
        body = {
            "provider_config_key": integration,
            "connection_id": connection_id,
            "credentials": {"type": "API_KEY", "apiKey": self._provider.api_key},
            "connection_config": {"base_url": base_url or self._provider.url},
        }
        began_s = time.perf_counter()
        await self._ask("POST", "/connections", json=body)
        return Made(connection_id, _since_ms(began_s), time.time())

    async def connect(self, integration: str, token: str) -> Made:
        """Connect with an API key and a session token, as a browser does."""
        query = {"connect_session_token": token, "params[base_url]": self._provider.url}
        body = {"apiKey": self._provider.api_key}
        path = f"/api-auth/api-key/{integration}"
        began_s = time.perf_counter()
        answer = await self._ask("POST", path, json=body, params=query)
        return Made(answer["connectionId"], _since_ms(began_s), time.time())

    async def session(self, integration: str) -> tuple[str, float]:
        """Create a connect session; return its token and how long that took."""
        body = {"end_user": {"id": str(uuid.uuid4())}, "allowed_integrations": [integration]}
        began_s = time.perf_counter()
        answer = await self._ask("POST", "/connect/sessions", json=body)
        return str(answer["data"]["token"]), _since_ms(began_s)

    async def delete(self, integration: str, connection_id: str) -> float:
        """Delete a connection and return how long it took."""
        began_s = time.perf_counter()
        answer = await self._ask(
            "DELETE",
            f"/connections/{connection_id}",
            params={"provider_config_key": integration},
        )
        took_ms = _since_ms(began_s)
        assert answer["cleanup"] == "done", answer
        return took_ms

    def proxied(self, connection_id: str) -> Call:
        """Return a GET through the proxy."""
        headers = {
            **self._headers,
            "Provider-Config-Key": "plain",
            "Connection-Id": connection_id,
        }
        return self._get(f"{self._server.url}/proxy/api/me", headers)

    def direct(self) -> Call:
        """Return the same GET without the proxy."""
        headers = {"Authorization": f"Bearer {self._provider.api_key}"}
        return self._get(f"{self._provider.plain_url}/api/me", headers)

    async def each(self, call: Call, n: int) -> list[float]:
        """Make a call again and again and return how long each took."""
        took: list[float] = []
        for _ in range(n):
            began_s = time.perf_counter()
            await call()
            took.append(_since_ms(began_s))
        return took

    async def rate(self, call: Call, n: int, concurrency: int) -> float:
        """Make a call by many at once and return how many there were in a second."""
        began_s = time.perf_counter()
        await self._by_many(call, n, concurrency)
        return n / (time.perf_counter() - began_s)

    async def create_many(self, integration: str, n: int, concurrency: int) -> None:
        """Import connections, many at once."""

        async def create() -> None:
            await self.create(integration)

        await self._by_many(create, n, concurrency)

    # --- between ----------------------------------------------------------------------------

    async def integration(self, name: str) -> None:
        """Make an integration."""
        await self._ask("POST", "/integrations", json={"provider": "api-key", "unique_key": name})

    async def until_set_up(self, connection_id: str) -> None:
        """Wait until a connection says that its setup is done."""
        path, query = f"/connections/{connection_id}", {"provider_config_key": "whole"}
        async with asyncio.timeout(_SETTLED_WITHIN_S):
            while (await self._ask("GET", path, params=query))["setup"] != "done":
                await asyncio.sleep(0.01)

    async def until_setups(self, n: int) -> dict[str, float]:
        """Wait until that many setups have called the provider, and return when they did."""
        async with asyncio.timeout(_SETTLED_WITHIN_S):
            while len(reached := await self.setups_at()) < n:
                await asyncio.sleep(0.25)
        return reached

    async def setups_at(self) -> dict[str, float]:
        """Return when each connection's setup reached the provider."""
        async with self._http.get(f"{self._provider.url}/__control__/calls") as answer:
            calls: list[dict[str, Any]] = (await answer.json())["calls"]
        return {
            json.loads(call["body"])["url"].rpartition("/")[2]: datetime.fromisoformat(
                call["at"]
            ).timestamp()
            for call in calls
            if call["method"] == "POST" and call["path"] == "/webhooks"
        }

    async def fail_setups(self, *, is_down: bool) -> None:
        """Have the provider answer 503 to what setups ask of it, or be well again."""
        url = f"{self._provider.url}/__control__/faults"
        fault = {"kind": "status", "path": "/webhooks", "times": None, "status": 503}
        call = self._http.post(url, json=fault) if is_down else self._http.delete(url)
        async with call as answer:
            assert answer.status < 300, await answer.text()

    async def calls_of_setups(self) -> int:
        """Return how many calls of setups the provider has received."""
        async with self._http.get(f"{self._provider.url}/__control__/calls") as answer:
            calls: list[dict[str, Any]] = (await answer.json())["calls"]
        return sum(call["path"] == "/webhooks" for call in calls)

    async def until_webhooks(self, n: int) -> None:
        """Wait until the provider holds that many webhooks."""
        url = f"{self._provider.url}/__control__/webhooks"
        async with asyncio.timeout(_CAUGHT_UP_WITHIN_S):
            while True:
                async with self._http.get(url) as answer:
                    if len((await answer.json())["webhooks"]) >= n:
                        return
                await asyncio.sleep(1)

    async def forget_calls(self) -> None:
        """Have the provider forget what it received."""
        async with self._http.delete(f"{self._provider.url}/__control__/calls"):
            pass

    async def _by_many(self, call: Call, n: int, concurrency: int) -> None:
        async def work() -> None:
            for _ in range(n // concurrency):
                await call()

        await asyncio.gather(*(work() for _ in range(concurrency)))

    def _get(self, url: str, headers: dict[str, str]) -> Call:
        async def call() -> None:
            async with self._http.get(url, headers=headers) as answer:
                body = await answer.read()
                assert answer.status == 200, body

        return call

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        url = f"{self._server.url}{path}"
        async with self._http.request(method, url, headers=self._headers, **options) as answer:
            body = await answer.read()
            assert answer.status < 300, (method, path, answer.status, body)
            return json.loads(body)


def _since_ms(began_s: float) -> float:
    return (time.perf_counter() - began_s) * 1000
