"""The client for code that does not await. `make client` writes it from the other one."""

# ruff: noqa: A002 - `type` is the name on the wire

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from carrick.client.background import BackgroundLoop
from carrick.client.client import Client
from carrick.client.deployments import Scope
from carrick.client.transport import Answer
from carrick.model.json import JSONObject


class SyncClient:
    """Calls a Carrick server with an environment's API key. Use as `with SyncClient(...)`.

    Any thread may use it. A process that forks makes one in each child.
    """

    def __init__(self, server_url: str, secret_key: str | None = None) -> None:
        """Build the client; nothing is sent yet.

        Args:
            server_url: Where the server is, e.g. `http://127.0.0.1:3003`.
            secret_key: The environment's API key; only `health` works without one.
        """
        self._client = Client(server_url, secret_key)
        self._loop = BackgroundLoop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections to the server."""
        self._loop.run(self._client.close())
        self._loop.close()

    def health(self) -> JSONObject:
        """Say whether the server is up and can run functions.

        Raises:
            ApiError: It is up and cannot (yet).
        """
        return self._loop.run(self._client.health())

    def create_connect_session(
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
        return self._loop.run(
            self._client.create_connect_session(
                end_user, tags=tags, allowed_integrations=allowed_integrations, **more
            )
        )

    def create_reconnect_session(
        self, connection_id: str, integration_id: str, **more: Any
    ) -> JSONObject:
        """Permit an end user to reconnect a connection.

        Args:
            connection_id: Which one.
            integration_id: Whose.
            more: Other fields of `POST /connect/sessions/reconnect`, by their names there.
        """
        return self._loop.run(
            self._client.create_reconnect_session(connection_id, integration_id, **more)
        )

    def connections(
        self,
        *,
        integration_id: str | None = None,
        search: str | None = None,
        connection_id: str | None = None,
        limit: int = 50,
    ) -> list[JSONObject]:
        """Return the newest connections."""
        return self._loop.run(
            self._client.connections(
                integration_id=integration_id,
                search=search,
                connection_id=connection_id,
                limit=limit,
            )
        )

    def connection(
        self, connection_id: str, integration_id: str, *, force_refresh: bool = False
    ) -> JSONObject:
        """Return a connection with its credentials, which are refreshed when they are due.

        Args:
            connection_id: Which one.
            integration_id: Whose.
            force_refresh: Refresh them whether they are due or not.
        """
        return self._loop.run(
            self._client.connection(connection_id, integration_id, force_refresh=force_refresh)
        )

    def change_connection(
        self, connection_id: str, integration_id: str, changes: Mapping[str, Any]
    ) -> None:
        """Change a connection's `tags`, `end_user` or `webhook_url_override`; others stay."""
        self._loop.run(self._client.change_connection(connection_id, integration_id, changes))

    def delete_connection(self, connection_id: str, integration_id: str) -> JSONObject:
        """Delete a connection; the answer says what became of its cleanup."""
        return self._loop.run(self._client.delete_connection(connection_id, integration_id))

    def import_connection(self, body: Mapping[str, Any]) -> JSONObject:
        """Create a connection from credentials, or reconnect it when it exists."""
        return self._loop.run(self._client.import_connection(body))

    def set_metadata(
        self, connection_id: str | Sequence[str], integration_id: str, metadata: Mapping[str, Any]
    ) -> None:
        """Replace the metadata of a connection, or of several."""
        self._loop.run(self._client.set_metadata(connection_id, integration_id, metadata))

    def update_metadata(
        self, connection_id: str | Sequence[str], integration_id: str, metadata: Mapping[str, Any]
    ) -> None:
        """Write some keys of the metadata of a connection, or of several; others stay."""
        self._loop.run(self._client.update_metadata(connection_id, integration_id, metadata))

    def proxy(
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
        return self._loop.run(
            self._client.proxy(
                method,
                endpoint,
                connection_id=connection_id,
                integration_id=integration_id,
                params=params,
                headers=headers,
                data=data,
                retries=retries,
                base_url=base_url,
            )
        )

    def integrations(self) -> list[JSONObject]:
        """Return the environment's integrations."""
        return self._loop.run(self._client.integrations())

    def create_integration(
        self,
        integration_id: str,
        provider: str,
        *,
        display_name: str | None = None,
        credentials: Mapping[str, Any] | None = None,
        integration_config: Mapping[str, str] | None = None,
    ) -> JSONObject:
        """Configure a provider for the environment."""
        return self._loop.run(
            self._client.create_integration(
                integration_id,
                provider,
                display_name=display_name,
                credentials=credentials,
                integration_config=integration_config,
            )
        )

    def integration(self, integration_id: str) -> JSONObject:
        """Return an integration."""
        return self._loop.run(self._client.integration(integration_id))

    def change_integration(self, integration_id: str, changes: Mapping[str, Any]) -> JSONObject:
        """Change fields of an integration, by their names in `PATCH /integrations`; others stay."""
        return self._loop.run(self._client.change_integration(integration_id, changes))

    def delete_integration(self, integration_id: str) -> JSONObject:
        """Delete an integration; each of its connections is cleaned up."""
        return self._loop.run(self._client.delete_integration(integration_id))

    def providers(self, search: str | None = None) -> list[JSONObject]:
        """Return the provider catalogue."""
        return self._loop.run(self._client.providers(search))

    def provider(self, name: str) -> JSONObject:
        """Return one provider's definition."""
        return self._loop.run(self._client.provider(name))

    def environments(self) -> list[JSONObject]:
        """Return the server's environments."""
        return self._loop.run(self._client.environments())

    def create_environment(self, name: str) -> JSONObject:
        """Make an environment; its API key is in the answer, this once.

        The client's key needs the scope `account:environments:create`.
        """
        return self._loop.run(self._client.create_environment(name))

    def delete_environment(self, name: str) -> None:
        """Delete an environment; each of its connections is cleaned up.

        The client's key needs the scope `account:environments:delete`.
        """
        self._loop.run(self._client.delete_environment(name))

    def variables(self) -> list[JSONObject]:
        """Return the environment's variables as `{name, value}`."""
        return self._loop.run(self._client.variables())

    def set_variables(self, variables: Mapping[str, str | None]) -> None:
        """Set environment variables; `None` removes one."""
        self._loop.run(self._client.set_variables(variables))

    def environment_settings(self) -> JSONObject:
        """Return the environment's settings."""
        return self._loop.run(self._client.environment_settings())

    def change_environment_settings(self, changes: Mapping[str, Any]) -> JSONObject:
        """Change settings of the environment; `None` resets one, others stay."""
        return self._loop.run(self._client.change_environment_settings(changes))

    def rotate_signing_key(self) -> str:
        """Replace the key that notifications are signed with and return the new one."""
        return self._loop.run(self._client.rotate_signing_key())

    def api_keys(self) -> list[JSONObject]:
        """Return the environment's API keys, without their texts."""
        return self._loop.run(self._client.api_keys())

    def create_api_key(self, display_name: str, scopes: Sequence[str]) -> JSONObject:
        """Make an API key that may do no more than this one; its `secret` is told this once."""
        return self._loop.run(self._client.create_api_key(display_name, scopes))

    def delete_api_key(self, key_id: int) -> None:
        """Delete an API key; within 5 s no server takes it any more."""
        self._loop.run(self._client.delete_api_key(key_id))

    def preview_deployment(self, bundle: bytes, scope: Scope | None = None) -> JSONObject:
        """Say what deploying a bundle would change."""
        return self._loop.run(self._client.preview_deployment(bundle, scope))

    def deploy(
        self, bundle: bytes, scope: Scope | None = None, *, allow_removals: bool = False
    ) -> JSONObject:
        """Deploy a bundle."""
        return self._loop.run(self._client.deploy(bundle, scope, allow_removals=allow_removals))

    def deployments(self, *, limit: int = 20) -> list[JSONObject]:
        """Return the environment's newest deployments."""
        return self._loop.run(self._client.deployments(limit=limit))

    def activate_deployment(self, number: int) -> JSONObject:
        """Make an earlier deployment the active one again."""
        return self._loop.run(self._client.activate_deployment(number))

    def dry_run(
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
        return self._loop.run(
            self._client.dry_run(
                function,
                connection_id,
                integration_id=integration_id,
                operation=operation,
                metadata=metadata,
                live=live,
                bundle=bundle,
            )
        )

    def functions(self, integration_id: str) -> list[JSONObject]:
        """Return the functions that are deployed for an integration."""
        return self._loop.run(self._client.functions(integration_id))

    def operations(
        self,
        *,
        state: str | None = None,
        type: str | None = None,
        integration_id: str | None = None,
        connection_id: str | None = None,
        limit: int = 50,
    ) -> list[JSONObject]:
        """Return the newest operations."""
        return self._loop.run(
            self._client.operations(
                state=state,
                type=type,
                integration_id=integration_id,
                connection_id=connection_id,
                limit=limit,
            )
        )

    def operation(self, operation_id: str) -> JSONObject:
        """Return an operation with all of its messages."""
        return self._loop.run(self._client.operation(operation_id))

    def retry_operation(self, operation_id: str) -> JSONObject:
        """Run a failed setup again."""
        return self._loop.run(self._client.retry_operation(operation_id))

    def cleanups(self, *, state: str | None = None, limit: int = 50) -> list[JSONObject]:
        """Return the cleanups that are not done, parked ones first, or only those (`parked`)."""
        return self._loop.run(self._client.cleanups(state=state, limit=limit))

    def cleanup(self, cleanup_id: str) -> JSONObject:
        """Return a cleanup that is not done."""
        return self._loop.run(self._client.cleanup(cleanup_id))

    def retry_cleanups(self, *, integration_id: str | None = None) -> int:
        """Try every parked cleanup again, or those of one integration; return how many."""
        return self._loop.run(self._client.retry_cleanups(integration_id=integration_id))

    def retry_cleanup(self, cleanup_id: str) -> JSONObject:
        """Try a parked cleanup again."""
        return self._loop.run(self._client.retry_cleanup(cleanup_id))

    def force_cleanup(self, cleanup_id: str, reason: str) -> JSONObject:
        """Give a cleanup up, so that its connection can go; the reason is recorded."""
        return self._loop.run(self._client.force_cleanup(cleanup_id, reason))

    def notifications(
        self,
        *,
        state: str | None = None,
        integration_id: str | None = None,
        connection_id: str | None = None,
        limit: int = 50,
    ) -> list[JSONObject]:
        """Return the newest notifications to the app."""
        return self._loop.run(
            self._client.notifications(
                state=state, integration_id=integration_id, connection_id=connection_id, limit=limit
            )
        )

    def notification(self, notification_id: str) -> JSONObject:
        """Return a notification with its body and every attempt at it."""
        return self._loop.run(self._client.notification(notification_id))

    def retry_notification(self, notification_id: str) -> JSONObject:
        """Send a notification now that waits or was given up."""
        return self._loop.run(self._client.retry_notification(notification_id))
