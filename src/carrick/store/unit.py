"""The store: writes are units, reads are read-only transactions on other connections.

A unit is an async function of a transaction. On Postgres each unit is a transaction of its own
from a pool. SQLite has one writer: units that are waiting run one after another inside one
database transaction, each behind a savepoint, and are acknowledged together after one commit, so
twenty concurrent connects cost one fsync instead of twenty. A unit that raises is undone alone.

SQLite statements run on the event loop itself: a lookup takes microseconds, a hop to a thread and
back takes hundreds. What can take long goes to a thread: taking the write lock, the commit with its
fsync, and reads that say they scan.

A unit must await nothing but its transaction: on SQLite everybody else's writes wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, CursorResult, Engine, Executable, Row, create_engine, event, text
from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from carrick.errors import StoreDamaged, StoreUnavailable
from carrick.model.clock import Clock
from carrick.model.faults import NO_FAULTS, Faults, Point

T = TypeVar("T")
Unit = Callable[["Tx"], Awaitable[T]]

#: How many waiting units share one SQLite commit at most.
_BATCH = 64
#: What SQLite says of a file that is not, or no longer, a sound database.
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
#: How many answers of `recall` are kept at most.
_MOST_RECALLED = 4096
#: How often a unit that Postgres aborted for a deadlock or a lost race is tried.
_TRIES = 5
_RETRYABLE_SQLSTATES = frozenset({"40001", "40P01"})


@dataclass
class Tx:
    """One transaction: what a unit reads and writes through, and what happens after it."""

    connection: AsyncConnection | Connection
    clock: Clock
    _scans: bool = False
    _after_commit: list[Callable[[], None]] = field(default_factory=list)

    @property
    def now(self) -> datetime:
        """The moment this unit takes as now."""
        return self.clock.now()

    @property
    def is_postgres(self) -> bool:
        """Whether the store is a Postgres database."""
        return self.connection.dialect.name == "postgresql"

    def after_commit(self, action: Callable[[], None]) -> None:
        """Do something once, and only if, this unit is durable. It must not raise or block."""
        self._after_commit.append(action)

    async def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> CursorResult[Any]:
        """Run a statement and return its buffered result.

        What runs often is built once, with named parameters, and given its values here: building
        a statement takes several times as long as running it.
        """
        if isinstance(self.connection, AsyncConnection):
            return await self.connection.execute(statement, parameters)
        if self._scans:
            return await asyncio.to_thread(self.connection.execute, statement, parameters)
        return self.connection.execute(statement, parameters)

    async def execute_each(
        self, statement: Executable, parameters: Sequence[Mapping[str, Any]]
    ) -> None:
        """Run a statement once for each set of parameters, in order."""
        if not parameters:
            return
        if isinstance(self.connection, AsyncConnection):
            await self.connection.execute(statement, parameters)
        else:
            self.connection.execute(statement, parameters)

    async def row(
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Row[Any] | None:
        """Return the first row, or `None`."""
        return (await self.execute(statement, parameters)).first()

    async def rows(self, statement: Executable) -> Sequence[Row[Any]]:
        """Return every row."""
        return (await self.execute(statement)).all()

    async def scalar(
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the first column of the first row, or `None`."""
        return (await self.execute(statement, parameters)).scalar()

    async def changed(
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> int:
        """Run a write and return how many rows it touched."""
        return (await self.execute(statement, parameters)).rowcount


@dataclass
class _Waiting(Generic[T]):
    unit: Unit[T]
    done: asyncio.Future[T]


class Store:
    """The database, whichever it is. Build with `open_store`; this one is Postgres."""

    is_postgres = True

    def __init__(self, engine: AsyncEngine, clock: Clock, faults: Faults = NO_FAULTS) -> None:
        self.engine = engine
        self._clock = clock
        self._faults = faults

    async def start(self) -> None:
        """Begin to accept units."""

    async def close(self) -> None:
        """Finish what waits, then let go of the database."""
        await self.engine.dispose()

    async def write(self, unit: Unit[T]) -> T:
        """Run a unit and return its result once it is durable.

        Raises:
            StoreUnavailable: The database does not answer. Nothing was written, unless the
                connection broke during the commit itself.
        """
        for attempt in range(1, _TRIES + 1):
            try:
                async with self.engine.begin() as connection:
                    tx = Tx(connection, self._clock)
                    result = await unit(tx)
                    await self._faults.reached(Point.BEFORE_COMMIT)
            except DBAPIError as error:
                if _sqlstate(error) in _RETRYABLE_SQLSTATES and attempt < _TRIES:
                    continue
                if isinstance(error, OperationalError | InterfaceError):
                    raise _unavailable(error) from error
                raise
            except OSError as error:
                raise _unavailable(error) from error
            await self._faults.reached(Point.AFTER_COMMIT)
            _settle(tx)
            return result
        raise AssertionError("unreachable: the last try returns or raises")

    async def read(self, unit: Unit[T], *, scans: bool = False) -> T:
        """Run a unit that only reads, on a connection of its own.

        Args:
            unit: What to read.
            scans: Whether it may touch many rows; SQLite then reads them in a thread.
        """
        try:
            async with self.engine.connect() as connection:
                return await unit(Tx(connection, self._clock))
        except (OperationalError, InterfaceError, OSError) as error:
            raise _unavailable(error) from error

    async def recall(self, key: Hashable, unit: Unit[T]) -> T:
        """Run a unit that only reads, or return its last answer if nothing was written since.

        Postgres is always asked: others write to it as well.

        Args:
            key: Names the unit and everything its answer depends on.
            unit: What to read; callers share the answer and must not change it.
        """
        return await self.read(unit)

    async def migrate_with(self, action: Callable[[Connection], T]) -> T:
        """Run a schema change with a plain connection in one transaction."""
        async with self.engine.begin() as connection:
            result = await connection.run_sync(action)
            await self._faults.reached(Point.SCHEMA_MIGRATED)
            return result


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
        try:
            with self._readers.connect() as connection:
                return await unit(Tx(connection, self._clock, scans))
        except DatabaseError as error:
            raise _told(error) from error

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
        finished: list[tuple[_Waiting[Any], Any, Tx]] = []
        refused: list[tuple[_Waiting[Any], Exception]] = []
        try:
            with self._writer.connect() as connection:
                transaction = await asyncio.to_thread(connection.begin)
                try:
                    for waiting in batch:
                        tx = Tx(connection, self._clock)
                        try:
                            with connection.begin_nested():
                                result = await waiting.unit(tx)
                        except Exception as error:
                            refused.append((waiting, error))
                        else:
                            finished.append((waiting, result, tx))
                    await self._faults.reached(Point.BEFORE_COMMIT)
                except BaseException:
                    transaction.rollback()
                    raise
                await asyncio.to_thread(transaction.commit)
                await self._faults.reached(Point.AFTER_COMMIT)
        except Exception as error:  # the commit itself, or the file, failed: nothing is durable
            reason = _unavailable(error)
            reason.__cause__ = error
            for waiting in batch:
                _fail(waiting.done, reason)
            return
        finally:
            self._forget()  # before anybody hears of the commit, and whatever became of it
        # Not before the commit either: what a unit raised may rest on what the others wrote.
        for waiting, refusal in refused:
            _fail(waiting.done, _told(refusal) if isinstance(refusal, DatabaseError) else refusal)
        for waiting, result, tx in finished:
            _settle(tx)
            if not waiting.done.done():
                waiting.done.set_result(result)


def _settle(tx: Tx) -> None:
    for action in tx._after_commit:
        action()


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # seen: a caller that went away is no reason to warn


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def _told(error: DatabaseError) -> Exception:
    """Return what a SQLite error means to callers: itself, when a statement of ours is to blame."""
    if isinstance(error, OperationalError | InterfaceError) or _is_damage(error):
        return _unavailable(error)
    return error


def _unavailable(error: BaseException) -> StoreUnavailable:
    cause = getattr(error, "orig", None) or error
    reason = str(cause).strip() or type(cause).__name__  # a timeout, for one, says nothing
    said = reason.splitlines()[0][:200]
    if _is_damage(error):
        return StoreDamaged(
            f"The database file is damaged ({said}). Stop the server, keep the file aside, and "
            "`carrick restore` a backup."
        )
    return StoreUnavailable(f"The database does not answer: {said}")


def _is_damage(error: BaseException) -> bool:
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0)
    # The low byte; the others say more about it.
    return isinstance(code, int) and code & 0xFF in _DAMAGE


def open_store(url: str, clock: Clock, faults: Faults = NO_FAULTS) -> Store:
    """Open a store without touching the database yet.

    Args:
        url: `postgresql://…`, or `sqlite:///path`.
        clock: What units take as now.
        faults: What happens around commits.
    """
    # What is stored belongs to customers: an error that ends in a log must not quote it.
    settings: dict[str, Any] = {"hide_parameters": True}
    if url.startswith("sqlite"):
        settings["connect_args"] = {"check_same_thread": False}  # loop and commit thread take turns
        readers = create_engine(url, pool_size=8, max_overflow=64, **settings)
        writer = create_engine(url, pool_size=1, max_overflow=0, **settings)
        _prepare_sqlite(readers, "BEGIN")
        _prepare_sqlite(writer, "BEGIN IMMEDIATE")
        return SqliteStore(readers, writer, clock, faults)
    url = url.replace("postgres://", "postgresql://", 1)
    url = url.replace("postgresql://", "postgresql+asyncpg://", 1)
    engine = create_async_engine(url, pool_size=10, max_overflow=20, pool_pre_ping=True, **settings)
    return Store(engine, clock, faults)


def sqlite_url(path: Path) -> str:
    """Return the store URL of a SQLite file."""
    return f"sqlite:///{path}"


def _prepare_sqlite(engine: Engine, begin: str) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=10000",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.execute(begin)  # past SQLAlchemy: every read and every batch of writes does it


async def ping(store: Store) -> None:
    """Ask the database for a sign of life.

    Raises:
        StoreUnavailable: It gave none.
    """

    async def unit(tx: Tx) -> None:
        await tx.execute(text("SELECT 1"))

    await store.read(unit)


@contextlib.asynccontextmanager
async def running(store: Store) -> AsyncIterator[Store]:
    """Start the store and close it at the end."""
    await store.start()
    try:
        yield store
    finally:
        await store.close()
