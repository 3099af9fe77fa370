"""What apps are told."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, String, Table, Text

from carrick.store.tables.columns import Json, RowId, index_where, metadata, time

notifications = Table(
    "notifications",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("environment_id", RowId, ForeignKey("environments.id"), nullable=False),
    Column("connection_row_id", RowId),
    Column("integration_id", String(255)),
    Column("connection_id", String(255)),
    Column("kind", String(40), nullable=False),
    # One row for each address, so that one that is down does not hold up the other.
    Column("url", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(16), nullable=False),  # waiting, delivered, failed
    Column("attempt", Integer, nullable=False, server_default="0"),
    time("due_at"),
    Column("owner", String(64)),
    time("held_until", nullable=True),
    Column("last_answer", Json),
    Column("sequence", Integer, nullable=False, server_default="0"),
    time("created_at"),
    time("finished_at", nullable=True),
    index_where("state = 'waiting'", "ix_notifications_due", "due_at"),
    Index("ix_notifications_connection", "connection_row_id", "sequence"),
    Index("ix_notifications_listing", "environment_id", "created_at", "id"),
)

notification_attempts = Table(
    "notification_attempts",
    metadata,
    Column("notification_id", String(36), ForeignKey("notifications.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    time("at"),
    Column("duration_ms", Integer, nullable=False),
    Column("status", Integer),
    Column("error", Text),
    # The beginning of what was answered, without what the address keeps secret.
    Column("answer", Text),
)
