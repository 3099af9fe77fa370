"""The two servers of these tests as a test talks to them: the hub and Carrick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp

from carrick.demo.server import Server


@dataclass
class Hub:
    """A running JupyterHub, asked with the rights of its administrator."""

    url: str
    token: str
    http: aiohttp.ClientSession

    async def issue_token(self, user: str) -> str:
        """Make an API token of a user's own, as the user would on the hub's token page."""
        body = await self._ask("POST", f"/users/{user}/tokens", {"note": "made by the test"})
        return str(body["token"])

    async def tokens(self, user: str) -> dict[str, str]:
        """Return the notes of a user's API tokens by id."""
        body = await self._ask("GET", f"/users/{user}/tokens")
        return {one["id"]: one["note"] for one in body["api_tokens"]}

    async def remove_token(self, user: str, token_id: str) -> None:
        """Take a token away behind Carrick's back."""
        await self._ask("DELETE", f"/users/{user}/tokens/{token_id}")

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"token {self.token}"}
        url = f"{self.url}/hub/api{path}"
        async with self.http.request(method, url, json=body, headers=headers) as answer:
            answer.raise_for_status()
            return await answer.json() if answer.status != 204 else None


@dataclass
class Carrick:
    """A running Carrick server with the JupyterHub example deployed."""

    server: Server
    http: aiohttp.ClientSession

    async def call(
        self, method: str, path: str, body: Any = None, *, with_key: bool = True
    ) -> tuple[int, Any]:
        """Call the API; return status and parsed body."""
        headers = {"Authorization": f"Bearer {self.server.secret_key}"} if with_key else {}
        url = self.server.url + path
        async with self.http.request(method, url, json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)
