"""The code that was deployed."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
)

from carrick.store.tables.columns import Json, RowId, index_where, metadata, row_id, time

bundles = Table(
    "bundles",
    metadata,
    Column("id", String(64), primary_key=True),  # SHA-256 of the content
    Column("content", LargeBinary, nullable=False),
    Column("dependencies", Json, nullable=False),
    time("created_at"),
)

deployments = Table(
    "deployments",
    metadata,
    row_id(),
    Column("environment_id", RowId, ForeignKey("environments.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String(16), nullable=False),  # active, superseded
    Column("scope", Json),
    Column("summary", Json, nullable=False),
    time("created_at"),
    time("activated_at", nullable=True),
    UniqueConstraint("environment_id", "number"),
    index_where("state = 'active'", "uq_deployments_active", "environment_id", unique=True),
)

deployed_functions = Table(
    "deployed_functions",
    metadata,
    row_id(),
    Column("deployment_id", RowId, ForeignKey("deployments.id"), nullable=False),
    Column("environment_id", RowId, ForeignKey("environments.id"), nullable=False),
    Column("integration_id", String(255), nullable=False),
    Column("name", String(255), nullable=False),
    Column("event", String(40), nullable=False),
    Column("position", Integer, nullable=False),
    Column("bundle_id", String(64), ForeignKey("bundles.id"), nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("declaration", Json, nullable=False),
    UniqueConstraint("deployment_id", "integration_id", "name"),
    Index("ix_deployed_functions_latest", "environment_id", "integration_id", "name", "id"),
)
