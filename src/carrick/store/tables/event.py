"""The mailbox of each connection, and what its functions have written at providers."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from carrick.store.tables.columns import RowId, index_where, metadata, row_id, time

lifecycle_events = Table(
    "lifecycle_events",
    metadata,
    row_id(),
    Column("environment_id", RowId, ForeignKey("environments.id"), nullable=False),
    Column("integration_row_id", RowId, ForeignKey("integrations.id"), nullable=False),
    Column("connection_row_id", RowId, ForeignKey("connections.id"), nullable=False),
    Column("event", String(40), nullable=False),
    Column("function", String(255), nullable=False),
    Column("occasion", String(16), nullable=False),
    # Rows of one connection run in this order; equal to the order they were written in.
    Column("position", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("run_id", String(36), nullable=False, unique=True),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("interruptions", Integer, nullable=False, server_default="0"),
    Column("last_chance", Boolean, nullable=False, server_default=text("false")),
    time("due_at"),
    time("first_started_at", nullable=True),
    Column("deployment_id", RowId),
    Column("previous", LargeBinary),
    Column("error_kind", String(40)),
    Column("error_message", Text),
    Column("operation_id", String(40), nullable=False),
    time("created_at"),
    time("updated_at"),
    time("finished_at", nullable=True),
    Index("ix_lifecycle_events_mailbox", "connection_row_id", "position", "id"),
    index_where("state IN ('waiting', 'running')", "ix_lifecycle_events_due", "due_at"),
    index_where("state = 'parked'", "ix_lifecycle_events_parked", "environment_id", "id"),
)

journal_entries = Table(
    "journal_entries",
    metadata,
    row_id(),
    Column("run_id", String(36), nullable=False),
    Column("connection_row_id", RowId, ForeignKey("connections.id")),
    Column("function", String(255), nullable=False),
    Column("key", String(64), nullable=False),
    Column("idempotency_key", String(64), nullable=False),
    Column("method", String(16), nullable=False),
    Column("endpoint", Text, nullable=False),
    # sending: intent written, outcome unknown until it becomes succeeded or answered.
    Column("state", String(16), nullable=False),
    Column("sends", Integer, nullable=False, server_default="1"),
    Column("status", Integer),
    Column("answer", LargeBinary),
    time("created_at"),
    time("updated_at"),
    UniqueConstraint("run_id", "key"),
    Index("ix_journal_entries_connection_row_id", "connection_row_id"),
)
