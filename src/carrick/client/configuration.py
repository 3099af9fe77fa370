"""How a server is set up: integrations, providers, environments and keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from carrick.client.transport import Transport, data_of, part
from carrick.model.json import JSONObject


class Configuration(Transport):
    """Integrations, providers, environments, variables and API keys."""

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
        return data_of(await self._call("POST", "/integrations", body))

    async def integration(self, integration_id: str) -> JSONObject:
        """Return an integration."""
        return data_of(await self._call("GET", f"/integrations/{part(integration_id)}"))

    async def change_integration(
        self, integration_id: str, changes: Mapping[str, Any]
    ) -> JSONObject:
        """Change fields of an integration, by their names in `PATCH /integrations`; others stay."""
        path = f"/integrations/{part(integration_id)}"
        return data_of(await self._call("PATCH", path, changes))

    async def delete_integration(self, integration_id: str) -> JSONObject:
        """Delete an integration; each of its connections is cleaned up."""
        found: JSONObject = await self._call("DELETE", f"/integrations/{part(integration_id)}")
        return found

    async def providers(self, search: str | None = None) -> list[JSONObject]:
        """Return the provider catalogue."""
        answer = await self._call("GET", "/providers", query={"search": search})
        return list(answer["data"])

    async def provider(self, name: str) -> JSONObject:
        """Return one provider's definition."""
        return data_of(await self._call("GET", f"/providers/{part(name)}"))

    async def environments(self) -> list[JSONObject]:
        """Return the server's environments."""
        answer = await self._call("GET", "/environments")
        return list(answer["data"])

    async def create_environment(self, name: str) -> JSONObject:
        """Make an environment; its API key is in the answer, this once.

        The client's key needs the scope `account:environments:create`.
        """
        return data_of(await self._call("POST", "/environments", {"name": name}))

    async def delete_environment(self, name: str) -> None:
        """Delete an environment; each of its connections is cleaned up.

        The client's key needs the scope `account:environments:delete`.
        """
        await self._call("DELETE", f"/environments/{part(name)}")

    async def variables(self) -> list[JSONObject]:
        """Return the environment's variables as `{name, value}`."""
        return list(await self._call("GET", "/environment-variables"))

    async def set_variables(self, variables: Mapping[str, str | None]) -> None:
        """Set environment variables; `None` removes one."""
        await self._call("POST", "/environment-variables", {"variables": dict(variables)})

    async def environment_settings(self) -> JSONObject:
        """Return the environment's settings."""
        return data_of(await self._call("GET", "/environment/settings"))

    async def change_environment_settings(self, changes: Mapping[str, Any]) -> JSONObject:
        """Change settings of the environment; `None` resets one, others stay."""
        return data_of(await self._call("PATCH", "/environment/settings", dict(changes)))

    async def rotate_signing_key(self) -> str:
        """Replace the key that notifications are signed with and return the new one."""
        answer = data_of(await self._call("POST", "/environment/webhook-signing-key/rotate", {}))
        return str(answer["webhook_signing_key"])

    async def api_keys(self) -> list[JSONObject]:
        """Return the environment's API keys, without their texts."""
        answer = await self._call("GET", "/environment/api-keys")
        return list(answer["data"])

    async def create_api_key(self, display_name: str, scopes: Sequence[str]) -> JSONObject:
        """Make an API key that may do no more than this one; its `secret` is told this once."""
        body = {"display_name": display_name, "scopes": list(scopes)}
        return data_of(await self._call("POST", "/environment/api-keys", body))

    async def delete_api_key(self, key_id: int) -> None:
        """Delete an API key; within 5 s no server takes it any more."""
        await self._call("DELETE", "/environment/api-keys", query={"id": str(key_id)})
