"""SQL of looking after credentials nobody asks for: which are due, and who looks at them.

A claim moves the due moment forward. Whoever finishes says when to look next; what a stopped
process had claimed is due again by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, exists, literal_column, or_, select, update

from carrick.store.refresh import COLUMNS, RefreshRow, read_row
from carrick.store.tables import connections, integrations
from carrick.store.unit import Tx


async def due_integrations(tx: Tx, now: datetime) -> list[int]:
    """Return the row ids of integrations with connections that are due."""
    is_due = exists().where(connections.c.integration_row_id == integrations.c.id, *_is_due(now))
    rows = await tx.rows(select(integrations.c.id).where(is_due).order_by(integrations.c.id))
    return [row.id for row in rows]


async def claim(
    tx: Tx, integration_row_id: int, *, until: datetime, limit: int
) -> Sequence[RefreshRow]:
    """Take connections of one integration that are due, those that wait longest first.

    Args:
        tx: The transaction.
        integration_row_id: Whose.
        until: When they are due again if nobody says otherwise.
        limit: How many at most.
    """
    due = (
        select(*COLUMNS)
        .where(connections.c.integration_row_id == integration_row_id, *_is_due(tx.now))
        .order_by(connections.c.upkeep_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = [read_row(row) for row in await tx.rows(due)]
    if found:
        await tx.execute(
            update(connections)
            .where(connections.c.id.in_([row.row_id for row in found]))
            .values(upkeep_at=until)
        )
    return found


async def renew(
    tx: Tx, row_ids: Sequence[int], *, claimed_until: datetime, until: datetime
) -> set[int]:
    """Keep claimed connections for longer; return those that are still this claim's.

    Args:
        tx: The transaction.
        row_ids: Which.
        claimed_until: What the claim said so far. One that says something else by now was looked
            after, or taken, by somebody else.
        until: When they are due again if nobody says otherwise.
    """
    statement = (
        update(connections)
        .where(connections.c.id.in_(row_ids), connections.c.upkeep_at == claimed_until)
        .values(upkeep_at=until)
        .returning(connections.c.id)
    )
    return {row.id for row in await tx.rows(statement)}


async def schedule(tx: Tx, row_id: int, *, claimed_until: datetime, at: datetime) -> None:
    """Say when to look at a claimed connection next, unless a result has said so already."""
    await tx.execute(
        update(connections)
        .where(connections.c.id == row_id, connections.c.upkeep_at == claimed_until)
        .values(upkeep_at=at)
    )


def _is_due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        # A literal, so that the partial index serves a prepared statement as well.
        connections.c.state == literal_column("'active'"),
        connections.c.upkeep_at <= now,
        or_(connections.c.refresh_until.is_(None), connections.c.refresh_until <= now),
    )
