"""Rows that wait to be written: bounded, in order, kept when the store does not answer."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import structlog

from carrick.errors import StoreUnavailable
from carrick.store import operations as table
from carrick.store.unit import Store, Tx

_MOST_ROWS = 50_000
_MOST_BYTES = 64 * 1024 * 1024
#: What a row takes in memory beside its texts, roughly.
_ROW_BYTES = 1_000
#: Rows in one unit: a unit on SQLite holds up every other write, so it has to be short.
_ROWS_PER_UNIT = 100
_log = structlog.get_logger(__name__)

_Write = Callable[[Tx, Sequence[Mapping[str, Any]]], Coroutine[Any, Any, None]]


@dataclass
class _Queue:
    write: _Write
    rows: deque[tuple[Mapping[str, Any], int]] = field(default_factory=deque)


class Buffer:
    """Operations and messages on their way to the store."""

    def __init__(self, store: Store, most_rows: int = _MOST_ROWS) -> None:
        self._store = store
        self._most_rows = most_rows
        self._operations = _Queue(table.insert_operations)
        self._messages = _Queue(table.insert_messages)
        self._bytes = 0
        self._turn = asyncio.Lock()
        #: Rows that found no room, or that the store refused.
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._operations.rows) + len(self._messages.rows)

    def add_operation(self, row: Mapping[str, Any], size: int = 0) -> None:
        """Take an operation, or count it as dropped when there is no room."""
        self._add(self._operations, row, size)

    def add_message(self, row: Mapping[str, Any], size: int = 0) -> None:
        """Take a message, or count it as dropped when there is no room."""
        self._add(self._messages, row, size)

    def _add(self, queue: _Queue, row: Mapping[str, Any], size: int) -> None:
        if len(self) >= self._most_rows or self._bytes >= _MOST_BYTES:
            self.dropped += 1
            return
        queue.rows.append((row, size + _ROW_BYTES))
        self._bytes += size + _ROW_BYTES

    async def flush(self) -> None:
        """Write everything that was there when this was called, one flush at a time.

        Raises:
            StoreUnavailable: The store does not answer; what was not written is kept.
        """
        if not len(self):
            return
        # Shielded: a caller that is cancelled between a commit and the clearing of the buffer
        # would leave rows to be written twice.
        flushing = asyncio.ensure_future(self._flush())
        flushing.add_done_callback(_look_at_result)
        await asyncio.shield(flushing)

    async def _flush(self) -> None:
        async with self._turn:
            for queue in (self._operations, self._messages):
                left = len(queue.rows)
                while left > 0:
                    left -= await self._flush_some(queue, min(left, _ROWS_PER_UNIT))

    async def _flush_some(self, queue: _Queue, count: int) -> int:
        rows = [row for row, _ in islice(queue.rows, count)]
        try:
            await self._write(queue, rows)
        except StoreUnavailable:
            raise
        except Exception:  # the store refuses a row of these: find it, lose no other
            await self._write_singly(queue, rows)
            return count
        self._remove_first(queue, count)
        return count

    async def _write_singly(self, queue: _Queue, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            try:
                await self._write(queue, [row])
            except StoreUnavailable:
                raise
            except Exception as error:  # this row will never be written
                self.dropped += 1
                _log.error("operation_row_refused", reason=type(error).__name__)
            self._remove_first(queue, 1)

    async def _write(self, queue: _Queue, rows: Sequence[Mapping[str, Any]]) -> None:
        async def unit(tx: Tx) -> None:
            await queue.write(tx, rows)

        await self._store.write(unit)

    def _remove_first(self, queue: _Queue, count: int) -> None:
        for _ in range(count):
            self._bytes -= queue.rows.popleft()[1]


def _look_at_result(flushing: asyncio.Future[None]) -> None:
    if not flushing.cancelled():
        flushing.exception()  # seen: the one who waited may be gone
