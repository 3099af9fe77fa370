"""The log of operations: opened and closed with what they tell of, filled from a buffer.

An operation that belongs to a change is written in the change's own transaction. Messages, and
operations that tell of no change (a proxied call), are buffered and written once a second, in the
order they came; a store that does not answer makes the buffer wait, never the caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog

from carrick.errors import StoreUnavailable
from carrick.model.clock import Chance, Clock
from carrick.operations.bounds import bounded_fields, bounded_text
from carrick.operations.buffer import Buffer
from carrick.operations.scrubber import Scrubber
from carrick.operations.tally import Ended, Tally
from carrick.store import operations as table
from carrick.store.operations import Closed, Closing, Operation, OperationFilter, OperationMessage
from carrick.store.unit import Store, Tx

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_EVERY_S = 1.0
_UNFINISHED = frozenset({"waiting", "running"})
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Opening:
    """What an operation is about. `id` is drawn when none is given."""

    environment_id: int
    type: str
    action: str
    integration_id: str | None = None
    provider: str | None = None
    connection_row_id: int | None = None
    connection_id: str | None = None
    function: str | None = None
    message: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    state: str = "running"
    id: str | None = None


class Operations:
    """What happened, without the secrets it happened with."""

    def __init__(
        self, store: Store, clock: Clock, chance: Chance, scrubber: Scrubber | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._chance = chance
        #: Whoever decrypts a secret adds it here first.
        self.scrubber = scrubber if scrubber is not None else Scrubber()
        self._buffer = Buffer(store)
        #: How many operations ended here, since this process began.
        self.tally = Tally()

    @property
    def buffered(self) -> int:
        """How many entries wait to be written."""
        return len(self._buffer)

    @property
    def dropped(self) -> int:
        """How many entries were lost because the buffer was full."""
        return self._buffer.dropped

    def new_id(self) -> str:
        """Return an id: the time in milliseconds, and eight random characters."""
        number = int(self._chance.token_hex(8), 16)
        characters = []
        for _ in range(8):
            number, digit = divmod(number, len(_ALPHABET))
            characters.append(_ALPHABET[digit])
        return f"{int(self._clock.now().timestamp() * 1000)}_{''.join(characters)}"

    async def open_in(self, tx: Tx, opening: Opening) -> str:
        """Write an operation in the transaction it tells of and return its id."""
        values = self._row(opening, tx.now)
        await table.insert_operation(tx, values)
        if opening.state not in _UNFINISHED:
            tx.after_commit(partial(self._count, opening, opening.state))
        return str(values["id"])

    async def close_in(
        self,
        tx: Tx,
        operation_id: str,
        *,
        state: str,
        error: Mapping[str, Any] | None = None,
        message: str | None = None,
    ) -> bool:
        """End an operation in the transaction that ends it; whether it was still open."""
        closing = Closing(state, tx.now, self._text(message), self._fields(error))
        closed = await table.close(tx, operation_id, closing)
        if closed is None:
            return False
        tx.after_commit(partial(self._count, closed, state))
        return True

    async def start_in(self, tx: Tx, operation_id: str) -> None:
        """Show an operation that was waiting as running."""
        await table.start(tx, operation_id)

    async def reopen_in(self, tx: Tx, operation_id: str) -> bool:
        """Let an operation that has ended run again; whether there was one."""
        return await table.reopen(tx, operation_id)

    async def open(self, opening: Opening) -> str:
        """Write an operation in a transaction of its own and return its id."""

        async def unit(tx: Tx) -> str:
            return await self.open_in(tx, opening)

        return await self._store.write(unit)

    async def close(
        self,
        operation_id: str,
        *,
        state: str,
        error: Mapping[str, Any] | None = None,
        message: str | None = None,
    ) -> bool:
        """End an operation in a transaction of its own; whether it was still open."""

        async def unit(tx: Tx) -> bool:
            return await self.close_in(tx, operation_id, state=state, error=error, message=message)

        return await self._store.write(unit)

    def note(
        self, operation_id: str, level: str, message: str, kind: str = "log", /, **fields: Any
    ) -> None:
        """Add a line to an operation; it is written within a second."""
        text = bounded_text(self.scrubber.scrub_text(message))
        bounded = bounded_fields(self.scrubber.scrub(fields))
        row = {
            "operation_id": operation_id,
            "at": self._clock.now(),
            "level": level,
            "kind": kind,
            "message": text,
            "fields": bounded.fields,
        }
        self._buffer.add_message(row, len(text) + bounded.size)

    def record(
        self,
        opening: Opening,
        *,
        state: str,
        error: Mapping[str, Any] | None = None,
        duration_s: float = 0.0,
    ) -> str:
        """Add an operation that is over already and return its id; written within a second."""
        now = self._clock.now()
        row = self._row(opening, now)
        row["state"] = state
        row["error"] = self._fields(error)
        row["created_at"] = row["started_at"] = now - timedelta(seconds=duration_s)
        row["ended_at"] = now
        self._buffer.add_operation(row)
        self._count(opening, state)
        return str(row["id"])

    async def flush(self) -> None:
        """Write what is buffered.

        Raises:
            StoreUnavailable: The store does not answer; what was not written stays buffered.
        """
        await self._buffer.flush()

    async def run(self) -> None:
        """Write what is buffered once a second, until cancelled."""
        while True:
            await self._clock.sleep(_EVERY_S)
            try:
                await self.flush()
            except StoreUnavailable as error:
                _log.debug("operations_not_written", reason=error.message, waiting=self.buffered)

    async def get(self, environment_id: int, operation_id: str) -> Operation | None:
        """Return an operation of an environment."""
        await self.flush()

        async def unit(tx: Tx) -> Operation | None:
            return await table.get(tx, environment_id, operation_id)

        return await self._store.read(unit)

    async def list(
        self, environment_id: int, wanted: OperationFilter | None = None
    ) -> Sequence[Operation]:
        """Return operations of an environment, newest first."""
        await self.flush()
        wanted = wanted if wanted is not None else OperationFilter()

        async def unit(tx: Tx) -> list[Operation]:
            return await table.list_operations(tx, environment_id, wanted)

        return await self._store.read(unit, scans=True)

    async def messages(
        self, operation_id: str, *, after: int | None = None, limit: int = 100
    ) -> Sequence[OperationMessage]:
        """Return lines of an operation, oldest first; `after` is the id of the last one seen."""
        await self.flush()

        async def unit(tx: Tx) -> list[OperationMessage]:
            return await table.list_messages(tx, operation_id, after=after, limit=limit)

        return await self._store.read(unit)

    def _row(self, opening: Opening, now: datetime) -> dict[str, Any]:
        return {
            "id": opening.id or self.new_id(),
            "environment_id": opening.environment_id,
            "type": opening.type,
            "action": opening.action,
            "state": opening.state,
            "message": self._text(opening.message),
            "integration_id": opening.integration_id,
            "provider": opening.provider,
            "connection_row_id": opening.connection_row_id,
            "connection_id": opening.connection_id,
            "function": opening.function,
            "error": None,
            "meta": self._fields(opening.meta) or {},
            "created_at": now,
            "started_at": None if opening.state == "waiting" else now,
            "ended_at": None if opening.state in _UNFINISHED else now,
        }

    def _count(self, what: Opening | Closed, state: str) -> None:
        self.tally[Ended(what.environment_id, what.type, what.action, state)] += 1

    def _text(self, text: str | None) -> str | None:
        return bounded_text(self.scrubber.scrub_text(text)) if text is not None else None

    def _fields(self, fields: Mapping[str, Any] | None) -> dict[str, Any] | None:
        return bounded_fields(self.scrubber.scrub(fields)).fields if fields is not None else None
