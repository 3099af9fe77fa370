"""What happened."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, String, Table, Text

from carrick.store.tables.columns import Json, RowId, metadata, row_id, time

operations = Table(
    "operations",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("environment_id", RowId, ForeignKey("environments.id"), nullable=False),
    Column("type", String(32), nullable=False),
    Column("action", String(40), nullable=False),
    Column("state", String(16), nullable=False),
    Column("message", Text),
    Column("integration_id", String(255)),
    Column("provider", String(255)),
    Column("connection_row_id", RowId),
    Column("connection_id", String(255)),
    Column("function", String(255)),
    Column("error", Json),
    Column("meta", Json, nullable=False),
    time("created_at"),
    time("started_at", nullable=True),
    time("ended_at", nullable=True),
    Index("ix_operations_listing", "environment_id", "created_at", "id"),
    Index("ix_operations_connection", "connection_row_id"),
)

operation_messages = Table(
    "operation_messages",
    metadata,
    row_id(),
    Column("operation_id", String(40), nullable=False),
    time("at"),
    Column("level", String(8), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("message", Text, nullable=False),
    Column("fields", Json, nullable=False),
    Index("ix_operation_messages_operation_id", "operation_id", "id"),
)
