"""The two servers of these tests as a test talks to them: the hub and Carrick."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import aiohttp

from carrick.demo.server import Server

#: Seconds that setup may take.
SETUP_WITHIN_S = 20.0
#: What the hub calls Carrick.
_CLIENT = "JupyterHub service carrick"


@dataclass(frozen=True)
class HubFacts:
    """Where a JupyterHub runs, and the secrets it was started with."""

    url: str
    #: Of its administrator.
    token: str
    #: Of all its users.
    password: str
    #: Of Carrick as one of its OAuth clients.
    client_secret: str


@dataclass
class Hub:
    """A running JupyterHub, asked with the rights of its administrator."""

    facts: HubFacts
    http: aiohttp.ClientSession

    @property
    def url(self) -> str:
        """Where it runs."""
        return self.facts.url

    async def issue_token(self, user: str) -> str:
        """Make an API token of a user's own, as the user would on the hub's token page."""
        body = await self._ask("POST", f"/users/{user}/tokens", {"note": "made by the test"})
        return str(body["token"])

    async def tokens(self, user: str) -> dict[str, str]:
        """Return the notes of a user's API tokens by id."""
        body = await self._ask("GET", f"/users/{user}/tokens")
        return {one["id"]: one["note"] for one in body["api_tokens"]}

    async def withdraw_consent(self, user: str) -> None:
        """Take back what a user let Carrick do, as the user would on the hub's token page."""
        body = await self._ask("GET", f"/users/{user}/tokens")
        given = [one["id"] for one in body["api_tokens"] if one["oauth_client"] == _CLIENT]
        if given:  # with one of a client's tokens the hub removes all of them
            await self.remove_token(user, given[0])

    async def remove_token(self, user: str, token_id: str) -> None:
        """Take a token away behind Carrick's back."""
        await self._ask("DELETE", f"/users/{user}/tokens/{token_id}")

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"token {self.facts.token}"}
        url = f"{self.url}/hub/api{path}"
        async with self.http.request(method, url, json=body, headers=headers) as answer:
            answer.raise_for_status()
            return await answer.json() if answer.status != 204 else None


@dataclass
class Carrick:
    """An environment of a running Carrick server, with the JupyterHub example deployed."""

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

    async def open_session(
        self, connection_id: str | None = None, *, end_user: str = "end-user-1"
    ) -> str:
        """Open a connect session, or a reconnect session of a connection; return its token."""
        path = "/connect/sessions"
        body: dict[str, Any] = {"allowed_integrations": ["jupyterhub"]}
        if connection_id is not None:
            path = "/connect/sessions/reconnect"
            body = {"connection_id": connection_id, "integration_id": "jupyterhub"}
        whose = {"id": end_user, "display_name": "Alice"}
        status, answer = await self.call("POST", path, {**body, "end_user": whose})
        assert status == 201, answer
        return str(answer["data"]["token"])

    async def get(self, connection_id: str, *, force: bool = False) -> tuple[int, Any]:
        """Return a connection as an API caller sees it."""
        query = "provider_config_key=jupyterhub" + ("&force_refresh=true" if force else "")
        return await self.call("GET", f"/connections/{connection_id}?{query}")

    async def connections(self) -> list[str]:
        """Return the ids of all connections."""
        _, body = await self.call("GET", "/connections")
        return [one["connection_id"] for one in body["connections"]]

    async def until_set_up(self, connection_id: str) -> dict[str, Any]:
        """Wait until the setup functions have ended, and return the connection."""
        async with asyncio.timeout(SETUP_WITHIN_S):
            while True:
                status, body = await self.get(connection_id)
                assert status == 200, body
                if body["setup"] != "pending":
                    return dict(body)

    async def delete(self, connection_id: str) -> tuple[int, Any]:
        """Delete a connection."""
        path = f"/connections/{connection_id}?provider_config_key=jupyterhub"
        return await self.call("DELETE", path)

    async def proxied(self, connection_id: str, path: str) -> tuple[int, Any]:
        """Read something at the hub with a connection's credentials."""
        headers = {
            "Authorization": f"Bearer {self.server.secret_key}",
            "Connection-Id": connection_id,
            "Provider-Config-Key": "jupyterhub",
        }
        async with self.http.get(f"{self.server.url}/proxy{path}", headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)
