"""SQL of deployments: bundles, numbered deployments, and the functions each of them holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, bindparam, delete, exists, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from carrick.model.event import Declaration, Event, FunctionRef
from carrick.store.tables import bundles, deployed_functions, deployments, environments
from carrick.store.unit import Tx

#: A deployment's row id and when it was made.
ActiveKey = tuple[int, datetime]


@dataclass(frozen=True)
class DeploymentRow:
    """One numbered deployment of an environment."""

    row_id: int
    environment_id: int
    number: int
    state: str
    scope: Mapping[str, Any] | None
    summary: Mapping[str, Any]
    created_at: datetime
    activated_at: datetime | None


# --- declarations as JSON -------------------------------------------------------------------


def declaration_to_json(declaration: Declaration) -> dict[str, Any]:
    """Return a declaration as JSON."""
    return {**asdict(declaration), "event": declaration.event.value}


def declaration_from_json(value: Mapping[str, Any]) -> Declaration:
    """Read a declaration; keys that this version does not know are passed over."""
    known = {field.name for field in fields(Declaration)}
    given = {name: item for name, item in value.items() if name in known}
    given["event"] = Event(given["event"])
    waits = given.get("waits_s")
    given["waits_s"] = tuple(waits) if waits is not None else None
    given["variables"] = tuple(given.get("variables") or ())
    return Declaration(**given)


# --- bundles --------------------------------------------------------------------------------


async def put_bundle(tx: Tx, bundle_id: str, content: bytes, dependencies: Sequence[str]) -> None:
    """Keep a bundle; one that is kept already stays as it is."""
    dialect = postgresql if tx.is_postgres else sqlite
    await tx.execute(
        dialect.insert(bundles)
        .values(id=bundle_id, content=content, dependencies=list(dependencies), created_at=tx.now)
        .on_conflict_do_nothing()
    )


async def get_bundle(tx: Tx, bundle_id: str) -> tuple[bytes, tuple[str, ...]] | None:
    """Return a bundle's content and dependencies."""
    row = await tx.row(
        select(bundles.c.content, bundles.c.dependencies).where(bundles.c.id == bundle_id)
    )
    return (bytes(row.content), tuple(row.dependencies)) if row is not None else None


async def delete_unused_bundles(tx: Tx, *, before: datetime) -> int:
    """Delete bundles made before that moment which no deployment refers to."""
    in_use = select(deployed_functions.c.bundle_id)
    return await tx.changed(
        delete(bundles).where(bundles.c.created_at < before, bundles.c.id.not_in(in_use))
    )


async def bundle_ids(tx: Tx) -> set[str]:
    """Return the ids of every bundle in the store."""
    return {row.id for row in await tx.rows(select(bundles.c.id))}


# --- deployments ----------------------------------------------------------------------------


async def lock_environment(tx: Tx, environment_id: int) -> bool:
    """Keep who deploys, or renames an integration, waiting until this transaction ends.

    Returns whether the environment exists and is in use.
    """
    # Not its key: rows that refer to the environment are written meanwhile.
    held = select(environments.c.state).with_for_update(key_share=True)
    state = await tx.scalar(held.where(environments.c.id == environment_id))
    return bool(state == "active")


_ACTIVE_KEY = select(deployments.c.id, deployments.c.created_at).where(
    deployments.c.environment_id == bindparam("environment"), deployments.c.state == "active"
)


async def active_key(tx: Tx, environment_id: int) -> ActiveKey | None:
    """Return which deployment is active."""
    row = await tx.row(_ACTIVE_KEY, {"environment": environment_id})
    return (row.id, row.created_at) if row is not None else None


async def by_number(tx: Tx, environment_id: int, number: int) -> DeploymentRow | None:
    """Return a deployment by its number."""
    row = await tx.row(
        _select().where(
            deployments.c.environment_id == environment_id, deployments.c.number == number
        )
    )
    return _deployment(row) if row is not None else None


async def by_row(tx: Tx, row_id: int) -> DeploymentRow | None:
    """Return a deployment by its row."""
    row = await tx.row(_select().where(deployments.c.id == row_id))
    return _deployment(row) if row is not None else None


async def list_deployments(
    tx: Tx, environment_id: int, *, limit: int, before: int | None
) -> list[DeploymentRow]:
    """Return deployments, the newest number first."""
    statement = _select().where(deployments.c.environment_id == environment_id)
    if before is not None:
        statement = statement.where(deployments.c.number < before)
    rows = await tx.rows(statement.order_by(deployments.c.number.desc()).limit(limit))
    return [_deployment(row) for row in rows]


async def next_number(tx: Tx, environment_id: int) -> int:
    """Return the number the environment's next deployment gets."""
    highest = await tx.scalar(
        select(func.max(deployments.c.number)).where(deployments.c.environment_id == environment_id)
    )
    return int(highest or 0) + 1


async def activate(tx: Tx, environment_id: int, deployment_id: int) -> None:
    """Make a deployment the active one in place of whichever is."""
    await tx.execute(
        update(deployments)
        .where(deployments.c.environment_id == environment_id, deployments.c.state == "active")
        .values(state="superseded")
    )
    await tx.execute(
        update(deployments)
        .where(deployments.c.id == deployment_id)
        .values(state="active", activated_at=tx.now)
    )


async def insert_deployment(
    tx: Tx,
    environment_id: int,
    number: int,
    *,
    scope: Mapping[str, Any] | None,
    summary: Mapping[str, Any],
) -> int:
    """Write a deployment that is not active yet and return its row id."""
    row_id = await tx.scalar(
        insert(deployments)
        .values(
            environment_id=environment_id,
            number=number,
            state="superseded",
            scope=dict(scope) if scope is not None else None,
            summary=dict(summary),
            created_at=tx.now,
        )
        .returning(deployments.c.id)
    )
    return int(row_id)


# --- their functions ------------------------------------------------------------------------


async def insert_functions(tx: Tx, deployment_id: int, functions: Sequence[FunctionRef]) -> None:
    """Write the functions of a deployment; the ids of the refs themselves do not count."""
    values = [
        {
            "deployment_id": deployment_id,
            "environment_id": function.environment_id,
            "integration_id": function.integration_id,
            "name": function.name,
            "event": function.event.value,
            "position": function.position,
            "bundle_id": function.bundle_id,
            "content_hash": function.content_hash,
            "declaration": declaration_to_json(function.declaration),
        }
        for function in functions
    ]
    if values:
        await tx.execute(insert(deployed_functions).values(values))


async def functions_of(tx: Tx, deployment_id: int) -> list[FunctionRef]:
    """Return a deployment's functions by integration, in declared order."""
    rows = await tx.rows(
        select(deployed_functions)
        .where(deployed_functions.c.deployment_id == deployment_id)
        .order_by(
            deployed_functions.c.integration_id,
            deployed_functions.c.position,
            deployed_functions.c.name,
        )
    )
    return [_function(row) for row in rows]


async def has_active_functions(tx: Tx, environment_id: int, integration_id: str) -> bool:
    """Whether the active deployment has functions of an integration."""
    statement = select(
        exists().where(
            deployed_functions.c.deployment_id == deployments.c.id,
            deployed_functions.c.integration_id == integration_id,
            deployments.c.environment_id == environment_id,
            deployments.c.state == "active",
        )
    )
    return bool(await tx.scalar(statement))


async def latest_function(
    tx: Tx, environment_id: int, integration_id: str, name: str, event: Event
) -> FunctionRef | None:
    """Return a function of an event as the deployment that was the last to run it had it."""
    row = await tx.row(
        select(deployed_functions)
        .join(deployments, deployments.c.id == deployed_functions.c.deployment_id)
        .where(
            deployed_functions.c.environment_id == environment_id,
            deployed_functions.c.integration_id == integration_id,
            deployed_functions.c.name == name,
            deployed_functions.c.event == event.value,
        )
        # Not the newest: one that was rolled back is not what ran last.
        .order_by(deployments.c.activated_at.desc(), deployments.c.id.desc())
        .limit(1)
    )
    return _function(row) if row is not None else None


def _select() -> Select[Any]:
    return select(deployments)


def _deployment(row: Row[Any]) -> DeploymentRow:
    return DeploymentRow(
        row_id=row.id,
        environment_id=row.environment_id,
        number=row.number,
        state=row.state,
        scope=row.scope,
        summary=row.summary,
        created_at=row.created_at,
        activated_at=row.activated_at,
    )


def _function(row: Row[Any]) -> FunctionRef:
    return FunctionRef(
        environment_id=row.environment_id,
        deployment_id=row.deployment_id,
        bundle_id=row.bundle_id,
        integration_id=row.integration_id,
        name=row.name,
        position=row.position,
        content_hash=row.content_hash,
        declaration=declaration_from_json(row.declaration),
    )
