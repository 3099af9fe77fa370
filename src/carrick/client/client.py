"""An asynchronous client of one environment of a Carrick server."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from carrick.client.answers import read, unanswered
from carrick.errors import InvalidPath
from carrick.model.json import JSONObject

#: Seconds to wait for a connection, and for an answer that includes running functions.
_CONNECT_TIMEOUT_S = 5.0
_ANSWER_TIMEOUT_S = 120.0
#: A deploy may install packages and imports the whole project, in seconds.
_DEPLOY_TIMEOUT_S = 900.0
#: A dry run may take the function's whole time limit, in seconds.
_DRY_RUN_TIMEOUT_S = 3700.0

#: Lines of an operation that are asked for at a time: the most a server gives.
_MESSAGES = 1000

Scope = Mapping[str, Sequence[str]]


class Client:
    """Calls a Carrick server with an environment's API key. Use as `async with Client(...)`."""

    def __init__(self, server_url: str, secret_key: str | None = None) -> None:
        """Build the client; nothing is sent yet.

        Args:
            server_url: Where the server is, e.g. `http://127.0.0.1:3003`.
            secret_key: The environment's API key; only `health` works without one.
        """
        self.server_url = server_url.rstrip("/")
        self._secret_key = secret_key
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections to the server."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def health(self) -> JSONObject:
        """Say whether the server is up and can run functions.

        Raises:
            ApiError: It is up and cannot (yet).
        """
        found: JSONObject = await self._call("GET", "/health")
        return found

    # --- deployments and dry runs -----------------------------------------------------------

    async def preview_deployment(self, bundle: bytes, scope: Scope | None = None) -> JSONObject:
        """Say what deploying a bundle would change."""
        body = {"bundle": _base64(bundle), "scope": scope}
        return _data(
            await self._call("POST", "/deployments/preview", body, timeout_s=_DEPLOY_TIMEOUT_S)
        )

    async def deploy(
        self, bundle: bytes, scope: Scope | None = None, *, allow_removals: bool = False
    ) -> JSONObject:
        """Deploy a bundle."""
        body = {"bundle": _base64(bundle), "scope": scope, "allow_removals": allow_removals}
        return _data(await self._call("POST", "/deployments", body, timeout_s=_DEPLOY_TIMEOUT_S))

    async def deployments(self, *, limit: int = 20) -> list[JSONObject]:
        """Return the environment's newest deployments."""
        return await self._list("/deployments", limit=limit)

    async def activate_deployment(self, number: int) -> JSONObject:
        """Make an earlier deployment the active one again."""
        return _data(await self._call("POST", f"/deployments/{number}/activate", {}))

    async def dry_run(
        self,
        function: str,
        connection_id: str,
        *,
        integration_id: str | None = None,
        operation: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        live: bool = False,
        bundle: bytes | None = None,
    ) -> JSONObject:
        """Run a function against a real connection; its writes are made only when `live`.

        Args:
            function: Its name.
            connection_id: The connection it runs against.
            integration_id: Needed when functions of several integrations have that name.
            operation: `creation`, `reconnect`, `import` or `deletion`.
            metadata: What the function sees instead of the connection's metadata.
            live: Make the writes.
            bundle: The project whose function runs; what is deployed by default.
        """
        body = {
            "function": function,
            "connection_id": connection_id,
            "integration_id": integration_id,
            "operation": operation,
            "metadata": dict(metadata) if metadata is not None else None,
            "live": live,
            "bundle": _base64(bundle) if bundle is not None else None,
        }
        given = {name: value for name, value in body.items() if value is not None}
        return _data(await self._call("POST", "/dryruns", given, timeout_s=_DRY_RUN_TIMEOUT_S))

    # --- what happened ----------------------------------------------------------------------

    async def operations(
        self,
        *,
        state: str | None = None,
        type: str | None = None,  # noqa: A002 - the name on the wire
        integration_id: str | None = None,
        connection_id: str | None = None,
        limit: int = 50,
    ) -> list[JSONObject]:
        """Return the newest operations."""
        filters = {
            "state": state,
            "type": type,
            "integration_id": integration_id,
            "connection_id": connection_id,
        }
        return await self._list("/operations", filters, limit=limit)

    async def operation(self, operation_id: str) -> JSONObject:
        """Return an operation with all of its messages."""
        path = f"/operations/{_part(operation_id)}"
        query = {"limit": str(_MESSAGES)}
        found = _data(await self._call("GET", path, query=query))
        page = messages = list(found["messages"])
        while len(page) == _MESSAGES:
            after = {**query, "after": str(page[-1]["id"])}
            page = list(_data(await self._call("GET", path, query=after))["messages"])
            messages += page
        return {**found, "messages": messages}

    async def retry_operation(self, operation_id: str) -> JSONObject:
        """Run a failed setup again."""
        return _data(await self._call("POST", f"/operations/{_part(operation_id)}/retry", {}))

    async def cleanups(self, *, state: str | None = None, limit: int = 50) -> list[JSONObject]:
        """Return the cleanups that are not done, parked ones first, or only those (`parked`)."""
        if state is not None:
            return await self._list("/cleanups", {"state": state}, limit=limit)
        # Asked for apart: a page of the others may be full before the first parked one comes.
        parked = await self._list("/cleanups", {"state": "parked"}, limit=limit)
        unfinished = await self._list("/cleanups", {}, limit=limit)
        others = [one for one in unfinished if one["state"] != "parked"]
        return [*parked, *others][:limit]

    async def cleanup(self, cleanup_id: str) -> JSONObject:
        """Return a cleanup that is not done."""
        return _data(await self._call("GET", f"/cleanups/{_part(cleanup_id)}"))

    async def retry_cleanups(self, *, integration_id: str | None = None) -> int:
        """Try every parked cleanup again, or those of one integration; return how many."""
        body: JSONObject = {"integration_id": integration_id} if integration_id else {}
        return int(str(_data(await self._call("POST", "/cleanups/retry", body))["retried"]))

    async def retry_cleanup(self, cleanup_id: str) -> JSONObject:
        """Try a parked cleanup again."""
        return _data(await self._call("POST", f"/cleanups/{_part(cleanup_id)}/retry", {}))

    async def force_cleanup(self, cleanup_id: str, reason: str) -> JSONObject:
        """Give a cleanup up, so that its connection can go; the reason is recorded."""
        body = {"reason": reason}
        return _data(await self._call("POST", f"/cleanups/{_part(cleanup_id)}/force", body))

    async def notifications(
        self,
        *,
        state: str | None = None,
        integration_id: str | None = None,
        connection_id: str | None = None,
        limit: int = 50,
    ) -> list[JSONObject]:
        """Return the newest notifications to the app."""
        filters = {
            "state": state,
            "integration_id": integration_id,
            "connection_id": connection_id,
        }
        return await self._list("/notifications", filters, limit=limit)

    async def notification(self, notification_id: str) -> JSONObject:
        """Return a notification with its body and every attempt at it."""
        return _data(await self._call("GET", f"/notifications/{_part(notification_id)}"))

    async def retry_notification(self, notification_id: str) -> JSONObject:
        """Send a notification now that waits or was given up."""
        path = f"/notifications/{_part(notification_id)}/retry"
        return _data(await self._call("POST", path, {}))

    # --- the wire contract's own ------------------------------------------------------------

    async def connections(
        self,
        *,
        integration_id: str | None = None,
        search: str | None = None,
        connection_id: str | None = None,
        limit: int = 50,
    ) -> list[JSONObject]:
        """Return the newest connections."""
        filters = {
            "integrationId": integration_id,
            "search": search,
            "connectionId": connection_id,
            "limit": str(limit),
        }
        answer = await self._call("GET", "/connections", query=filters)
        return list(answer["connections"])

    async def connection(self, connection_id: str, integration_id: str) -> JSONObject:
        """Return a connection with its credentials."""
        query = {"provider_config_key": integration_id}
        path = f"/connections/{_part(connection_id)}"
        found: JSONObject = await self._call("GET", path, query=query)
        return found

    async def delete_connection(self, connection_id: str, integration_id: str) -> JSONObject:
        """Delete a connection; the answer says what became of its cleanup."""
        query = {"provider_config_key": integration_id}
        path = f"/connections/{_part(connection_id)}"
        found: JSONObject = await self._call("DELETE", path, query=query)
        return found

    async def import_connection(self, body: Mapping[str, Any]) -> JSONObject:
        """Create a connection from credentials, or reconnect it when it exists."""
        found: JSONObject = await self._call("POST", "/connections", body)
        return found

    async def integrations(self) -> list[JSONObject]:
        """Return the environment's integrations."""
        answer = await self._call("GET", "/integrations")
        return list(answer["data"])

    async def create_integration(
        self,
        integration_id: str,
        provider: str,
        *,
        display_name: str | None = None,
        credentials: Mapping[str, Any] | None = None,
        integration_config: Mapping[str, str] | None = None,
    ) -> JSONObject:
        """Configure a provider for the environment."""
        body: dict[str, Any] = {"unique_key": integration_id, "provider": provider}
        if display_name is not None:
            body["display_name"] = display_name
        if credentials is not None:
            body["credentials"] = dict(credentials)
        if integration_config is not None:
            body["integration_config"] = dict(integration_config)
        return _data(await self._call("POST", "/integrations", body))

    async def delete_integration(self, integration_id: str) -> JSONObject:
        """Delete an integration; each of its connections is cleaned up."""
        found: JSONObject = await self._call("DELETE", f"/integrations/{_part(integration_id)}")
        return found

    async def providers(self, search: str | None = None) -> list[JSONObject]:
        """Return the provider catalogue."""
        answer = await self._call("GET", "/providers", query={"search": search})
        return list(answer["data"])

    async def provider(self, name: str) -> JSONObject:
        """Return one provider's definition."""
        return _data(await self._call("GET", f"/providers/{_part(name)}"))

    async def environments(self) -> list[JSONObject]:
        """Return the server's environments."""
        answer = await self._call("GET", "/environments")
        return list(answer["data"])

    async def create_environment(self, name: str) -> JSONObject:
        """Make an environment; its API key is in the answer, this once.

        The client's key needs the scope `account:environments:create`.
        """
        return _data(await self._call("POST", "/environments", {"name": name}))

    async def delete_environment(self, name: str) -> None:
        """Delete an environment; each of its connections is cleaned up.

        The client's key needs the scope `account:environments:delete`.
        """
        await self._call("DELETE", f"/environments/{_part(name)}")

    async def variables(self) -> list[JSONObject]:
        """Return the environment's variables as `{name, value}`."""
        return list(await self._call("GET", "/environment-variables"))

    async def set_variables(self, variables: Mapping[str, str | None]) -> None:
        """Set environment variables; `None` removes one."""
        await self._call("POST", "/environment-variables", {"variables": dict(variables)})

    async def environment_settings(self) -> JSONObject:
        """Return the environment's settings."""
        return _data(await self._call("GET", "/environment/settings"))

    async def change_environment_settings(self, changes: Mapping[str, Any]) -> JSONObject:
        """Change settings of the environment; `None` resets one, others stay."""
        return _data(await self._call("PATCH", "/environment/settings", dict(changes)))

    async def rotate_signing_key(self) -> str:
        """Replace the key that notifications are signed with and return the new one."""
        answer = _data(await self._call("POST", "/environment/webhook-signing-key/rotate", {}))
        return str(answer["webhook_signing_key"])

    # --- inside -----------------------------------------------------------------------------

    async def _list(
        self, path: str, filters: Mapping[str, str | None] | None = None, *, limit: int
    ) -> list[JSONObject]:
        return [row async for row in self._pages(path, filters or {}, limit)]

    async def _pages(
        self, path: str, filters: Mapping[str, str | None], limit: int
    ) -> AsyncIterator[JSONObject]:
        cursor: str | None = None
        while limit > 0:
            query = {**filters, "limit": str(min(limit, 100)), "cursor": cursor}
            answer = await self._call("GET", path, query=query)
            for row in answer["data"]:
                yield row
            limit -= len(answer["data"])
            cursor = answer.get("next_cursor")
            if not cursor or not answer["data"]:
                return

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str | None] | None = None,
        timeout_s: float = _ANSWER_TIMEOUT_S,
    ) -> Any:
        headers = {"Accept": "application/json"}
        if self._secret_key:
            headers["Authorization"] = f"Bearer {self._secret_key}"
        given = {name: value for name, value in (query or {}).items() if value is not None}
        timeout = aiohttp.ClientTimeout(total=timeout_s, connect=_CONNECT_TIMEOUT_S)
        try:
            async with self._http().request(
                method,
                f"{self.server_url}{path}",
                params=given,
                json=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,  # the key goes to the server that was named, nowhere else
            ) as answer:
                content = await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise unanswered(self.server_url, method, error) from error
        return read(status, content)

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session


def _data(answer: Any) -> JSONObject:
    """Take what a route answered out of its `data` envelope, where it has one."""
    if isinstance(answer, dict) and isinstance(answer.get("data"), dict):
        return dict(answer["data"])
    return dict(answer)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _part(text: str) -> str:
    """Return an id as a part of a path.

    Raises:
        InvalidPath: It would not be a part: the path would be another one, of another route.
    """
    if text in ("", ".", ".."):
        raise InvalidPath(f'"{text}" is no id.')
    return quote(text, safe="")
