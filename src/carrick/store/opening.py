"""Opening a store: which of the two an address means, and what its connections are set to."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.ext.asyncio import create_async_engine

from carrick.model.clock import Clock
from carrick.model.faults import NO_FAULTS, Faults
from carrick.store.sqlite import SqliteStore
from carrick.store.unit import Store

#: Seconds Postgres gets for a statement, for a lock that another holds, and for a connection of its
#: own or of the pool. Units are many short statements; what takes longer would only pile up.
_STATEMENT_S = 15
_LOCK_S = 10
_CONNECTION_S = 10
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
