"""What the store notes about itself."""

from __future__ import annotations

from sqlalchemy import Column, String, Table, Text

from carrick.store.tables.columns import metadata

store_facts = Table(
    "store_facts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
