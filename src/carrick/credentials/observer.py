"""Who is told what refreshing and checking came to: the port that the lifecycle fills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from carrick.store.unit import Tx

Action = Literal["refresh_token", "connection_test"]


@dataclass(frozen=True)
class RefreshSuccess:
    """A provider gave fresh credentials, or accepted those there are."""

    action: Action
    operation_id: str
    #: What a person should know of it.
    message: str | None = None


@dataclass(frozen=True)
class RefreshFailure:
    """A provider did not give fresh credentials, or did not accept those there are."""

    action: Action
    operation_id: str
    error_type: str
    description: str
    #: Whether it was the last that counts.
    exhausted: bool


class RefreshObserver(Protocol):
    """Told of every refresh and check, inside the transaction that stores its result.

    Changes of state, the operation log and notifications hang on it, so they cannot come apart
    from what they tell of. It is not told about connections that are being deleted or whose
    reconnect was refused: refreshing neither heals nor breaks those.
    """

    async def refreshed_in(self, tx: Tx, connection_row_id: int, success: RefreshSuccess) -> None:
        """Follow one that worked; earlier failures are over."""

    async def refresh_failed_in(
        self, tx: Tx, connection_row_id: int, failure: RefreshFailure
    ) -> None:
        """Follow one that failed."""
