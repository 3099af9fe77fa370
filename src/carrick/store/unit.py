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
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    Connection,
    CursorResult,
    Engine,
    Executable,
    Row,
    create_engine,
    delete,
    event,
    insert,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from carrick.errors import StoreUnavailable
from carrick.model.clock import Clock
from carrick.model.faults import NO_FAULTS, Faults, Point
from carrick.store.condition import Condition
from carrick.store.failures import DatabaseFile, meaning_of, sqlstate, unavailable
from carrick.store.tables import store_facts

T = TypeVar("T")
Unit = Callable[["Tx"], Awaitable[T]]

#: How many waiting units share one SQLite commit at most.
_BATCH = 64
#: What is written to see whether something can be.
_PROBE = "probe"
#: How many answers of `recall` are kept at most.
_MOST_RECALLED = 4096
#: Seconds Postgres gets for a statement, for a lock that another holds, and for a connection of its
#: own or of the pool. Units are many short statements; what takes longer would only pile up.
_STATEMENT_S = 15
_LOCK_S = 10
_CONNECTION_S = 10
#: How long a node that is cut off in the middle of a unit may keep others from its rows: less than
#: they wait for a lock, and little more than its leases live.
_IDLE_S = 8
#: How often a unit that Postgres aborted for a deadlock or a lost race is tried.
_TRIES = 5
#: What says something of the database, and not of what was asked.
_OF_THE_DATABASE = (DBAPIError, PoolTimeoutError, OSError, StoreUnavailable)
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
        self.reading = Condition("reads", clock)
        self.writing = Condition("writes", clock)

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
            except _OF_THE_DATABASE as error:
                if sqlstate(error) in _RETRYABLE_SQLSTATES and attempt < _TRIES:
                    continue
                meaning = _told(self.writing, error)
                if meaning is error:
                    raise
                raise meaning from error
            await self._faults.reached(Point.AFTER_COMMIT)
            self.writing.worked()
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
                result = await unit(Tx(connection, self._clock))
        except _OF_THE_DATABASE as error:
            meaning = _told(self.reading, error)
            if meaning is error:
                raise
            raise meaning from error
        self.reading.worked()
        return result

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
        # Without limits: it may rewrite a table, or wait for another node that does.
        patient = create_async_engine(self.engine.url, poolclass=NullPool, hide_parameters=True)
        async with patient.begin() as connection:
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
        try:
            self._file.demand()
            with self._readers.connect() as connection:
                result = await unit(Tx(connection, self._clock, scans))
        except _OF_THE_DATABASE as error:
            meaning = _told(self.reading, error)
            if meaning is error:
                raise
            raise meaning from error
        self.reading.worked()
        return result

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
            _fail(waiting.done, refusal if is_ours else _told(self.writing, refusal))
        for waiting, result, tx in finished:
            _settle(tx)
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


def _settle(tx: Tx) -> None:
    for action in tx._after_commit:
        action()


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # seen: a caller that went away is no reason to warn


def _told(condition: Condition, error: BaseException) -> BaseException:
    """Return what an error means to callers; the log says it when it is news."""
    meaning = meaning_of(error)
    if isinstance(meaning, StoreUnavailable):
        condition.failed(meaning)
    return meaning


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
    limits = {
        "timeout": _CONNECTION_S,
        "command_timeout": _STATEMENT_S + 1,  # where the database is too far gone to keep its own
        "server_settings": {
            "statement_timeout": f"{_STATEMENT_S}s",
            "lock_timeout": f"{_LOCK_S}s",
            "idle_in_transaction_session_timeout": f"{_IDLE_S}s",
        },
    }
    engine = create_async_engine(
        url,
        pool_size=10,
        max_overflow=20,
        pool_timeout=_CONNECTION_S,
        pool_pre_ping=True,
        connect_args=limits,
        **settings,
    )
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


async def ping_writes(store: Store) -> None:
    """Ask the database for a sign of life, and to keep something where it last could not.

    Raises:
        StoreUnavailable: It gave none, or still cannot.
    """

    async def unit(tx: Tx) -> None:
        await tx.execute(delete(store_facts).where(store_facts.c.name == _PROBE))
        await tx.execute(insert(store_facts).values(name=_PROBE, value=tx.now.isoformat()))

    await ping(store)
    if store.writing.has_failed:
        await store.write(unit)


@contextlib.asynccontextmanager
async def running(store: Store) -> AsyncIterator[Store]:
    """Start the store and close it at the end."""
    await store.start()
    try:
        yield store
    finally:
        await store.close()
