"""Look after credentials."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

RowId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("connections", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("refresh_unanswered_at", sa.DateTime(timezone=True), nullable=True)
        )
        batch_op.add_column(sa.Column("upkeep_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.create_index(
            "ix_connections_upkeep",
            ["integration_row_id", "upkeep_at"],
            unique=False,
            sqlite_where=sa.text("state = 'active'"),
            postgresql_where=sa.text("state = 'active'"),
        )
    op.execute("UPDATE connections SET upkeep_at = created_at")
