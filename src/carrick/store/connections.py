"""SQL of connections and their end users. State changes go through `carrick.connections`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Row,
    Select,
    bindparam,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from carrick.model.connection import (
    Connection,
    ConnectionState,
    EndUser,
    ErrorCause,
    SetupState,
)
from carrick.store.tables import connections, end_users
from carrick.store.unit import Tx

USABLE = (ConnectionState.ACTIVE.value, ConnectionState.AUTH_ERROR.value)


class AlreadyExists(Exception):
    """A usable connection with this id exists under the integration."""


@dataclass(frozen=True)
class ConnectionFilter:
    """What a list of connections is narrowed to; everything given must hold."""

    connection_id: str | None = None
    search: str | None = None
    end_user_id: str | None = None
    end_user_organization_id: str | None = None
    integration_ids: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    page: int = 0
    #: Cursor: only connections that were made before this one (its row id).
    after: int | None = None


@dataclass(frozen=True)
class SealedCredentials:
    """A connection's credentials as they lie in the store."""

    credential_set: str
    auth_mode: str
    ciphertext: bytes | None


_end_user_columns = (
    end_users.c.end_user_id.label("eu_id"),
    end_users.c.email.label("eu_email"),
    end_users.c.display_name.label("eu_display_name"),
    end_users.c.tags.label("eu_tags"),
    end_users.c.organization_id.label("eu_organization_id"),
    end_users.c.organization_display_name.label("eu_organization_display_name"),
)


def _select() -> Select[Any]:
    joined = connections.outerjoin(end_users, connections.c.end_user_row_id == end_users.c.id)
    return select(connections, *_end_user_columns).select_from(joined)


_GET = _select().where(connections.c.id == bindparam("row"))
_GET_LOCKED = _GET.with_for_update(of=connections)
_FIND_USABLE = _select().where(
    connections.c.environment_id == bindparam("environment"),
    connections.c.connection_id == bindparam("public_id"),
    connections.c.integration_id == bindparam("integration"),
    connections.c.state.in_([literal_column(f"'{state}'") for state in USABLE]),
)
_FIND_USABLE_LOCKED = _FIND_USABLE.with_for_update(of=connections)
_INSERT = insert(connections).returning(connections.c.id)
_CHANGE = update(connections).where(connections.c.id == bindparam("row"))
_CHANGE_SAME = _CHANGE.where(connections.c.generation == bindparam("same_generation"))
_SEALED = select(
    connections.c.credential_set, connections.c.auth_mode, connections.c.credentials
).where(connections.c.id == bindparam("row"))


def _read(row: Row[Any]) -> Connection:
    end_user = None
    if row.eu_id is not None:
        end_user = EndUser(
            id=row.eu_id,
            email=row.eu_email,
            display_name=row.eu_display_name,
            tags=row.eu_tags or {},
            organization_id=row.eu_organization_id,
            organization_display_name=row.eu_organization_display_name,
        )
    return Connection(
        row_id=row.id,
        environment_id=row.environment_id,
        integration_row_id=row.integration_row_id,
        integration_id=row.integration_id,
        provider=row.provider,
        connection_id=row.connection_id,
        state=ConnectionState(row.state),
        generation=row.generation,
        connection_config=row.connection_config,
        metadata=row.metadata,
        metadata_version=row.metadata_version,
        tags=row.tags,
        end_user=end_user,
        account_id=row.account_id,
        webhook_url_override=row.webhook_url_override,
        setup=SetupState(row.setup),
        error_cause=ErrorCause(row.error_cause) if row.error_cause else None,
        error_operation_id=row.error_operation_id,
        refresh_attempts=row.refresh_attempts,
        last_refresh_failure_at=row.last_refresh_failure_at,
        last_refresh_success_at=row.last_refresh_success_at,
        credentials_expires_at=row.credentials_expires_at,
        last_fetched_at=row.last_fetched_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


async def get(tx: Tx, row_id: int, *, lock: bool = False) -> Connection | None:
    """Return a connection in whatever state; `lock` keeps others from changing it until commit."""
    row = await tx.row(_GET_LOCKED if lock else _GET, {"row": row_id})
    return _read(row) if row is not None else None


async def find_usable(
    tx: Tx, environment_id: int, integration_id: str, connection_id: str, *, lock: bool = False
) -> Connection | None:
    """Return the active or broken connection with that public id."""
    wanted = {
        "environment": environment_id,
        "public_id": connection_id,
        "integration": integration_id,
    }
    row = await tx.row(_FIND_USABLE_LOCKED if lock else _FIND_USABLE, wanted)
    return _read(row) if row is not None else None


async def find_deleting(
    tx: Tx, environment_id: int, integration_id: str, connection_id: str
) -> Connection | None:
    """Return the latest connection with that public id whose deletion is under way."""
    row = await tx.row(
        _select()
        .where(
            connections.c.environment_id == environment_id,
            connections.c.connection_id == connection_id,
            connections.c.integration_id == integration_id,
            connections.c.state == ConnectionState.DELETING.value,
        )
        .order_by(connections.c.id.desc())
    )
    return _read(row) if row is not None else None


async def list_usable(tx: Tx, environment_id: int, wanted: ConnectionFilter) -> list[Connection]:
    """Return connections an API caller may see, newest first."""
    statement = _select().where(
        connections.c.environment_id == environment_id, connections.c.state.in_(USABLE)
    )
    if wanted.connection_id is not None:
        statement = statement.where(connections.c.connection_id == wanted.connection_id)
    if wanted.search is not None:
        statement = statement.where(_matches(wanted.search))
    if wanted.end_user_id is not None:
        statement = statement.where(end_users.c.end_user_id == wanted.end_user_id)
    if wanted.end_user_organization_id is not None:
        statement = statement.where(end_users.c.organization_id == wanted.end_user_organization_id)
    if wanted.integration_ids:
        statement = statement.where(connections.c.integration_id.in_(list(wanted.integration_ids)))
    for name, value in wanted.tags.items():
        statement = statement.where(connections.c.tags[name].as_string() == value)
    if wanted.after is not None:
        statement = statement.where(connections.c.id < wanted.after)
    statement = statement.order_by(connections.c.created_at.desc(), connections.c.id.desc())
    limit = wanted.limit if wanted.limit is not None else 10_000
    statement = statement.limit(limit).offset(wanted.page * limit)
    return [_read(row) for row in await tx.rows(statement)]


def _matches(search: str) -> Any:
    escaped = search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    pattern = f"%{escaped.lower()}%"
    columns = (connections.c.connection_id, end_users.c.display_name, end_users.c.email)
    return or_(*(func.lower(column).like(pattern, escape="\\") for column in columns))


async def insert_connection(tx: Tx, values: Mapping[str, Any]) -> int:
    """Insert a connection and return its row id.

    Raises:
        AlreadyExists: A usable one with this public id is there.
    """
    try:
        result = await tx.execute(_INSERT, values)
    except IntegrityError as error:
        raise AlreadyExists from error
    return int(result.scalar_one())


async def change(
    tx: Tx, row_id: int, values: Mapping[str, Any], *, generation: int | None = None
) -> bool:
    """Write columns of one connection; with `generation`, only if it still has that one."""
    written = {"row": row_id, "updated_at": tx.now, **values}
    if generation is None:
        return await tx.changed(_CHANGE, written) == 1
    return await tx.changed(_CHANGE_SAME, {**written, "same_generation": generation}) == 1


async def sealed_credentials(tx: Tx, row_id: int) -> SealedCredentials | None:
    """Return the ciphertext of a connection's credentials."""
    row = await tx.row(_SEALED, {"row": row_id})
    return SealedCredentials(row.credential_set, row.auth_mode, row.credentials) if row else None


async def usable_of_integration(tx: Tx, integration_row_id: int) -> list[int]:
    """Return the row ids of an integration's usable connections, in the order they were made."""
    rows = await tx.rows(
        select(connections.c.id)
        .where(
            connections.c.integration_row_id == integration_row_id,
            connections.c.state.in_(USABLE),
        )
        .order_by(connections.c.id)
    )
    return [row.id for row in rows]


async def count_unfinished(tx: Tx, integration_row_id: int) -> int:
    """Return how many connections of an integration are not gone yet."""
    return int(
        await tx.scalar(
            select(func.count()).where(
                connections.c.integration_row_id == integration_row_id,
                connections.c.state != ConnectionState.GONE.value,
            )
        )
        or 0
    )


async def write_fetched(tx: Tx, fetched: Mapping[int, datetime]) -> None:
    """Write when connections were last used, many at a time."""
    by_time: dict[datetime, list[int]] = {}
    for row_id, moment in fetched.items():
        by_time.setdefault(moment, []).append(row_id)
    for moment, row_ids in by_time.items():
        await tx.execute(
            update(connections)
            .where(connections.c.id.in_(row_ids), connections.c.state.in_(USABLE))
            .values(last_fetched_at=moment)
        )


async def upsert_end_user(tx: Tx, environment_id: int, end_user: EndUser) -> int:
    """Write an end user and return the row id."""
    make = postgresql.insert if tx.is_postgres else sqlite.insert
    values = {
        "email": end_user.email,
        "display_name": end_user.display_name,
        "tags": dict(end_user.tags),
        "organization_id": end_user.organization_id,
        "organization_display_name": end_user.organization_display_name,
    }
    statement = (
        make(end_users)
        .values(environment_id=environment_id, end_user_id=end_user.id, **values)
        .on_conflict_do_update(index_elements=["environment_id", "end_user_id"], set_=values)
        .returning(end_users.c.id)
    )
    return int((await tx.execute(statement)).scalar_one())
