"""The port through which a transaction asks that a connection's mailbox be looked at."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from carrick.store.mailboxes import Mailbox
from carrick.store.unit import Tx


class Wake(Protocol):
    """Carries wake-ups; the engine fills this in."""

    async def wake_in(
        self, tx: Tx, mailbox: Mailbox, *, event_id: int, attempt: int, due_at: datetime
    ) -> None:
        """Ask for a look at the mailbox once the transaction is durable and the event is due."""
