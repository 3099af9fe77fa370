"""An environment and what is set up in it; provider definitions that were imported."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from carrick.store.tables.columns import Json, RowId, index_where, metadata, row_id, time

environments = Table(
    "environments",
    metadata,
    row_id(),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("name", String(255), nullable=False),
    Column("state", String(16), nullable=False, server_default="active"),
    Column("settings", Json, nullable=False),
    Column("webhook_signing_key", LargeBinary, nullable=False),
    Column("public_key", String(36), nullable=False, unique=True),
    time("created_at"),
    index_where("state <> 'gone'", "uq_environments_live", "name", unique=True),
)

api_keys = Table(
    "api_keys",
    metadata,
    row_id(),
    Column("environment_id", RowId, ForeignKey("environments.id"), nullable=False),
    Column("display_name", String(255), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("scopes", Json, nullable=False),
    time("created_at"),
    UniqueConstraint("environment_id", "display_name"),
)

environment_variables = Table(
    "environment_variables",
    metadata,
    row_id(),
    Column("environment_id", RowId, ForeignKey("environments.id"), nullable=False),
    Column("name", String(256), nullable=False),
    Column("value", LargeBinary, nullable=False),
    UniqueConstraint("environment_id", "name"),
)

provider_imports = Table(
    "provider_imports",
    metadata,
    row_id(),
    Column("name", String(255), nullable=False, unique=True),
    # Of everything in it: nodes compare it to see whether something has changed.
    Column("digest", String(64), nullable=False),
    time("imported_at"),
)

imported_providers = Table(
    "imported_providers",
    metadata,
    row_id(),
    Column("import_id", RowId, ForeignKey("provider_imports.id"), nullable=False),
    Column("name", String(255), nullable=False),
    # JSON text with its alias followed; read when somebody asks for the provider.
    Column("definition", Text, nullable=False),
    UniqueConstraint("import_id", "name"),
)

integrations = Table(
    "integrations",
    metadata,
    row_id(),
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
    time("created_at"),
    time("updated_at"),
    index_where(
        "state = 'active'", "uq_integrations_live", "environment_id", "integration_id", unique=True
    ),
)
