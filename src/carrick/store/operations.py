"""SQL of operations and their messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, bindparam, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from carrick.store.tables import operation_messages, operations
from carrick.store.unit import Tx


@dataclass(frozen=True)
class Operation:
    """One entry of the log: what was done, to what, and how it ended."""

    id: str
    environment_id: int
    type: str
    action: str
    state: str
    message: str | None
    integration_id: str | None
    provider: str | None
    connection_row_id: int | None
    connection_id: str | None
    function: str | None
    error: Mapping[str, Any] | None
    meta: Mapping[str, Any]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class OperationMessage:
    """One line of an operation: a log line, or an HTTP call."""

    id: int
    operation_id: str
    at: datetime
    level: str
    kind: str
    message: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class OperationFilter:
    """What a list of operations is narrowed to; everything given must hold."""

    states: Sequence[str] = ()
    types: Sequence[str] = ()
    actions: Sequence[str] = ()
    integration_ids: Sequence[str] = ()
    connection_ids: Sequence[str] = ()
    connection_row_id: int | None = None
    #: Cursor: only operations older than this one.
    before: str | None = None
    limit: int = 100


@dataclass(frozen=True)
class Closing:
    """How an operation ends."""

    state: str
    ended_at: datetime
    message: str | None = None
    error: Mapping[str, Any] | None = field(default=None)


def _operation(row: Row[Any]) -> Operation:
    return Operation(**row._mapping)


_INSERT = insert(operations)
_OPEN = update(operations).where(
    operations.c.id == bindparam("operation"), operations.c.ended_at.is_(None)
)
_CLOSE = _OPEN.returning(operations.c.environment_id, operations.c.type, operations.c.action)
_START = _OPEN.values(
    state="running", started_at=func.coalesce(operations.c.started_at, bindparam("moment"))
)


async def insert_operation(tx: Tx, values: Mapping[str, Any]) -> None:
    """Store one operation: the columns of `operations` by name."""
    await tx.execute(_INSERT, values)


async def insert_operations(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store operations; one that is there already is left as it is."""
    dialect = postgresql if tx.is_postgres else sqlite
    statement = dialect.insert(operations).on_conflict_do_nothing()
    await tx.execute_each(statement, rows)


async def insert_messages(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store messages in this order."""
    await tx.execute_each(insert(operation_messages), rows)


@dataclass(frozen=True)
class Closed:
    """What has just ended."""

    environment_id: int
    type: str
    action: str


async def close(tx: Tx, operation_id: str, closing: Closing) -> Closed | None:
    """End an operation that has not ended, and return what it was; `None` if there was none."""
    values: dict[str, Any] = {
        "operation": operation_id,
        "state": closing.state,
        "ended_at": closing.ended_at,
        "error": closing.error,
    }
    if closing.message is not None:
        values["message"] = closing.message
    row = await tx.row(_CLOSE, values)
    return Closed(**row._mapping) if row is not None else None


async def start(tx: Tx, operation_id: str) -> None:
    """Let an operation that waits run; its first start is kept."""
    await tx.execute(_START, {"operation": operation_id, "moment": tx.now})


async def reopen(tx: Tx, operation_id: str) -> bool:
    """Let an operation run again; whether there was one."""
    statement = (
        update(operations)
        .where(operations.c.id == operation_id)
        .values(state="running", ended_at=None, error=None)
    )
    return await tx.changed(statement) > 0


async def get(tx: Tx, environment_id: int, operation_id: str) -> Operation | None:
    """Return an operation of an environment."""
    statement = select(operations).where(
        operations.c.id == operation_id, operations.c.environment_id == environment_id
    )
    row = await tx.row(statement)
    return _operation(row) if row is not None else None


async def list_operations(tx: Tx, environment_id: int, wanted: OperationFilter) -> list[Operation]:
    """Return operations of an environment, newest first."""
    conditions = [operations.c.environment_id == environment_id, *_conditions(wanted)]
    if wanted.before is not None:
        conditions.append(_older_than(wanted.before, await _created_at(tx, wanted.before)))
    statement = (
        select(operations)
        .where(*conditions)
        .order_by(operations.c.created_at.desc(), operations.c.id.desc())
        .limit(wanted.limit)
    )
    return [_operation(row) for row in await tx.rows(statement)]


def _conditions(wanted: OperationFilter) -> list[ColumnElement[bool]]:
    choices = {
        operations.c.state: wanted.states,
        operations.c.type: wanted.types,
        operations.c.action: wanted.actions,
        operations.c.integration_id: wanted.integration_ids,
        operations.c.connection_id: wanted.connection_ids,
    }
    conditions: list[ColumnElement[bool]] = [
        column.in_(values) for column, values in choices.items() if values
    ]
    if wanted.connection_row_id is not None:
        conditions.append(operations.c.connection_row_id == wanted.connection_row_id)
    return conditions


async def _created_at(tx: Tx, operation_id: str) -> datetime:
    statement = select(operations.c.created_at).where(operations.c.id == operation_id)
    found: datetime | None = await tx.scalar(statement)
    if found is not None:
        return found
    milliseconds = operation_id.partition("_")[0]  # it is gone; its id still says when it began
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _older_than(operation_id: str, created_at: datetime) -> ColumnElement[bool]:
    # The first condition follows from the second; it is the one an index can serve.
    return and_(
        operations.c.created_at <= created_at,
        or_(operations.c.created_at < created_at, operations.c.id < operation_id),
    )


async def list_messages(
    tx: Tx, operation_id: str, *, after: int | None, limit: int
) -> list[OperationMessage]:
    """Return messages of an operation in the order they were written."""
    table = operation_messages
    statement = select(table).where(table.c.operation_id == operation_id)
    if after is not None:
        statement = statement.where(table.c.id > after)
    rows = await tx.rows(statement.order_by(table.c.id).limit(limit))
    return [OperationMessage(**row._mapping) for row in rows]
