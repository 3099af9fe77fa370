"""The user's own providers: importing files into the store, and the catalogue that results.

No server has to run. One that runs notices within seconds, wherever the import was made.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carrick.environments import ProviderImports
from carrick.errors import ProvidersInvalid
from carrick.model.clock import SystemClock
from carrick.providers import Catalogue, load_catalogue, read_file
from carrick.settings import Settings
from carrick.store.migrate import schema_state
from carrick.store.opening import open_store, sqlite_url
from carrick.store.provider_imports import ImportRow
from carrick.store.unit import Store


@dataclass(frozen=True)
class ImportReport:
    """What an import has changed. Names, in order."""

    name: str
    added: Sequence[str]
    replaced: Sequence[str]
    #: In an earlier import of that name and not in this one.
    removed: Sequence[str]
    warnings: Sequence[str]


async def import_file(settings: Settings, path: Path, name: str, *, force: bool) -> ImportReport:
    """Import a file in place of an earlier import of that name.

    Raises:
        ProvidersInvalid: The file cannot be read or an entry is wrong; nothing was imported.
        ProviderInUse: Integrations would be left without their provider, and it is not forced.
    """
    entries = own_entries(path)
    from carrick.app import opened_store

    async with opened_store(settings, SystemClock(), migrated=False) as store:
        imports = ProviderImports(store)
        now = await imports.definitions()
        others = await imports.definitions(leave_out=name)
        base = load_catalogue(imported=others)
        providers, warnings = base.read(entries, origin=path.name)
        await imports.put(
            name, providers, base=None if force else load_catalogue(settings.providers_file)
        )
    names = {provider.name for provider in providers}
    known = {*base.names(), *now}
    return ImportReport(
        name=name,
        added=sorted(names - known),
        replaced=sorted(names & known),
        removed=sorted(now.keys() - others.keys() - names),
        warnings=warnings,
    )


def own_entries(path: Path) -> dict[str, Any]:
    """Read a provider file of the user's.

    Raises:
        ProvidersInvalid: It cannot be read, or holds nothing.
    """
    entries = read_file(path)
    if not entries:
        raise ProvidersInvalid(f"{path.name} holds no providers.")
    return entries


async def remove_import(settings: Settings, name: str, *, force: bool) -> None:
    """Forget an import.

    Raises:
        NotFound: There is none of that name.
        ProviderInUse: Integrations would be left without their provider, and it is not forced.
    """
    from carrick.app import opened_store

    base = None if force else load_catalogue(settings.providers_file)
    async with opened_store(settings, SystemClock(), migrated=False) as store:
        await ProviderImports(store).remove(name, base=base)


async def list_imports(settings: Settings) -> Sequence[ImportRow]:
    """Return every import, oldest first."""
    async with _store_as_it_is(settings) as store:
        return [] if store is None else await ProviderImports(store).list()


async def whole_catalogue(settings: Settings, *, own_file: bool = True) -> Catalogue:
    """Return the catalogue a server with these settings has."""
    async with _store_as_it_is(settings) as store:
        imported = {} if store is None else await ProviderImports(store).definitions()
    return load_catalogue(settings.providers_file if own_file else None, imported)


@contextlib.asynccontextmanager
async def _store_as_it_is(settings: Settings) -> AsyncIterator[Store | None]:
    """Open the store for reading, if there is one that this version can read; make none."""
    path = settings.database_file
    if settings.database_url is None and not path.exists():
        yield None
        return
    store = open_store(settings.database_url or sqlite_url(path), SystemClock())
    await store.start()
    try:
        yield store if await schema_state(store) == "current" else None
    finally:
        await store.close()
