"""What customers connected: sessions, connections, and calls with their credentials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from carrick.client.answers import read
from carrick.client.transport import Answer, Transport, data_of, given, part
from carrick.model.json import JSONObject

#: On answers of a provider that the server passed on.
_ANSWERED_BY = "carrick-answered-by"


class Accounts(Transport):
    """Connect sessions, connections, metadata and proxied calls."""

    async def create_connect_session(
        self,
        end_user: Mapping[str, Any] | None = None,
        *,
        tags: Mapping[str, str] | None = None,
        allowed_integrations: Sequence[str] | None = None,
        **more: Any,
    ) -> JSONObject:
        """Permit an end user to connect; the token and the link are good for half an hour.

        Args:
            end_user: Who it is: `id`, and if you like `email`, `display_name` and `tags`. It may
                be left out where there are `tags`.
            tags: Kept with what is connected, e.g. to find it again.
            allowed_integrations: What may be connected; everything by default.
            more: Other fields of `POST /connect/sessions`, by their names there.

        Returns:
            `token`, `connect_link` and `expires_at`.
        """
        body = {"end_user": end_user, "tags": tags, "allowed_integrations": allowed_integrations}
        return data_of(await self._call("POST", "/connect/sessions", given({**body, **more})))

    async def create_reconnect_session(
        self, connection_id: str, integration_id: str, **more: Any
    ) -> JSONObject:
        """Permit an end user to reconnect a connection.

        Args:
            connection_id: Which one.
            integration_id: Whose.
            more: Other fields of `POST /connect/sessions/reconnect`, by their names there.
        """
        body = {"connection_id": connection_id, "integration_id": integration_id, **more}
        return data_of(await self._call("POST", "/connect/sessions/reconnect", given(body)))

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

    async def connection(
        self, connection_id: str, integration_id: str, *, force_refresh: bool = False
    ) -> JSONObject:
        """Return a connection with its credentials, which are refreshed when they are due.

        Args:
            connection_id: Which one.
            integration_id: Whose.
            force_refresh: Refresh them whether they are due or not.
        """
        query = {
            "provider_config_key": integration_id,
            "force_refresh": "true" if force_refresh else None,
        }
        path = f"/connections/{part(connection_id)}"
        found: JSONObject = await self._call("GET", path, query=query)
        return found

    async def change_connection(
        self, connection_id: str, integration_id: str, changes: Mapping[str, Any]
    ) -> None:
        """Change a connection's `tags`, `end_user` or `webhook_url_override`; others stay."""
        query = {"provider_config_key": integration_id}
        await self._call("PATCH", f"/connections/{part(connection_id)}", changes, query=query)

    async def delete_connection(self, connection_id: str, integration_id: str) -> JSONObject:
        """Delete a connection; the answer says what became of its cleanup."""
        query = {"provider_config_key": integration_id}
        path = f"/connections/{part(connection_id)}"
        found: JSONObject = await self._call("DELETE", path, query=query)
        return found

    async def import_connection(self, body: Mapping[str, Any]) -> JSONObject:
        """Create a connection from credentials, or reconnect it when it exists."""
        found: JSONObject = await self._call("POST", "/connections", body)
        return found

    async def set_metadata(
        self, connection_id: str | Sequence[str], integration_id: str, metadata: Mapping[str, Any]
    ) -> None:
        """Replace the metadata of a connection, or of several."""
        await self._call(
            "POST", "/connections/metadata", _written(connection_id, integration_id, metadata)
        )

    async def update_metadata(
        self, connection_id: str | Sequence[str], integration_id: str, metadata: Mapping[str, Any]
    ) -> None:
        """Write some keys of the metadata of a connection, or of several; others stay."""
        await self._call(
            "PATCH", "/connections/metadata", _written(connection_id, integration_id, metadata)
        )

    async def proxy(
        self,
        method: str,
        endpoint: str,
        *,
        connection_id: str,
        integration_id: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | Mapping[str, Any] | Sequence[Any] | None = None,
        retries: int = 0,
        base_url: str | None = None,
    ) -> Answer:
        """Call a provider with a connection's credentials.

        Args:
            method: E.g. `GET`.
            endpoint: The path at the provider, e.g. `/v1/contacts`.
            connection_id: Whose credentials.
            integration_id: Of which integration.
            params: The query string.
            headers: Sent to the provider beside those that sign the call.
            data: The body: bytes as they are, anything else as JSON.
            retries: How often the server tries again what may succeed later, at most 20 times.
            base_url: The provider's address, where it is not the one of the catalogue.

        Returns:
            What the provider answered, whatever its status.

        Raises:
            ApiError: The call was not made, or nobody answered it.
        """
        steering = {
            "Provider-Config-Key": integration_id,
            "Connection-Id": connection_id,
            "Retries": str(retries) if retries else None,
            "Base-Url-Override": base_url,
            **{f"Nango-Proxy-{name}": value for name, value in (headers or {}).items()},
        }
        path = f"/proxy/{endpoint.removeprefix('/')}"
        answer = await self._send(method, path, data, query=params, headers=steering)
        if _ANSWERED_BY not in answer.headers:
            read(answer.status, answer.content)  # which raises what Carrick itself has to say
        return answer


def _written(
    connection_id: str | Sequence[str], integration_id: str, metadata: Mapping[str, Any]
) -> JSONObject:
    ids = connection_id if isinstance(connection_id, str) else list(connection_id)
    return {"connection_id": ids, "provider_config_key": integration_id, "metadata": dict(metadata)}
