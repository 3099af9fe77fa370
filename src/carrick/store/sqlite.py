"""The store in a SQLite file: one writer that commits in groups, readers beside it.

Units that are waiting run one after another inside one database transaction, each behind a
savepoint, and are acknowledged together after one commit, so twenty concurrent connects cost one
fsync instead of twenty. A unit that raises is undone alone.

Statements run on the event loop itself: a lookup takes microseconds, a hop to a thread and back
takes hundreds. What can take long goes to a thread: taking the write lock, the commit with its
fsync, and reads that say they scan.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from carrick.model.clock import Clock
from carrick.model.faults import NO_FAULTS, Faults, Point
from carrick.store.condition import Condition
from carrick.store.failures import DatabaseFile, unavailable
from carrick.store.unit import Store, Tx, Unit

T = TypeVar("T")

#: How many waiting units share one commit at most.
_BATCH = 64
#: How many answers of `recall` are kept at most.
_MOST_RECALLED = 4096


@dataclass
class _Waiting(Generic[T]):
    unit: Unit[T]
    done: asyncio.Future[T]


class SqliteStore(Store):
    """A SQLite file: one writer that commits in groups, readers beside it."""

    is_postgres = False

    def __init__(
        self, readers: Engine, writer: Engine, clock: Clock, faults: Faults = NO_FAULTS
    ) -> None:
        self._readers = readers
        self._writer = writer
        self._clock = clock
        self._faults = faults
        self._file = DatabaseFile(Path(writer.url.database or ""))
        self.reading = Condition("reads", clock)
        self.writing = Condition("writes", clock)
        self._queue: asyncio.Queue[_Waiting[Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        # Only this process writes to the file, so answers hold until its next commit.
        self._recalled: dict[Hashable, Any] = {}
        self._commits = 0

    async def start(self) -> None:
        """Begin to accept units."""
        if self._task is None:
            self._task = asyncio.create_task(self._write_batches(), name="store-writer")

    async def close(self) -> None:
        """Finish what waits, then let go of the file."""
        if self._task is not None:
            await self._queue.join()
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._readers.dispose()
        self._writer.dispose()

    async def write(self, unit: Unit[T]) -> T:
        """Run a unit and return its result once it is durable.

        Raises:
            StoreUnavailable: The file cannot be written. Nothing was.
        """
        waiting: _Waiting[T] = _Waiting(unit, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(waiting)
        # Shielded: a caller that goes away must not leave the batch with a cancelled future.
        return await asyncio.shield(waiting.done)

    async def read(self, unit: Unit[T], *, scans: bool = False) -> T:
        """Run a unit that only reads, on a connection of its own."""
        with self.reading.watched():
            self._file.demand()
            with self._readers.connect() as connection:
                return await unit(Tx(connection, self._clock, scans))

    async def recall(self, key: Hashable, unit: Unit[T]) -> T:
        """Run a unit that only reads, or return its last answer if nothing was written since."""
        if key in self._recalled:
            known: T = self._recalled[key]
            return known
        commits = self._commits
        answer = await self.read(unit)
        if commits == self._commits:
            if len(self._recalled) >= _MOST_RECALLED:
                self._recalled.clear()
            self._recalled[key] = answer
        return answer

    async def migrate_with(self, action: Callable[[Connection], T]) -> T:
        """Run a schema change with a plain connection in one transaction."""

        try:
            # In a thread: another migration may hold the only connection.
            with await asyncio.to_thread(self._writer.connect) as connection:
                transaction = await asyncio.to_thread(connection.begin)
                try:
                    result = await asyncio.to_thread(action, connection)
                    await self._faults.reached(Point.SCHEMA_MIGRATED)
                except BaseException:
                    transaction.rollback()
                    raise
                await asyncio.to_thread(transaction.commit)
                return result
        finally:
            self._forget()

    def _forget(self) -> None:
        self._commits += 1
        self._recalled.clear()

    async def _write_batches(self) -> None:
        while True:
            batch = [await self._queue.get()]
            await asyncio.sleep(0)  # whoever is ready to write in this turn may join
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                await self._write_batch(batch)
            finally:
                for _ in batch:
                    self._queue.task_done()

    async def _write_batch(self, batch: list[_Waiting[Any]]) -> None:
        try:
            self._file.demand()
            with self._writer.connect() as connection:
                transaction = await asyncio.to_thread(connection.begin)
                try:
                    finished, refused = await self._run_units(connection, batch)
                    await self._faults.reached(Point.BEFORE_COMMIT)
                except BaseException:
                    transaction.rollback()
                    raise
                await asyncio.to_thread(transaction.commit)
                await self._faults.reached(Point.AFTER_COMMIT)
        except Exception as error:  # the commit itself, or the file, failed: nothing is durable
            reason = unavailable(error)
            self.writing.failed(reason)
            for waiting in batch:
                _fail(waiting.done, reason)
            return
        finally:
            self._forget()  # before anybody hears of the commit, and whatever became of it
        self.writing.worked()
        # Not before the commit either: what a unit raised may rest on what the others wrote.
        for waiting, refusal in refused:
            is_ours = not isinstance(refusal, DBAPIError)
            _fail(waiting.done, refusal if is_ours else self.writing.hear(refusal))
        for waiting, result, tx in finished:
            tx.committed()
            if not waiting.done.done():
                waiting.done.set_result(result)

    async def _run_units(
        self, connection: Connection, batch: list[_Waiting[Any]]
    ) -> tuple[list[tuple[_Waiting[Any], Any, Tx]], list[tuple[_Waiting[Any], Exception]]]:
        """Run units one after another; return what they returned, and what others raised."""
        finished: list[tuple[_Waiting[Any], Any, Tx]] = []
        refused: list[tuple[_Waiting[Any], Exception]] = []
        driver: Any = connection.connection.driver_connection
        for waiting in batch:
            tx = Tx(connection, self._clock)
            savepoint = connection.begin_nested()
            try:
                result = await waiting.unit(tx)
                savepoint.commit()
            except Exception as error:
                if not driver.in_transaction:
                    # A full disk makes SQLite undo everything, the units before included, and go
                    # on without a transaction.
                    raise
                savepoint.rollback()
                refused.append((waiting, error))
            else:
                finished.append((waiting, result, tx))
        return finished, refused


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # seen: a caller that went away is no reason to warn
