"""SQL of integrations. Secrets go in and out as ciphertext."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, exists, func, insert, literal_column, select, update
from sqlalchemy.exc import IntegrityError

from carrick.errors import Conflict
from carrick.model.connection import ConnectionState
from carrick.model.environment import IntegrationState
from carrick.store.tables import connections, integrations
from carrick.store.unit import Tx


def _is_active() -> Any:
    # The state is a literal, so that the partial index serves a prepared statement as well.
    return integrations.c.state == literal_column("'active'")


_GET = select(integrations).where(integrations.c.id == bindparam("row"))
_FIND_ACTIVE = select(integrations).where(
    integrations.c.environment_id == bindparam("environment"),
    integrations.c.integration_id == bindparam("integration"),
    _is_active(),
)
# Not its key: what refers to the integration may be written meanwhile. A deletion takes this lock
# and then those of the connections, while functions that end hold theirs and refer to it.
_FIND_ACTIVE_LOCKED = _FIND_ACTIVE.with_for_update(key_share=True)
_HELD_ID = (
    select(integrations.c.integration_id)
    .where(integrations.c.id == bindparam("row"), _is_active())
    .with_for_update(read=True)
)
_HOLD_ACTIVE = (
    select(integrations.c.id)
    .where(
        integrations.c.environment_id == bindparam("environment"),
        integrations.c.integration_id == bindparam("integration"),
        _is_active(),
    )
    .with_for_update(read=True)
)
_HELD_STATE = (
    select(integrations.c.state)
    .where(integrations.c.id == bindparam("row"))
    .with_for_update(read=True)
)
_HELD_DELETING = (
    select(integrations.c.id)
    .where(
        integrations.c.id == bindparam("row"),
        integrations.c.state == IntegrationState.DELETING.value,
    )
    .with_for_update(key_share=True)
)


@dataclass(frozen=True)
class SealedIntegration:
    """An integration as it lies in the store."""

    row_id: int
    environment_id: int
    integration_id: str
    provider: str
    display_name: str | None
    state: str
    credential_set: str
    credentials: bytes | None = field(repr=False)
    integration_config: bytes | None = field(repr=False)
    custom: bytes | None = field(repr=False)
    settings: Mapping[str, Any]
    forward_webhooks: bool
    created_at: datetime
    updated_at: datetime


def _read(row: Row[Any]) -> SealedIntegration:
    return SealedIntegration(
        row_id=row.id,
        environment_id=row.environment_id,
        integration_id=row.integration_id,
        provider=row.provider,
        display_name=row.display_name,
        state=row.state,
        credential_set=row.credential_set,
        credentials=row.credentials,
        integration_config=row.integration_config,
        custom=row.custom,
        settings=row.settings,
        forward_webhooks=row.forward_webhooks,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


async def insert_integration(tx: Tx, values: Mapping[str, Any]) -> SealedIntegration:
    """Store an active integration: the columns of `integrations` by name.

    Raises:
        Conflict: The environment has an integration of that id.
    """
    statement = insert(integrations).values(
        {**values, "state": IntegrationState.ACTIVE, "created_at": tx.now, "updated_at": tx.now}
    )
    try:
        row = await tx.row(statement.returning(integrations))
    except IntegrityError as error:
        raise Conflict(f"An integration {values['integration_id']!r} exists already.") from error
    assert row is not None
    return _read(row)


async def update_integration(tx: Tx, row_id: int, values: Mapping[str, Any]) -> SealedIntegration:
    """Change columns of an integration by name.

    Raises:
        Conflict: The environment has another integration of the new id.
    """
    statement = (
        update(integrations)
        .where(integrations.c.id == row_id)
        .values({**values, "updated_at": tx.now})
    )
    try:
        row = await tx.row(statement.returning(integrations))
    except IntegrityError as error:
        raise Conflict("An integration of that id exists already.") from error
    assert row is not None
    return _read(row)


async def get(tx: Tx, row_id: int) -> SealedIntegration | None:
    """Return an integration in whatever state."""
    row = await tx.row(_GET, {"row": row_id})
    return _read(row) if row is not None else None


async def find_active(
    tx: Tx, environment_id: int, integration_id: str, *, lock: bool = False
) -> SealedIntegration | None:
    """Return the active integration of that id; `lock` keeps others from changing it."""
    wanted = {"environment": environment_id, "integration": integration_id}
    row = await tx.row(_FIND_ACTIVE_LOCKED if lock else _FIND_ACTIVE, wanted)
    return _read(row) if row is not None else None


async def list_active(tx: Tx, environment_id: int) -> list[SealedIntegration]:
    """Return an environment's active integrations: by provider, then oldest first."""
    statement = (
        select(integrations)
        .where(integrations.c.environment_id == environment_id, _is_active())
        .order_by(integrations.c.provider, integrations.c.created_at, integrations.c.id)
    )
    return [_read(row) for row in await tx.rows(statement)]


async def known_ids(tx: Tx, environment_id: int, wanted: Sequence[str]) -> set[str]:
    """Return which of these ids are active integrations."""
    if not wanted:
        return set()
    statement = select(integrations.c.integration_id).where(
        integrations.c.environment_id == environment_id,
        integrations.c.integration_id.in_(wanted),
        _is_active(),
    )
    return {row.integration_id for row in await tx.rows(statement)}


async def has_connections(tx: Tx, row_id: int) -> bool:
    """Whether any connection of an integration is not gone yet."""
    statement = select(
        exists().where(
            connections.c.integration_row_id == row_id,
            connections.c.state != ConnectionState.GONE.value,
        )
    )
    return bool(await tx.scalar(statement))


async def active_ids(tx: Tx, environment_id: int) -> list[str]:
    """Return the ids of an environment's integrations that are in use."""
    statement = select(integrations.c.integration_id).where(
        integrations.c.environment_id == environment_id, _is_active()
    )
    return [row.integration_id for row in await tx.rows(statement.order_by(integrations.c.id))]


async def count_unfinished(tx: Tx, environment_id: int) -> int:
    """Return how many integrations of an environment are not gone yet."""
    statement = select(func.count()).where(
        integrations.c.environment_id == environment_id,
        integrations.c.state != IntegrationState.GONE.value,
    )
    return int(await tx.scalar(statement) or 0)


async def held_id(tx: Tx, row_id: int) -> str | None:
    """Return the id of an integration in use, which stays both until this transaction ends."""
    found: str | None = await tx.scalar(_HELD_ID, {"row": row_id})
    return found


async def hold_active(tx: Tx, environment_id: int, integration_id: str) -> None:
    """Keep an integration in use until this transaction ends, or wait for who deletes it.

    For who goes on to its connections: the integration comes first, so that no two deadlock.
    """
    wanted = {"environment": environment_id, "integration": integration_id}
    await tx.execute(_HOLD_ACTIVE, wanted)


async def begin_deletion(tx: Tx, environment_id: int, integration_id: str) -> int | None:
    """Take an integration out of use; its id is free again. Return its row, if there was one."""
    found = await find_active(tx, environment_id, integration_id, lock=True)
    if found is None:
        return None
    await tx.execute(
        update(integrations)
        .where(integrations.c.id == found.row_id)
        .values(state=IntegrationState.DELETING.value, updated_at=tx.now)
    )
    return found.row_id


async def hold_deleting(tx: Tx, row_id: int) -> bool:
    """Say whether an integration is being deleted, and let nobody else finish that meanwhile.

    One that is not stays so until this transaction ends, and a deletion that is being written is
    waited for: otherwise it would still see what this transaction ends, this one would not see it,
    and neither would do the rest.
    """
    if await tx.scalar(_HELD_DELETING, {"row": row_id}) is not None:
        return True
    if await tx.scalar(_HELD_STATE, {"row": row_id}) != IntegrationState.DELETING.value:
        return False
    return await tx.scalar(_HELD_DELETING, {"row": row_id}) is not None


async def finish_deletion(tx: Tx, row_id: int) -> None:
    """Erase the secrets of an integration that is being deleted; the row stays as a tombstone."""
    await tx.execute(
        update(integrations)
        .where(integrations.c.id == row_id, integrations.c.state == IntegrationState.DELETING.value)
        .values(
            state=IntegrationState.GONE.value,
            credentials=None,
            integration_config=None,
            custom=None,
            updated_at=tx.now,
        )
    )
