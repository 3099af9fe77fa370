"""Opening a store: which of the two an address means, and what its connections are set to."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from carrick.model.clock import Clock
from carrick.model.faults import NO_FAULTS, Faults
from carrick.store import sockets
from carrick.store.failures import unavailable
from carrick.store.sqlite import SqliteStore
from carrick.store.unit import Store

#: Seconds Postgres gets for a statement, for a lock that another holds, and for a new connection;
#: and how long is waited for one of the pool. Units are many short statements; what takes longer
#: would only pile up.
_STATEMENT_S = 15
_LOCK_S = 10
_CONNECTION_S = 5
_POOL_S = 10
#: How long a node that is cut off in the middle of a unit may keep others from its rows: less than
#: they wait for a lock, and little more than its leases live.
_IDLE_S = 8


@contextlib.asynccontextmanager
async def running(store: Store) -> AsyncIterator[Store]:
    """Start the store and close it at the end."""
    await store.start()
    try:
        yield store
    finally:
        await store.close()


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
    }
    engine = create_async_engine(
        url,
        pool_size=10,
        max_overflow=20,
        pool_timeout=_POOL_S,
        pool_pre_ping=True,
        connect_args=limits,
        **settings,
    )
    _prepare_postgres(engine)
    return Store(engine, clock, faults)


def sqlite_url(path: Path) -> str:
    """Return the store URL of a SQLite file."""
    return f"sqlite:///{path}"


def _prepare_postgres(engine: AsyncEngine) -> None:
    limits = {
        "statement_timeout": _STATEMENT_S,
        "lock_timeout": _LOCK_S,
        "idle_in_transaction_session_timeout": _IDLE_S,
    }
    # Not said with the connection: poolers refuse what they do not know of it.
    settings = ";".join(f"SET {name} = '{seconds}s'" for name, seconds in limits.items())

    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        sockets.notice_silence(connection.driver_connection)
        try:
            connection.run_async(lambda driver: driver.execute(settings))
        except Exception as error:  # the driver's own: only the engine knows their names
            raise unavailable(error) from error


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
            "temp_store=MEMORY",  # a full /tmp must not keep a database with room from writing
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.execute(begin)  # past SQLAlchemy: every read and every batch of writes does it
