"""Every table, grouped as the repositories are. Names are the vocabulary's; times are UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime; SQLite keeps it as naive text, Postgres as timestamptz."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive values: their zone could only be guessed."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a datetime without a zone cannot be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
#: SQLite numbers rows by itself only for INTEGER PRIMARY KEY.
RowId = BigInteger().with_variant(Integer, "sqlite")


def _id() -> Column[Any]:
    return Column("id", RowId, primary_key=True, autoincrement=True)


def _time(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, UtcDateTime, nullable=nullable)


# --- environments ---------------------------------------------------------------------------

environments = Table(
    "environments",
    metadata,
    _id(),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("name", String(255), nullable=False),
    Column("state", String(16), nullable=False, server_default="active"),
    Column("settings", Json, nullable=False),
    Column("webhook_signing_key", LargeBinary, nullable=False),
    Column("public_key", String(36), nullable=False, unique=True),
    _time("created_at"),
    Index(
        "uq_environments_live",
        "name",
        unique=True,
        sqlite_where=text("state <> 'gone'"),
        postgresql_where=text("state <> 'gone'"),
    ),
)

api_keys = Table(
    "api_keys",
    metadata,
    _id(),
    Column("environment_id", RowId, ForeignKey("environments.id"), nullable=False),
    Column("display_name", String(255), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("scopes", Json, nullable=False),
    _time("created_at"),
    UniqueConstraint("environment_id", "display_name"),
)

environment_variables = Table(
    "environment_variables",
    metadata,
    _id(),
    Column("environment_id", RowId, ForeignKey("environments.id"), nullable=False),
    Column("name", String(256), nullable=False),
    Column("value", LargeBinary, nullable=False),
    UniqueConstraint("environment_id", "name"),
)

provider_imports = Table(
    "provider_imports",
    metadata,
    _id(),
    Column("name", String(255), nullable=False, unique=True),
    # Of everything in it: nodes compare it to see whether something has changed.
    Column("digest", String(64), nullable=False),
    _time("imported_at"),
)

imported_providers = Table(
    "imported_providers",
    metadata,
    _id(),
    Column("import_id", RowId, ForeignKey("provider_imports.id"), nullable=False),
    Column("name", String(255), nullable=False),
    # JSON text with its alias followed; read when somebody asks for the provider.
    Column("definition", Text, nullable=False),
    UniqueConstraint("import_id", "name"),
)

integrations = Table(
    "integrations",
    metadata,
    _id(),
    Column("environment_id", RowId, ForeignKey("environments.id"), nullable=False),
    Column("integration_id", String(255), nullable=False),
    Column("provider", String(255), nullable=False),
    Column("display_name", String(255)),
    Column("state", String(16), nullable=False, server_default="active"),
    Column("credential_set", String(36), nullable=False),
    Column("credentials", LargeBinary),
    Column("integration_config", LargeBinary),
    Column("custom", LargeBinary),
    Column("settings", Json, nullable=False),
    Column("forward_webhooks", Boolean, nullable=False),
    _time("created_at"),
    _time("updated_at"),
    Index(
        "uq_integrations_live",
        "environment_id",
        "integration_id",
        unique=True,
        sqlite_where=text("state = 'active'"),
        postgresql_where=text("state = 'active'"),
    ),
)

end_users = Table(
    "end_users",
    metadata,
    _id(),
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
    _id(),
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
    _time("created_at"),
    _time("expires_at"),
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
    _time("created_at"),
    _time("expires_at"),
    Index("ix_oauth_states_expires_at", "expires_at"),
)

# --- connections ----------------------------------------------------------------------------

connections = Table(
    "connections",
    metadata,
    _id(),
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
    _time("last_refresh_failure_at", nullable=True),
    _time("last_refresh_success_at", nullable=True),
    _time("credentials_expires_at", nullable=True),
    _time("last_fetched_at", nullable=True),
    # The refresh lease: who refreshes now, and until when nobody else may start.
    Column("refresh_owner", String(64)),
    _time("refresh_until", nullable=True),
    # Since when a refresh is out whose answer is not stored: the provider may have replaced tokens.
    _time("refresh_unanswered_at", nullable=True),
    # When credentials are looked after next although nobody asks for them.
    _time("upkeep_at", nullable=True),
    # The mailbox: who runs this connection's functions now, under which fence, until when.
    Column("mailbox_owner", String(64)),
    Column("mailbox_fence", Integer, nullable=False, server_default="0"),
    _time("mailbox_until", nullable=True),
    Column("mailbox_version", Integer, nullable=False, server_default="0"),
    _time("created_at"),
    _time("updated_at"),
    _time("deleted_at", nullable=True),
    Index(
        "uq_connections_live",
        "integration_row_id",
        "connection_id",
        unique=True,
        sqlite_where=text("state IN ('active', 'auth_error')"),
        postgresql_where=text("state IN ('active', 'auth_error')"),
    ),
    Index("ix_connections_listing", "environment_id", "state", "created_at", "id"),
    Index("ix_connections_by_id", "environment_id", "connection_id"),
    Index("ix_connections_end_user_row_id", "end_user_row_id"),
    Index("ix_connections_integration", "integration_row_id", "state"),
    Index(
        "ix_connections_upkeep",
        "integration_row_id",
        "upkeep_at",
        sqlite_where=text("state = 'active'"),
        postgresql_where=text("state = 'active'"),
    ),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _id(),
    Column("connection_row_id", RowId, ForeignKey("connections.id"), nullable=False),
    Column("function", String(255), nullable=False),
    Column("value", LargeBinary, nullable=False),
    UniqueConstraint("connection_row_id", "function"),
)

function_locks = Table(
    "function_locks",
    metadata,
    _id(),
    Column("integration_row_id", RowId, ForeignKey("integrations.id"), nullable=False),
    Column("key", String(255), nullable=False),
    Column("owner", String(64)),
    Column("fence", Integer, nullable=False),
    _time("until"),
    UniqueConstraint("integration_row_id", "key"),
)

# --- events: the mailbox of each connection -------------------------------------------------

lifecycle_events = Table(
    "lifecycle_events",
    metadata,
    _id(),
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
    _time("due_at"),
    _time("first_started_at", nullable=True),
    Column("deployment_id", RowId),
    Column("previous", LargeBinary),
    Column("error_kind", String(40)),
    Column("error_message", Text),
    Column("operation_id", String(40), nullable=False),
    _time("created_at"),
    _time("updated_at"),
    _time("finished_at", nullable=True),
    Index("ix_lifecycle_events_mailbox", "connection_row_id", "position", "id"),
    Index(
        "ix_lifecycle_events_due",
        "due_at",
        sqlite_where=text("state IN ('waiting', 'running')"),
        postgresql_where=text("state IN ('waiting', 'running')"),
    ),
    Index(
        "ix_lifecycle_events_parked",
        "environment_id",
        "id",
        sqlite_where=text("state = 'parked'"),
        postgresql_where=text("state = 'parked'"),
    ),
)

journal_entries = Table(
    "journal_entries",
    metadata,
    _id(),
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
    _time("created_at"),
    _time("updated_at"),
    UniqueConstraint("run_id", "key"),
    Index("ix_journal_entries_connection_row_id", "connection_row_id"),
)

# --- operations -----------------------------------------------------------------------------

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
    _time("created_at"),
    _time("started_at", nullable=True),
    _time("ended_at", nullable=True),
    Index("ix_operations_listing", "environment_id", "created_at", "id"),
    Index("ix_operations_connection", "connection_row_id"),
)

operation_messages = Table(
    "operation_messages",
    metadata,
    _id(),
    Column("operation_id", String(40), nullable=False),
    _time("at"),
    Column("level", String(8), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("message", Text, nullable=False),
    Column("fields", Json, nullable=False),
    Index("ix_operation_messages_operation_id", "operation_id", "id"),
)

# --- deployments ----------------------------------------------------------------------------

bundles = Table(
    "bundles",
    metadata,
    Column("id", String(64), primary_key=True),  # SHA-256 of the content
    Column("content", LargeBinary, nullable=False),
    Column("dependencies", Json, nullable=False),
    _time("created_at"),
)

deployments = Table(
    "deployments",
    metadata,
    _id(),
    Column("environment_id", RowId, ForeignKey("environments.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String(16), nullable=False),  # active, superseded
    Column("scope", Json),
    Column("summary", Json, nullable=False),
    _time("created_at"),
    _time("activated_at", nullable=True),
    UniqueConstraint("environment_id", "number"),
    Index(
        "uq_deployments_active",
        "environment_id",
        unique=True,
        sqlite_where=text("state = 'active'"),
        postgresql_where=text("state = 'active'"),
    ),
)

deployed_functions = Table(
    "deployed_functions",
    metadata,
    _id(),
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

# --- notifications --------------------------------------------------------------------------

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
    _time("due_at"),
    Column("owner", String(64)),
    _time("held_until", nullable=True),
    Column("last_answer", Json),
    Column("sequence", Integer, nullable=False, server_default="0"),
    _time("created_at"),
    _time("finished_at", nullable=True),
    Index(
        "ix_notifications_due",
        "due_at",
        sqlite_where=text("state = 'waiting'"),
        postgresql_where=text("state = 'waiting'"),
    ),
    Index("ix_notifications_connection", "connection_row_id", "sequence"),
    Index("ix_notifications_listing", "environment_id", "created_at", "id"),
)

notification_attempts = Table(
    "notification_attempts",
    metadata,
    Column("notification_id", String(36), ForeignKey("notifications.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    _time("at"),
    Column("duration_ms", Integer, nullable=False),
    Column("status", Integer),
    Column("error", Text),
    # The beginning of what was answered, without what the address keeps secret.
    Column("answer", Text),
)

# --- the store's own ------------------------------------------------------------------------

store_facts = Table(
    "store_facts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
