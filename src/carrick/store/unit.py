"""The store: writes are units, reads are read-only transactions on other connections.

A unit is an async function of a transaction. On Postgres, which is here, each unit is a transaction
of its own from a pool; how SQLite does it is in `sqlite.py`.

A unit must await nothing but its transaction: on SQLite everybody else's writes wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, CursorResult, Executable, Row, delete, insert, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from carrick.model.clock import Clock
from carrick.model.faults import NO_FAULTS, Faults, Point
from carrick.store.condition import Condition
from carrick.store.failures import OF_THE_DATABASE, sqlstate
from carrick.store.tables import store_facts

T = TypeVar("T")
Unit = Callable[["Tx"], Awaitable[T]]

#: What is written to see whether something can be.
_PROBE = "probe"
#: Seconds all connections get to be closed as they should be.
_CLOSING_S = 5
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

    def committed(self) -> None:
        """Do what was to be done once this unit is durable."""
        for action in self._after_commit:
            action()

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
        try:
            async with asyncio.timeout(_CLOSING_S):
                await self.engine.dispose()
        except TimeoutError:  # each connection says farewell, and waits to be heard
            await self.engine.dispose(close=False)

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
            except OF_THE_DATABASE as error:
                if sqlstate(error) in _RETRYABLE_SQLSTATES and attempt < _TRIES:
                    continue
                meaning = self.writing.hear(error)
                if meaning is error:
                    raise
                raise meaning from error
            await self._faults.reached(Point.AFTER_COMMIT)
            self.writing.worked()
            tx.committed()
            return result
        raise AssertionError("unreachable: the last try returns or raises")

    async def read(self, unit: Unit[T], *, scans: bool = False) -> T:
        """Run a unit that only reads, on a connection of its own.

        Args:
            unit: What to read.
            scans: Whether it may touch many rows; SQLite then reads them in a thread.
        """
        with self.reading.watched():
            async with self.engine.connect() as connection:
                return await unit(Tx(connection, self._clock))

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
