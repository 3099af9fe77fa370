"""Whether something between this process and Postgres shares one connection among many.

A pooler that hands a connection on after each transaction (PgBouncer in transaction mode) breaks
what belongs to a session: LISTEN, by which nodes hear of work; prepared statements; locks that
outlive a transaction; limits that are set once. Most of it would fail now and then, and LISTEN
without a word.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import asyncpg

from carrick.engine.schema import arguments
from carrick.errors import SettingsInvalid
from carrick.store.unit import Store

_ANSWER_S = 10.0


async def demand_sessions(store: Store) -> None:
    """Make sure that a connection of ours is one of Postgres's, for as long as it lasts.

    A database that cannot be asked is passed over: whoever asks it next will say why.

    Raises:
        SettingsInvalid: Transactions of one connection run on several.
    """
    if not store.is_postgres:
        return
    try:
        is_shared = await _is_shared(arguments(store))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return
    if is_shared:
        raise SettingsInvalid(
            "CARRICK_DATABASE_URL leads to a pooler that gives each transaction another "
            "connection (as PgBouncer does with pool_mode = transaction). Set it to Postgres "
            "itself, or to a pooler in session mode: Carrick keeps a small pool of its own."
        )


async def _is_shared(where: Mapping[str, Any]) -> bool:
    async with contextlib.AsyncExitStack() as stack:
        one = await _connected(stack, where)
        if await _process(one) == one.get_server_pid():
            return False  # nobody is in between
        other = await _connected(stack, where)
        # Both at once, so on two processes; then free again, the other one's last. A pooler that
        # shares them hands out that one next, or the two in turn.
        async with one.transaction():
            first = await _process(one)
            held = other.transaction()
            await held.start()
        await held.commit()
        return {await _process(one), await _process(one)} != {first}


async def _connected(
    stack: contextlib.AsyncExitStack, where: Mapping[str, Any]
) -> asyncpg.Connection:
    connection = await asyncpg.connect(
        **where, statement_cache_size=0, timeout=_ANSWER_S, command_timeout=_ANSWER_S
    )
    stack.callback(connection.terminate)
    return connection


async def _process(connection: asyncpg.Connection) -> int:
    found: int = await connection.fetchval("SELECT pg_backend_pid()")
    return found
