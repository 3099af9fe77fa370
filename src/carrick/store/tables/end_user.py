"""End users, the sessions they connect in, and sign-ins that are under way."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, LargeBinary, String, Table, Text, UniqueConstraint

from carrick.store.tables.columns import Json, RowId, metadata, row_id, time

end_users = Table(
    "end_users",
    metadata,
    row_id(),
    Column("environment_id", RowId, ForeignKey("environments.id"), nullable=False),
    Column("end_user_id", String(255), nullable=False),
    Column("email", String(320)),
    Column("display_name", String(255)),
    Column("tags", Json, nullable=False),
    Column("organization_id", String(255)),
    Column("organization_display_name", String(255)),
    UniqueConstraint("environment_id", "end_user_id"),
)

connect_sessions = Table(
    "connect_sessions",
    metadata,
    row_id(),
    Column("environment_id", RowId, ForeignKey("environments.id"), nullable=False),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("end_user", Json),
    Column("allowed_integrations", Json),
    Column("integrations_config_defaults", Json, nullable=False),
    Column("overrides", Json, nullable=False),
    Column("tags", Json, nullable=False),
    Column("webhook_url_override", Text),
    Column("reconnect_row_id", RowId, ForeignKey("connections.id")),
    Column("operation_id", String(40)),
    time("created_at"),
    time("expires_at"),
    Index("ix_connect_sessions_expires_at", "expires_at"),
)

oauth_states = Table(
    "oauth_states",
    metadata,
    Column("hash", String(64), primary_key=True),  # SHA-256 of the state the provider brings back
    Column("environment_id", RowId, ForeignKey("environments.id"), nullable=False),
    Column("integration_row_id", RowId, ForeignKey("integrations.id"), nullable=False),
    Column("reconnect_row_id", RowId, ForeignKey("connections.id")),
    Column("cookie_hash", String(64), nullable=False),
    Column("request", LargeBinary, nullable=False),
    time("created_at"),
    time("expires_at"),
    Index("ix_oauth_states_expires_at", "expires_at"),
)
