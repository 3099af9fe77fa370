"""A connection and what its functions keep between attempts."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from carrick.store.tables.columns import Json, RowId, index_where, metadata, row_id, time

connections = Table(
    "connections",
    metadata,
    row_id(),
    Column("environment_id", RowId, ForeignKey("environments.id"), nullable=False),
    Column("integration_row_id", RowId, ForeignKey("integrations.id"), nullable=False),
    Column("integration_id", String(255), nullable=False),
    Column("provider", String(255), nullable=False),
    Column("connection_id", String(255), nullable=False),
    Column("state", String(16), nullable=False),
    # Bumped by every promotion, refusal and deletion: what a slow refresh is compared against.
    Column("generation", Integer, nullable=False),
    Column("credential_set", String(36), nullable=False),
    Column("auth_mode", String(32), nullable=False),
    Column("credentials", LargeBinary),
    Column("connection_config", Json, nullable=False),
    Column("metadata", Json),
    Column("metadata_version", Integer, nullable=False, server_default="0"),
    Column("tags", Json, nullable=False),
    Column("end_user_row_id", RowId, ForeignKey("end_users.id")),
    # The provider's account this connection belongs to, as recorded by require_same_account.
    Column("account_id", String(1024)),
    Column("webhook_url_override", Text),
    Column("setup", String(16), nullable=False),
    Column("error_cause", String(16)),
    Column("error_operation_id", String(40)),
    Column("refresh_attempts", Integer, nullable=False, server_default="0"),
    time("last_refresh_failure_at", nullable=True),
    time("last_refresh_success_at", nullable=True),
    time("credentials_expires_at", nullable=True),
    time("last_fetched_at", nullable=True),
    # The refresh lease: who refreshes now, and until when nobody else may start.
    Column("refresh_owner", String(64)),
    time("refresh_until", nullable=True),
    # Since when a refresh is out whose answer is not stored: the provider may have replaced tokens.
    time("refresh_unanswered_at", nullable=True),
    # When credentials are looked after next although nobody asks for them.
    time("upkeep_at", nullable=True),
    # The mailbox: who runs this connection's functions now, under which fence, until when.
    Column("mailbox_owner", String(64)),
    Column("mailbox_fence", Integer, nullable=False, server_default="0"),
    time("mailbox_until", nullable=True),
    Column("mailbox_version", Integer, nullable=False, server_default="0"),
    time("created_at"),
    time("updated_at"),
    time("deleted_at", nullable=True),
    index_where(
        "state IN ('active', 'auth_error')",
        "uq_connections_live",
        "integration_row_id",
        "connection_id",
        unique=True,
    ),
    Index("ix_connections_listing", "environment_id", "state", "created_at", "id"),
    Index("ix_connections_by_id", "environment_id", "connection_id"),
    Index("ix_connections_end_user_row_id", "end_user_row_id"),
    Index("ix_connections_integration", "integration_row_id", "state"),
    index_where("state = 'active'", "ix_connections_upkeep", "integration_row_id", "upkeep_at"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    row_id(),
    Column("connection_row_id", RowId, ForeignKey("connections.id"), nullable=False),
    Column("function", String(255), nullable=False),
    Column("value", LargeBinary, nullable=False),
    UniqueConstraint("connection_row_id", "function"),
)

function_locks = Table(
    "function_locks",
    metadata,
    row_id(),
    Column("integration_row_id", RowId, ForeignKey("integrations.id"), nullable=False),
    Column("key", String(255), nullable=False),
    Column("owner", String(64)),
    Column("fence", Integer, nullable=False),
    time("until"),
    UniqueConstraint("integration_row_id", "key"),
)
