"""Initial."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

RowId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "bundles",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("dependencies", Json, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bundles")),
    )
    op.create_table(
        "environments",
        sa.Column("id", RowId, autoincrement=True, nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="active", nullable=False),
        sa.Column("settings", Json, nullable=False),
        sa.Column("webhook_signing_key", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.String(length=36), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_environments")),
        sa.UniqueConstraint("public_key", name=op.f("uq_environments_public_key")),
        sa.UniqueConstraint("uuid", name=op.f("uq_environments_uuid")),
    )
    op.create_index(
        "uq_environments_live",
        "environments",
        ["name"],
        unique=True,
        sqlite_where=sa.text("state <> 'gone'"),
        postgresql_where=sa.text("state <> 'gone'"),
    )
    op.create_table(
        "operation_messages",
        sa.Column("id", RowId, autoincrement=True, nullable=False),
        sa.Column("operation_id", sa.String(length=40), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("level", sa.String(length=8), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("fields", Json, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operation_messages")),
    )
    op.create_index(
        "ix_operation_messages_operation_id",
        "operation_messages",
        ["operation_id", "id"],
        unique=False,
    )
    op.create_table(
        "store_facts",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_store_facts")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", RowId, autoincrement=True, nullable=False),
        sa.Column("environment_id", RowId, nullable=False),
        sa.Column("display_name", sa.String(length=255), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("scopes", Json, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_api_keys_environment_id_environments"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint(
            "environment_id", "display_name", name=op.f("uq_api_keys_environment_id_display_name")
        ),
        sa.UniqueConstraint("hash", name=op.f("uq_api_keys_hash")),
    )
    op.create_table(
        "deployments",
        sa.Column("id", RowId, autoincrement=True, nullable=False),
        sa.Column("environment_id", RowId, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("scope", Json, nullable=True),
        sa.Column("summary", Json, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_deployments_environment_id_environments"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployments")),
        sa.UniqueConstraint(
            "environment_id", "number", name=op.f("uq_deployments_environment_id_number")
        ),
    )
    op.create_index(
        "uq_deployments_active",
        "deployments",
        ["environment_id"],
        unique=True,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_table(
        "end_users",
        sa.Column("id", RowId, autoincrement=True, nullable=False),
        sa.Column("environment_id", RowId, nullable=False),
        sa.Column("end_user_id", sa.String(length=255), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=True),
        sa.Column("display_name", sa.String(length=255), nullable=True),
        sa.Column("tags", Json, nullable=False),
        sa.Column("organization_id", sa.String(length=255), nullable=True),
        sa.Column("organization_display_name", sa.String(length=255), nullable=True),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_end_users_environment_id_environments"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_end_users")),
        sa.UniqueConstraint(
            "environment_id", "end_user_id", name=op.f("uq_end_users_environment_id_end_user_id")
        ),
    )
    op.create_table(
        "environment_variables",
        sa.Column("id", RowId, autoincrement=True, nullable=False),
        sa.Column("environment_id", RowId, nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_environment_variables_environment_id_environments"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_environment_variables")),
        sa.UniqueConstraint(
            "environment_id", "name", name=op.f("uq_environment_variables_environment_id_name")
        ),
    )
    op.create_table(
        "integrations",
        sa.Column("id", RowId, autoincrement=True, nullable=False),
        sa.Column("environment_id", RowId, nullable=False),
        sa.Column("integration_id", sa.String(length=255), nullable=False),
        sa.Column("provider", sa.String(length=255), nullable=False),
        sa.Column("display_name", sa.String(length=255), nullable=True),
        sa.Column("state", sa.String(length=16), server_default="active", nullable=False),
        sa.Column("credential_set", sa.String(length=36), nullable=False),
        sa.Column("credentials", sa.LargeBinary(), nullable=True),
        sa.Column("integration_config", sa.LargeBinary(), nullable=True),
        sa.Column("custom", sa.LargeBinary(), nullable=True),
        sa.Column("settings", Json, nullable=False),
        sa.Column("forward_webhooks", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_integrations_environment_id_environments"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_integrations")),
    )
    op.create_index(
        "uq_integrations_live",
        "integrations",
        ["environment_id", "integration_id"],
        unique=True,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("environment_id", RowId, nullable=False),
        sa.Column("connection_row_id", RowId, nullable=True),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=True),
        sa.Column("held_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_answer", Json, nullable=True),
        sa.Column("sequence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_notifications_environment_id_environments"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
    )
    op.create_index(
        "ix_notifications_connection",
        "notifications",
        ["connection_row_id", "sequence"],
        unique=False,
    )
    op.create_index(
        "ix_notifications_due",
        "notifications",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "operations",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("environment_id", RowId, nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("integration_id", sa.String(length=255), nullable=True),
        sa.Column("provider", sa.String(length=255), nullable=True),
        sa.Column("connection_row_id", RowId, nullable=True),
        sa.Column("connection_id", sa.String(length=255), nullable=True),
        sa.Column("function", sa.String(length=255), nullable=True),
        sa.Column("error", Json, nullable=True),
        sa.Column("meta", Json, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_operations_environment_id_environments"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operations")),
    )
    op.create_index("ix_operations_connection", "operations", ["connection_row_id"], unique=False)
    op.create_index(
        "ix_operations_listing", "operations", ["environment_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "connections",
        sa.Column("id", RowId, autoincrement=True, nullable=False),
        sa.Column("environment_id", RowId, nullable=False),
        sa.Column("integration_row_id", RowId, nullable=False),
        sa.Column("integration_id", sa.String(length=255), nullable=False),
        sa.Column("provider", sa.String(length=255), nullable=False),
        sa.Column("connection_id", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("credential_set", sa.String(length=36), nullable=False),
        sa.Column("auth_mode", sa.String(length=32), nullable=False),
        sa.Column("credentials", sa.LargeBinary(), nullable=True),
        sa.Column("connection_config", Json, nullable=False),
        sa.Column("metadata", Json, nullable=True),
        sa.Column("metadata_version", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tags", Json, nullable=False),
        sa.Column("end_user_row_id", RowId, nullable=True),
        sa.Column("account_id", sa.String(length=1024), nullable=True),
        sa.Column("webhook_url_override", sa.Text(), nullable=True),
        sa.Column("setup", sa.String(length=16), nullable=False),
        sa.Column("error_cause", sa.String(length=16), nullable=True),
        sa.Column("error_operation_id", sa.String(length=40), nullable=True),
        sa.Column("refresh_attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_refresh_failure_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_refresh_success_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("credentials_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_fetched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refresh_owner", sa.String(length=64), nullable=True),
        sa.Column("refresh_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("mailbox_owner", sa.String(length=64), nullable=True),
        sa.Column("mailbox_fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("mailbox_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("mailbox_version", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["end_user_row_id"],
            ["end_users.id"],
            name=op.f("fk_connections_end_user_row_id_end_users"),
        ),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_connections_environment_id_environments"),
        ),
        sa.ForeignKeyConstraint(
            ["integration_row_id"],
            ["integrations.id"],
            name=op.f("fk_connections_integration_row_id_integrations"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connections")),
    )
    op.create_index(
        "ix_connections_by_id", "connections", ["environment_id", "connection_id"], unique=False
    )
    op.create_index(
        "ix_connections_end_user_row_id", "connections", ["end_user_row_id"], unique=False
    )
    op.create_index(
        "ix_connections_integration", "connections", ["integration_row_id", "state"], unique=False
    )
    op.create_index(
        "ix_connections_listing",
        "connections",
        ["environment_id", "state", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        "uq_connections_live",
        "connections",
        ["integration_row_id", "connection_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('active', 'auth_error')"),
        postgresql_where=sa.text("state IN ('active', 'auth_error')"),
    )
    op.create_table(
        "deployed_functions",
        sa.Column("id", RowId, autoincrement=True, nullable=False),
        sa.Column("deployment_id", RowId, nullable=False),
        sa.Column("environment_id", RowId, nullable=False),
        sa.Column("integration_id", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("event", sa.String(length=40), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("bundle_id", sa.String(length=64), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("declaration", Json, nullable=False),
        sa.ForeignKeyConstraint(
            ["bundle_id"], ["bundles.id"], name=op.f("fk_deployed_functions_bundle_id_bundles")
        ),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployments.id"],
            name=op.f("fk_deployed_functions_deployment_id_deployments"),
        ),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_deployed_functions_environment_id_environments"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployed_functions")),
        sa.UniqueConstraint(
            "deployment_id",
            "integration_id",
            "name",
            name=op.f("uq_deployed_functions_deployment_id_integration_id_name"),
        ),
    )
    op.create_index(
        "ix_deployed_functions_latest",
        "deployed_functions",
        ["environment_id", "integration_id", "name", "id"],
        unique=False,
    )
    op.create_table(
        "function_locks",
        sa.Column("id", RowId, autoincrement=True, nullable=False),
        sa.Column("integration_row_id", RowId, nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["integration_row_id"],
            ["integrations.id"],
            name=op.f("fk_function_locks_integration_row_id_integrations"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_function_locks")),
        sa.UniqueConstraint(
            "integration_row_id", "key", name=op.f("uq_function_locks_integration_row_id_key")
        ),
    )
    op.create_table(
        "checkpoints",
        sa.Column("id", RowId, autoincrement=True, nullable=False),
        sa.Column("connection_row_id", RowId, nullable=False),
        sa.Column("function", sa.String(length=255), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_row_id"],
            ["connections.id"],
            name=op.f("fk_checkpoints_connection_row_id_connections"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoints")),
        sa.UniqueConstraint(
            "connection_row_id", "function", name=op.f("uq_checkpoints_connection_row_id_function")
        ),
    )
    op.create_table(
        "connect_sessions",
        sa.Column("id", RowId, autoincrement=True, nullable=False),
        sa.Column("environment_id", RowId, nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("end_user", Json, nullable=True),
        sa.Column("allowed_integrations", Json, nullable=True),
        sa.Column("integrations_config_defaults", Json, nullable=False),
        sa.Column("overrides", Json, nullable=False),
        sa.Column("tags", Json, nullable=False),
        sa.Column("webhook_url_override", sa.Text(), nullable=True),
        sa.Column("reconnect_row_id", RowId, nullable=True),
        sa.Column("operation_id", sa.String(length=40), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_connect_sessions_environment_id_environments"),
        ),
        sa.ForeignKeyConstraint(
            ["reconnect_row_id"],
            ["connections.id"],
            name=op.f("fk_connect_sessions_reconnect_row_id_connections"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connect_sessions")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_connect_sessions_token_hash")),
    )
    op.create_index(
        "ix_connect_sessions_expires_at", "connect_sessions", ["expires_at"], unique=False
    )
    op.create_table(
        "journal_entries",
        sa.Column("id", RowId, autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("connection_row_id", RowId, nullable=True),
        sa.Column("function", sa.String(length=255), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("sends", sa.Integer(), server_default="1", nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["connection_row_id"],
            ["connections.id"],
            name=op.f("fk_journal_entries_connection_row_id_connections"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_journal_entries")),
        sa.UniqueConstraint("run_id", "key", name=op.f("uq_journal_entries_run_id_key")),
    )
    op.create_index(
        "ix_journal_entries_connection_row_id",
        "journal_entries",
        ["connection_row_id"],
        unique=False,
    )
    op.create_table(
        "lifecycle_events",
        sa.Column("id", RowId, autoincrement=True, nullable=False),
        sa.Column("environment_id", RowId, nullable=False),
        sa.Column("integration_row_id", RowId, nullable=False),
        sa.Column("connection_row_id", RowId, nullable=False),
        sa.Column("event", sa.String(length=40), nullable=False),
        sa.Column("function", sa.String(length=255), nullable=False),
        sa.Column("occasion", sa.String(length=16), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("interruptions", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_chance", sa.Boolean(), server_default=sa.text("(false)"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deployment_id", RowId, nullable=True),
        sa.Column("previous", sa.LargeBinary(), nullable=True),
        sa.Column("error_kind", sa.String(length=40), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("operation_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["connection_row_id"],
            ["connections.id"],
            name=op.f("fk_lifecycle_events_connection_row_id_connections"),
        ),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_lifecycle_events_environment_id_environments"),
        ),
        sa.ForeignKeyConstraint(
            ["integration_row_id"],
            ["integrations.id"],
            name=op.f("fk_lifecycle_events_integration_row_id_integrations"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lifecycle_events")),
        sa.UniqueConstraint("run_id", name=op.f("uq_lifecycle_events_run_id")),
    )
    op.create_index(
        "ix_lifecycle_events_due",
        "lifecycle_events",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("state IN ('waiting', 'running')"),
        postgresql_where=sa.text("state IN ('waiting', 'running')"),
    )
    op.create_index(
        "ix_lifecycle_events_mailbox",
        "lifecycle_events",
        ["connection_row_id", "position", "id"],
        unique=False,
    )
    op.create_index(
        "ix_lifecycle_events_parked",
        "lifecycle_events",
        ["environment_id", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'parked'"),
        postgresql_where=sa.text("state = 'parked'"),
    )
    op.create_table(
        "oauth_states",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("environment_id", RowId, nullable=False),
        sa.Column("integration_row_id", RowId, nullable=False),
        sa.Column("reconnect_row_id", RowId, nullable=True),
        sa.Column("cookie_hash", sa.String(length=64), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.id"],
            name=op.f("fk_oauth_states_environment_id_environments"),
        ),
        sa.ForeignKeyConstraint(
            ["integration_row_id"],
            ["integrations.id"],
            name=op.f("fk_oauth_states_integration_row_id_integrations"),
        ),
        sa.ForeignKeyConstraint(
            ["reconnect_row_id"],
            ["connections.id"],
            name=op.f("fk_oauth_states_reconnect_row_id_connections"),
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_oauth_states")),
    )
    op.create_index("ix_oauth_states_expires_at", "oauth_states", ["expires_at"], unique=False)
