"""Provider imports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

RowId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "provider_imports",
        sa.Column("id", RowId, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_imports")),
        sa.UniqueConstraint("name", name=op.f("uq_provider_imports_name")),
    )
    op.create_table(
        "imported_providers",
        sa.Column("id", RowId, autoincrement=True, nullable=False),
        sa.Column("import_id", RowId, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["import_id"],
            ["provider_imports.id"],
            name=op.f("fk_imported_providers_import_id_provider_imports"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imported_providers")),
        sa.UniqueConstraint("import_id", "name", name=op.f("uq_imported_providers_import_id_name")),
    )
