"""Carrick runs your functions when a customer connects, reconnects or removes an account.

What stands here is what function files import; everything else is reached by its module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carrick.sdk import ActionError, EventContext, ProviderError, Response, create_on_event

if TYPE_CHECKING:
    from carrick.client import Client, SyncClient

__all__ = [
    "ActionError",
    "Client",
    "EventContext",
    "ProviderError",
    "Response",
    "SyncClient",
    "create_on_event",
]
#: Imported when asked for: runners must not pay for what functions never use.
_LATER = frozenset({"Client", "SyncClient"})


def __getattr__(name: str) -> Any:
    """Import what is wanted outside functions alone."""
    if name in _LATER:
        from carrick import client

        return getattr(client, name)
    raise AttributeError(f"module 'carrick' has no attribute {name!r}")
