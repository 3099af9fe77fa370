"""SQL of environments, their API keys and their variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from carrick.errors import Conflict
from carrick.model.environment import ApiKey, Environment
from carrick.store.tables import api_keys, environment_variables, environments
from carrick.store.unit import Tx

ACTIVE = "active"
DELETING = "deleting"
GONE = "gone"


@dataclass(frozen=True)
class NewEnvironment:
    """An environment about to be stored."""

    uuid: str
    name: str
    #: Sealed.
    signing_key: bytes = field(repr=False)
    public_key: str


@dataclass(frozen=True)
class KeyHolder:
    """What an API key opens: its environment, and what it may do there."""

    environment: Environment
    key: ApiKey


def _environment(row: Row[Any]) -> Environment:
    return Environment(row.id, row.uuid, row.name, row.settings)


def _api_key(row: Row[Any]) -> ApiKey:
    return ApiKey(row.id, row.environment_id, row.display_name, tuple(row.scopes), row.created_at)


# --- environments ---------------------------------------------------------------------------


async def insert_environment(tx: Tx, new: NewEnvironment) -> Environment:
    """Store an environment.

    Raises:
        Conflict: There is one by that name.
    """
    statement = insert(environments).values(
        uuid=new.uuid,
        name=new.name,
        state=ACTIVE,
        settings={},
        webhook_signing_key=new.signing_key,
        public_key=new.public_key,
        created_at=tx.now,
    )
    try:
        row_id = await tx.scalar(statement.returning(environments.c.id))
    except IntegrityError as error:
        raise Conflict(f"An environment named {new.name!r} exists already.") from error
    return Environment(row_id, new.uuid, new.name, {})


_GET = select(environments).where(environments.c.id == bindparam("row"))
_GET_LOCKED = _GET.with_for_update()


async def get(tx: Tx, row_id: int, *, lock: bool = False) -> Environment | None:
    """Return an environment in whatever state; `lock` keeps others from changing it."""
    row = await tx.row(_GET_LOCKED if lock else _GET, {"row": row_id})
    return _environment(row) if row is not None else None


async def by_name(tx: Tx, name: str) -> Environment | None:
    """Return the active environment of that name."""
    statement = select(environments).where(
        environments.c.name == name, environments.c.state == ACTIVE
    )
    row = await tx.row(statement)
    return _environment(row) if row is not None else None


async def by_public_key(tx: Tx, public_key: str) -> Environment | None:
    """Return the active environment with that public key."""
    statement = select(environments).where(
        environments.c.public_key == public_key, environments.c.state == ACTIVE
    )
    row = await tx.row(statement)
    return _environment(row) if row is not None else None


async def list_all(tx: Tx) -> list[Environment]:
    """Return the active environments in the order they were made."""
    statement = select(environments).where(environments.c.state == ACTIVE)
    return [_environment(row) for row in await tx.rows(statement.order_by(environments.c.id))]


async def names(tx: Tx) -> set[str]:
    """Return every name that is taken, also by an environment whose cleanup is not done."""
    statement = select(environments.c.name).where(environments.c.state != GONE)
    return {row.name for row in await tx.rows(statement)}


async def begin_deletion(tx: Tx, row_id: int) -> bool:
    """Take an environment out of use; its keys stay for whoever sees to its cleanups."""
    statement = update(environments).where(
        environments.c.id == row_id, environments.c.state == ACTIVE
    )
    return await tx.changed(statement.values(state=DELETING)) == 1


_HELD_STATE = (
    select(environments.c.state)
    .where(environments.c.id == bindparam("row"))
    .with_for_update(read=True)
)
_HELD_DELETING = (
    select(environments.c.id)
    .where(environments.c.id == bindparam("row"), environments.c.state == DELETING)
    .with_for_update(key_share=True)
)


async def hold_deleting(tx: Tx, row_id: int) -> bool:
    """Say whether an environment is being deleted, and let nobody else finish that meanwhile.

    One that is not stays so until this transaction ends; see the same of integrations.
    """
    if await tx.scalar(_HELD_DELETING, {"row": row_id}) is not None:
        return True
    if await tx.scalar(_HELD_STATE, {"row": row_id}) != DELETING:
        return False
    return await tx.scalar(_HELD_DELETING, {"row": row_id}) is not None


async def finish_deletion(tx: Tx, row_id: int) -> bool:
    """Erase an environment that is being deleted: its keys, variables and name."""
    statement = update(environments).where(
        environments.c.id == row_id, environments.c.state == DELETING
    )
    if await tx.changed(statement.values(state=GONE, settings={})) == 0:
        return False
    for table in (api_keys, environment_variables):
        await tx.execute(delete(table).where(table.c.environment_id == row_id))
    return True


_IS_ACTIVE = (
    select(environments.c.id)
    .where(environments.c.id == bindparam("row"), environments.c.state == ACTIVE)
    .with_for_update(read=True)
)


async def is_active(tx: Tx, row_id: int) -> bool:
    """Say whether an environment is in use, and keep it so until this transaction ends."""
    return await tx.scalar(_IS_ACTIVE, {"row": row_id}) is not None


async def public_key(tx: Tx, row_id: int) -> str | None:
    """Return an environment's public key."""
    statement = select(environments.c.public_key).where(environments.c.id == row_id)
    key: str | None = await tx.scalar(statement)
    return key


async def signing_keys(tx: Tx, row_id: int | None = None) -> list[tuple[str, bytes]]:
    """Return uuid and sealed signing key: of one environment, or of all."""
    statement = select(environments.c.uuid, environments.c.webhook_signing_key)
    if row_id is not None:
        statement = statement.where(environments.c.id == row_id)
    return [(row.uuid, row.webhook_signing_key) for row in await tx.rows(statement)]


async def set_signing_key(tx: Tx, row_id: int, sealed: bytes) -> None:
    """Replace an environment's signing key."""
    await tx.execute(
        update(environments).where(environments.c.id == row_id).values(webhook_signing_key=sealed)
    )


async def set_settings(tx: Tx, row_id: int, settings: Mapping[str, Any]) -> None:
    """Replace an environment's settings."""
    await tx.execute(
        update(environments).where(environments.c.id == row_id).values(settings=dict(settings))
    )


# --- API keys -------------------------------------------------------------------------------


async def insert_api_key(
    tx: Tx, environment_id: int, display_name: str, hashed: str, scopes: Sequence[str]
) -> ApiKey:
    """Store an API key by its hash.

    Raises:
        Conflict: The environment has a key of that name, or the key itself is known.
    """
    statement = insert(api_keys).values(
        environment_id=environment_id,
        display_name=display_name,
        hash=hashed,
        scopes=list(scopes),
        created_at=tx.now,
    )
    try:
        row_id = await tx.scalar(statement.returning(api_keys.c.id))
    except IntegrityError as error:
        raise Conflict(f"An API key named {display_name!r} exists already.") from error
    return ApiKey(row_id, environment_id, display_name, tuple(scopes), tx.now)


async def key_holder(tx: Tx, hashed: str) -> KeyHolder | None:
    """Return whose API key it is: one read, by the hash's index."""
    statement = (
        select(
            api_keys.c.id,
            api_keys.c.display_name,
            api_keys.c.scopes,
            api_keys.c.created_at,
            environments.c.id.label("environment_id"),
            environments.c.uuid,
            environments.c.name,
            environments.c.settings,
        )
        .join(environments, environments.c.id == api_keys.c.environment_id)
        .where(api_keys.c.hash == hashed)
    )
    row = await tx.row(statement)
    if row is None:
        return None
    environment = Environment(row.environment_id, row.uuid, row.name, row.settings)
    return KeyHolder(environment, _api_key(row))


async def api_key_named(tx: Tx, environment_id: int, display_name: str) -> ApiKey | None:
    """Return an environment's API key by its name."""
    statement = select(api_keys).where(
        api_keys.c.environment_id == environment_id, api_keys.c.display_name == display_name
    )
    row = await tx.row(statement)
    return _api_key(row) if row is not None else None


async def set_api_key_hash(tx: Tx, row_id: int, hashed: str) -> None:
    """Let another key stand in an API key's place."""
    await tx.execute(update(api_keys).where(api_keys.c.id == row_id).values(hash=hashed))


async def list_api_keys(tx: Tx, environment_id: int) -> list[ApiKey]:
    """Return an environment's API keys, oldest first."""
    statement = select(api_keys).where(api_keys.c.environment_id == environment_id)
    return [_api_key(row) for row in await tx.rows(statement.order_by(api_keys.c.id))]


async def count_api_keys(tx: Tx, environment_id: int) -> int:
    """Return how many API keys an environment has."""
    statement = select(func.count()).where(api_keys.c.environment_id == environment_id)
    return int(await tx.scalar(statement))


async def delete_api_key(tx: Tx, environment_id: int, row_id: int) -> bool:
    """Delete an API key of an environment; whether there was one."""
    statement = delete(api_keys).where(
        api_keys.c.id == row_id, api_keys.c.environment_id == environment_id
    )
    return await tx.changed(statement) > 0


# --- variables ------------------------------------------------------------------------------


async def list_variables(
    tx: Tx, environment_id: int, wanted: Sequence[str] | None = None
) -> list[tuple[str, bytes]]:
    """Return name and sealed value of an environment's variables: all of them, or some."""
    table = environment_variables
    statement = select(table.c.name, table.c.value).where(table.c.environment_id == environment_id)
    if wanted is not None:
        statement = statement.where(table.c.name.in_(wanted))
    return [(row.name, row.value) for row in await tx.rows(statement.order_by(table.c.name))]


async def put_variable(tx: Tx, environment_id: int, name: str, sealed: bytes) -> None:
    """Store a variable, or replace the one of that name."""
    table = environment_variables
    dialect = postgresql if tx.is_postgres else sqlite
    statement = dialect.insert(table).values(environment_id=environment_id, name=name, value=sealed)
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=[table.c.environment_id, table.c.name],
            set_={"value": statement.excluded.value},
        )
    )


async def delete_variable(tx: Tx, environment_id: int, name: str) -> None:
    """Delete a variable, if there is one of that name."""
    table = environment_variables
    await tx.execute(
        delete(table).where(table.c.environment_id == environment_id, table.c.name == name)
    )
