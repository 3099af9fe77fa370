"""Provider files that were imported, and what was in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, insert, select

from carrick.store.tables import environments, imported_providers, integrations, provider_imports
from carrick.store.unit import Tx


@dataclass(frozen=True)
class ImportRow:
    """One imported file."""

    name: str
    providers: int
    imported_at: datetime


@dataclass(frozen=True)
class UseRow:
    """An integration and the provider it is of."""

    environment: str
    integration_id: str
    provider: str


async def state(tx: Tx) -> tuple[tuple[str, str], ...]:
    """Return something that differs whenever what is imported does."""
    rows = await tx.execute(
        select(provider_imports.c.name, provider_imports.c.digest).order_by(provider_imports.c.id)
    )
    return tuple((row.name, row.digest) for row in rows)


async def listed(tx: Tx) -> list[ImportRow]:
    """Return every import, oldest first."""
    table = provider_imports
    count = (
        select(func.count())
        .select_from(imported_providers)
        .where(imported_providers.c.import_id == table.c.id)
        .scalar_subquery()
    )
    rows = await tx.execute(
        select(table.c.name, count.label("providers"), table.c.imported_at).order_by(table.c.id)
    )
    return [ImportRow(row.name, row.providers, row.imported_at) for row in rows]


async def definitions(tx: Tx, *, leave_out: str | None = None) -> dict[str, str]:
    """Return every imported definition by provider; what was imported later wins."""
    query = (
        select(imported_providers.c.name, imported_providers.c.definition)
        .join(provider_imports)
        .order_by(provider_imports.c.id)
    )
    if leave_out is not None:
        query = query.where(provider_imports.c.name != leave_out)
    return {row.name: row.definition for row in await tx.execute(query)}


async def put(tx: Tx, name: str, digest: str, entries: Mapping[str, str]) -> None:
    """Keep an import, in place of an earlier one of that name."""
    await remove(tx, name)
    values = {"name": name, "digest": digest, "imported_at": tx.now}
    import_id = await tx.scalar(
        insert(provider_imports).values(values).returning(provider_imports.c.id)
    )
    rows = [
        {"import_id": import_id, "name": provider, "definition": definition}
        for provider, definition in entries.items()
    ]
    await tx.execute_each(insert(imported_providers), rows)


async def remove(tx: Tx, name: str) -> bool:
    """Remove an import and say whether there was one."""
    found = await tx.scalar(select(provider_imports.c.id).where(provider_imports.c.name == name))
    if found is None:
        return False
    await tx.execute(delete(imported_providers).where(imported_providers.c.import_id == found))
    await tx.execute(delete(provider_imports).where(provider_imports.c.id == found))
    return True


async def uses(tx: Tx) -> list[UseRow]:
    """Return every integration that is not gone, with its provider."""
    rows = await tx.execute(
        select(
            environments.c.name.label("environment"),
            integrations.c.integration_id,
            integrations.c.provider,
        )
        .join(environments, environments.c.id == integrations.c.environment_id)
        .where(integrations.c.state != "gone")
        .order_by(environments.c.name, integrations.c.integration_id)
    )
    return [UseRow(row.environment, row.integration_id, row.provider) for row in rows]
