"""The port between a context and whoever answers its calls, and the facts a run starts with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypedDict

#: Every call that a context makes of its host.
HOST_METHODS = frozenset(
    {
        "request",
        "paginate_config",
        "get_metadata",
        "set_metadata",
        "update_metadata",
        "require_same_account",
        "get_connection",
        "get_token",
        "get_integration",
        "get_webhook_url",
        "get_environment_variables",
        "get_checkpoint",
        "save_checkpoint",
        "clear_checkpoint",
        "acquire_lock",
        "release_lock",
        "log",
    }
)


class Host(Protocol):
    """Whoever answers the calls of a context: the server across a socket, or a test."""

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """Answer one call with plain data.

        Raises:
            HostError: It cannot be done; the code says why.
        """


class Previous(TypedDict):
    """A connection as it was before a reconnect."""

    metadata: dict[str, Any]
    connection_config: dict[str, Any]
    tags: dict[str, str]


@dataclass(frozen=True)
class Facts:
    """What a run knows about itself from the start; plain data."""

    connection_id: str
    integration_id: str
    provider: str
    environment: str
    event: str
    operation: str
    run_id: str
    #: First start of the run in ISO 8601; the base of `ctx.now()`.
    started_at: str
    attempt: int = 1
    dry_run: bool = False
    previous: dict[str, Any] | None = None
    effects: Sequence[dict[str, Any]] = field(default_factory=list)
    variables: Sequence[str] = field(default_factory=list)
    credentials: bool = False
