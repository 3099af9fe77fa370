"""SQL of connect sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, insert, select

from carrick.model.connection import EndUser
from carrick.model.environment import ConnectSession
from carrick.store.tables import connect_sessions
from carrick.store.unit import Tx


def _session(row: Row[Any]) -> ConnectSession:
    return ConnectSession(
        row_id=row.id,
        environment_id=row.environment_id,
        end_user=EndUser(**row.end_user) if row.end_user is not None else None,
        allowed_integrations=_tuple(row.allowed_integrations),
        integrations_config_defaults=row.integrations_config_defaults,
        overrides=row.overrides,
        tags=row.tags,
        webhook_url_override=row.webhook_url_override,
        reconnect_row_id=row.reconnect_row_id,
        operation_id=row.operation_id,
        expires_at=row.expires_at,
    )


def _tuple(value: list[str] | None) -> tuple[str, ...] | None:
    return tuple(value) if value is not None else None


async def insert_session(
    tx: Tx, token_hash: str, session: Mapping[str, Any], end_user: EndUser | None
) -> ConnectSession:
    """Store a session: the columns of `connect_sessions` by name, and its end user."""
    values = {
        **session,
        "token_hash": token_hash,
        "end_user": _end_user(end_user),
        "created_at": tx.now,
    }
    statement = insert(connect_sessions).values(values).returning(connect_sessions)
    row = await tx.row(statement)
    assert row is not None
    return _session(row)


def _end_user(end_user: EndUser | None) -> dict[str, Any] | None:
    return {**asdict(end_user), "tags": dict(end_user.tags)} if end_user is not None else None


async def by_token_hash(tx: Tx, token_hash: str) -> ConnectSession | None:
    """Return a session by the hash of its token, expired or not."""
    statement = select(connect_sessions).where(connect_sessions.c.token_hash == token_hash)
    row = await tx.row(statement)
    return _session(row) if row is not None else None


async def expiry(tx: Tx, row_id: int) -> datetime | None:
    """Return when a session ends or ended; `None` if it was deleted."""
    statement = select(connect_sessions.c.expires_at).where(connect_sessions.c.id == row_id)
    ends: datetime | None = await tx.scalar(statement)
    return ends


async def delete_session(tx: Tx, row_id: int) -> bool:
    """Delete a session; whether it was there."""
    statement = delete(connect_sessions).where(connect_sessions.c.id == row_id)
    return await tx.changed(statement) > 0


async def delete_expired(tx: Tx, before: datetime) -> int:
    """Delete the sessions that expired before a moment and return how many there were."""
    return await tx.changed(delete(connect_sessions).where(connect_sessions.c.expires_at < before))
