"""Deliveries as a person sees them: what was sent where, what was answered, sending it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from carrick.errors import NotFound, OperationNotRetryable
from carrick.store import notifications as table
from carrick.store.notifications import Attempt, NotificationFilter, StoredNotification
from carrick.store.unit import Store, Tx


class Deliveries:
    """The record of notifications."""

    def __init__(self, store: Store, wake: Callable[[], None]) -> None:
        """Build it.

        Args:
            store: Where notifications lie.
            wake: Has due ones sent now.
        """
        self._store = store
        self._wake = wake

    async def list(
        self, environment_id: int, wanted: NotificationFilter
    ) -> Sequence[StoredNotification]:
        """Return notifications of an environment, the newest first."""
        return await self._store.read(
            lambda tx: table.list_for(tx, environment_id, wanted), scans=True
        )

    async def get(
        self, environment_id: int, notification_id: str
    ) -> tuple[StoredNotification, Sequence[Attempt]]:
        """Return a notification with every attempt at it, the first one first.

        Raises:
            NotFound: There is none by that id.
        """

        async def unit(tx: Tx) -> tuple[StoredNotification, Sequence[Attempt]]:
            found = await table.get(tx, environment_id, notification_id)
            if found is None:
                raise NotFound("There is no notification by that id in this environment.")
            return found, await table.attempts_of(tx, found.id)

        return await self._store.read(unit)

    async def send_again(self, environment_id: int, notification_id: str) -> None:
        """Send a notification now that waits or was given up; its id stays the same.

        Raises:
            NotFound: There is none by that id.
            OperationNotRetryable: It was delivered.
        """

        async def unit(tx: Tx) -> None:
            found = await table.get(tx, environment_id, notification_id, lock=True)
            if found is None:
                raise NotFound("There is no notification by that id in this environment.")
            if found.state == table.DELIVERED:
                raise OperationNotRetryable("This notification was delivered; nothing to retry.")
            await table.send_again(tx, found.id)
            tx.after_commit(self._wake)

        await self._store.write(unit)
