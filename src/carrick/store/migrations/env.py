"""Runs migrations on the connection they are given. Alembic loads this file by its name."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import JSON, BigInteger

from carrick.store.tables import UtcDateTime, metadata

#: `RowId` and `Json` are defined at the top of every migration.
_PLAIN_TYPES = {UtcDateTime: "sa.DateTime(timezone=True)", BigInteger: "RowId", JSON: "Json"}


def _render(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Write plain types into migrations, so that they do not change when the package does."""
    if kind != "type":
        return False
    for ours, text in _PLAIN_TYPES.items():
        if isinstance(item, ours):
            return text
    return False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_item=_render,
    # SQLite cannot alter a table in place: changes are made by copying it.
    render_as_batch=not context.config.attributes.get("creates_only", False),
)
with context.begin_transaction():
    context.run_migrations()
