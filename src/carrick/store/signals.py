"""Short texts from one node to the others, over Postgres's own LISTEN and NOTIFY.

Nothing is kept: who does not listen at that moment does not hear it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy import func, select

from carrick.errors import BodyTooLarge
from carrick.model.clock import Clock
from carrick.store.unit import Store, Tx

#: Seconds between looks at whether the line still stands, and before it is laid again.
_LOOK_S = 5.0
_ANSWER_S = 5.0
#: What Postgres takes.
_MOST_BYTES = 7999
_log = structlog.get_logger(__name__)


class Signals:
    """One channel between the nodes of a Postgres store."""

    def __init__(self, store: Store, clock: Clock, channel: str) -> None:
        self._store = store
        self._clock = clock
        self._channel = channel

    async def send(self, text: str) -> None:
        """Send a text to every node, this one included.

        Raises:
            BodyTooLarge: It is 8000 bytes or longer.
        """
        if len(text.encode()) > _MOST_BYTES:
            raise BodyTooLarge("A signal to other nodes may be 7999 bytes long.")

        async def unit(tx: Tx) -> None:
            await tx.execute(select(func.pg_notify(self._channel, text)))

        await self._store.write(unit)

    async def run(self, receive: Callable[[str], None]) -> None:
        """Hand over what the nodes send, until cancelled."""
        while True:
            try:
                await self._listen(receive)
            except Exception as error:  # whatever the driver raises; the store tells of it
                _log.debug("signals_not_heard", reason=type(error).__name__)
            await self._clock.sleep(_LOOK_S)

    async def _listen(self, receive: Callable[[str], None]) -> None:
        """Listen for as long as the line stands."""

        def on_signal(_connection: Any, _pid: int, _channel: str, text: str) -> None:
            receive(text)

        async with self._store.engine.connect() as connection:
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
            await driver.add_listener(self._channel, on_signal)
            try:
                while await _stands(driver):
                    await self._clock.sleep(_LOOK_S)
            finally:
                if driver.is_closed():
                    await connection.invalidate()
                else:
                    await driver.remove_listener(self._channel, on_signal)


async def _stands(driver: Any) -> bool:
    if driver.is_closed():
        return False
    try:
        await driver.execute("SELECT 1", timeout=_ANSWER_S)
    except Exception:  # the driver's own, of which only the engine knows the names
        return False
    return not driver.is_closed()
