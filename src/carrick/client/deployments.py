"""What runs: deployments, functions and dry runs."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from carrick.client.transport import Transport, data_of, given, part
from carrick.model.json import JSONObject

#: A deploy may install packages and imports the whole project, in seconds.
_DEPLOY_TIMEOUT_S = 900.0
#: A dry run may take the function's whole time limit, in seconds.
_DRY_RUN_TIMEOUT_S = 3700.0

Scope = Mapping[str, Sequence[str]]


class Deployments(Transport):
    """Deployments, functions and dry runs."""

    async def preview_deployment(self, bundle: bytes, scope: Scope | None = None) -> JSONObject:
        """Say what deploying a bundle would change."""
        body = {"bundle": _base64(bundle), "scope": scope}
        return data_of(
            await self._call("POST", "/deployments/preview", body, timeout_s=_DEPLOY_TIMEOUT_S)
        )

    async def deploy(
        self, bundle: bytes, scope: Scope | None = None, *, allow_removals: bool = False
    ) -> JSONObject:
        """Deploy a bundle."""
        body = {"bundle": _base64(bundle), "scope": scope, "allow_removals": allow_removals}
        return data_of(await self._call("POST", "/deployments", body, timeout_s=_DEPLOY_TIMEOUT_S))

    async def deployments(self, *, limit: int = 20) -> list[JSONObject]:
        """Return the environment's newest deployments."""
        return await self._listed("/deployments", limit=limit)

    async def activate_deployment(self, number: int) -> JSONObject:
        """Make an earlier deployment the active one again."""
        return data_of(await self._call("POST", f"/deployments/{number}/activate", {}))

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
        return data_of(
            await self._call("POST", "/dryruns", given(body), timeout_s=_DRY_RUN_TIMEOUT_S)
        )

    async def functions(self, integration_id: str) -> list[JSONObject]:
        """Return the functions that are deployed for an integration."""
        answer = await self._call("GET", f"/integrations/{part(integration_id)}/functions")
        return list(answer["data"])


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
