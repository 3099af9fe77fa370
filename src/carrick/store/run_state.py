"""SQL of what a function keeps between attempts: checkpoints and locks."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from carrick.store.tables import checkpoints, function_locks
from carrick.store.unit import Tx


async def checkpoint(tx: Tx, connection_row_id: int, function: str) -> bytes | None:
    """Return a function's checkpoint on a connection, sealed."""
    value: bytes | None = await tx.scalar(
        select(checkpoints.c.value).where(
            checkpoints.c.connection_row_id == connection_row_id,
            checkpoints.c.function == function,
        )
    )
    return value


async def save_checkpoint(tx: Tx, connection_row_id: int, function: str, value: bytes) -> None:
    """Write a function's checkpoint."""
    make = postgresql.insert if tx.is_postgres else sqlite.insert
    await tx.execute(
        make(checkpoints)
        .values(connection_row_id=connection_row_id, function=function, value=value)
        .on_conflict_do_update(
            index_elements=["connection_row_id", "function"], set_={"value": value}
        )
    )


async def clear_checkpoint(tx: Tx, connection_row_id: int, function: str | None = None) -> None:
    """Forget a function's checkpoint, or all of a connection's."""
    statement = delete(checkpoints).where(checkpoints.c.connection_row_id == connection_row_id)
    if function is not None:
        statement = statement.where(checkpoints.c.function == function)
    await tx.execute(statement)


async def acquire_lock(
    tx: Tx, integration_row_id: int, key: str, owner: str, ttl_s: float
) -> int | None:
    """Take a lock that is free, expired or already the owner's; return its fence or `None`."""
    make = postgresql.insert if tx.is_postgres else sqlite.insert
    await tx.execute(
        make(function_locks)
        .values(integration_row_id=integration_row_id, key=key, owner=None, fence=0, until=tx.now)
        .on_conflict_do_nothing(index_elements=["integration_row_id", "key"])
    )
    fence: int | None = await tx.scalar(
        update(function_locks)
        .where(
            function_locks.c.integration_row_id == integration_row_id,
            function_locks.c.key == key,
            or_(
                function_locks.c.owner.is_(None),
                function_locks.c.owner == owner,
                function_locks.c.until < tx.now,
            ),
        )
        .values(
            owner=owner,
            fence=function_locks.c.fence + 1,
            until=tx.now + timedelta(seconds=ttl_s),
        )
        .returning(function_locks.c.fence)
    )
    return fence


async def release_lock(
    tx: Tx, integration_row_id: int, key: str, owner: str, fence: int | None
) -> bool:
    """Give a lock back; `False` when it was no longer the owner's."""
    statement = update(function_locks).where(
        function_locks.c.integration_row_id == integration_row_id,
        function_locks.c.key == key,
        function_locks.c.owner == owner,
    )
    if fence is not None:
        statement = statement.where(function_locks.c.fence == fence)
    return await tx.changed(statement.values(owner=None)) == 1


async def release_locks_of(tx: Tx, owner: str) -> None:
    """Give back every lock of a run that ended."""
    await tx.execute(
        update(function_locks).where(function_locks.c.owner == owner).values(owner=None)
    )
