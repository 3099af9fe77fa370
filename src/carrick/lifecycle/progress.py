"""Telling waiting requests of this process that something happened to a connection.

Only a shortcut: whoever waits also looks at the store now and then, because the news may come
from another node.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict


class Progress:
    """News by connection."""

    def __init__(self) -> None:
        self._waiting: defaultdict[int, set[asyncio.Event]] = defaultdict(set)

    def announce(self, connection_row_id: int) -> None:
        """Wake everybody who waits for news of that connection."""
        for event in self._waiting.get(connection_row_id, ()):
            event.set()

    async def wait(self, connection_row_id: int, timeout_s: float) -> None:
        """Come back at the next news, or after that many seconds."""
        event = asyncio.Event()
        self._waiting[connection_row_id].add(event)
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            waiting = self._waiting[connection_row_id]
            waiting.discard(event)
            if not waiting:
                del self._waiting[connection_row_id]
