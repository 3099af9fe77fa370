"""A whole server without a socket, a provider with one, and functions deployed from text."""

from __future__ import annotations

import textwrap
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from carrick.app import App
from carrick.deployments import Bundle, pack
from carrick.deployments.project import make_project
from carrick.lifecycle.journeys import Connected, ConnectRequest, Deletion
from carrick.model.connection import Connection
from carrick.model.environment import Environment
from carrick.store import events as event_rows
from carrick.store.events import EventRow
from carrick.testing.fake_provider import FakeProvider

HEAD = "from carrick import ActionError, EventContext, ProviderError, create_on_event\n"

VALIDATE = """
@create_on_event(event="validate-connection", description="Same organisation only")
async def function(ctx: EventContext) -> None:
    me = await ctx.get("/api/me")
    await ctx.require_same_account(me.data["organization_id"])
"""
SETUP = """
@create_on_event(event="post-connection-creation", description="Register a webhook", waits=[0.01])
async def function(ctx: EventContext) -> None:
    hook = await ctx.post("/webhooks", data={"url": "https://app.example/in"})
    await ctx.update_metadata(webhook_id=hook.data["id"])
"""
CLEANUP = """
@create_on_event(event="pre-connection-deletion", description="Remove the webhook", waits=[0.01])
async def function(ctx: EventContext) -> None:
    metadata = await ctx.get_metadata()
    await ctx.delete("/webhooks/" + metadata["webhook_id"])
"""


def packed(functions: Mapping[str, Mapping[str, str]]) -> Bundle:
    """Pack a project: the sources of functions by name, by integration."""
    return pack(
        make_project(
            {
                f"{integration_id}/on_events/{name.replace('-', '_')}.py": (
                    HEAD + textwrap.dedent(source)
                ).encode()
                for integration_id, sources in functions.items()
                for name, source in sources.items()
            }
        )
    )


@dataclass
class House:
    """A running server and everything a lifecycle test does with it."""

    app: App
    provider: FakeProvider
    environment: Environment

    async def deploy(self, functions: Mapping[str, str], *, integration: str = "acme") -> None:
        """Deploy functions by name; what is not named is removed."""
        bundle = packed({integration: functions})
        deployments = self.app.rooms.deployments
        await deployments.deploy(self.environment.row_id, bundle, allow_removals=True)

    def request(self, account: Any, connection_id: str, **changes: Any) -> ConnectRequest:
        """Return a connect request with an account's API key."""
        values: dict[str, Any] = {
            "environment": self.environment,
            "integration_id": "acme",
            "source": "import",
            "body": {"type": "API_KEY", "apiKey": account.api_key},
            "connection_id": connection_id,
            "connection_config": {"base_url": self.provider.url},
        }
        return ConnectRequest(**{**values, **changes})

    async def connect(self, account: Any, connection_id: str = "one", **changes: Any) -> Connected:
        """Connect or reconnect with an account's API key."""
        return await self.app.services.lifecycle.connect(
            self.request(account, connection_id, **changes)
        )

    async def delete(self, connection_id: str = "one", integration: str = "acme") -> Deletion:
        """Delete a connection."""
        return await self.app.services.lifecycle.delete_connection(
            self.environment, integration, connection_id
        )

    async def find(self, connection_id: str = "one") -> Connection | None:
        """Return a connection as API callers see it."""
        return await self.app.rooms.connections.find(self.environment.row_id, "acme", connection_id)

    async def row(self, row_id: int) -> Connection:
        """Return a connection in whatever state."""
        found = await self.app.rooms.connections.by_row(row_id)
        assert found is not None
        return found

    async def events(self, row_id: int) -> list[EventRow]:
        """Return a connection's events in order."""
        return await self.app.rooms.store.read(lambda tx: event_rows.of_connection(tx, row_id))

    async def states(self, row_id: int) -> dict[str, str]:
        """Return the state of each function's latest event."""
        return {event.function: event.state.value for event in await self.events(row_id)}

    async def until(
        self, row_id: int, condition: Callable[[list[EventRow]], bool | Awaitable[bool]]
    ) -> list[EventRow]:
        """Come back when a connection's events are as wanted."""
        for _ in range(400):
            events = await self.events(row_id)
            if condition(events):
                return events
            await self.app.rooms.progress.wait(row_id, 0.05)
        raise AssertionError(f"it did not come to that: {await self.states(row_id)}")

    async def finished(self, row_id: int) -> list[EventRow]:
        """Come back when nothing is left to run."""
        return await self.until(row_id, lambda events: not any(e.is_unfinished for e in events))

    async def messages(self, operation_id: str) -> list[str]:
        """Return an operation's log lines."""
        found = await self.app.rooms.operations.messages(operation_id, limit=1000)
        return [message.message for message in found]

    def writes(self, method: str = "POST", path: str = "/webhooks") -> list[Any]:
        """Return the calls of one kind that the provider received."""
        return self.provider.calls_to(method, path)
