"""Provider files that were imported: a catalogue of one's own that every node sees.

They belong to the whole installation, like the built-in catalogue, and are kept in the store with
their aliases followed, so what an import means does not change with what it was built on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence

from carrick.errors import NotFound, ProviderInUse, StoreUnavailable
from carrick.model.clock import Clock
from carrick.model.provider import Provider
from carrick.providers import Catalogue
from carrick.store import provider_imports as table
from carrick.store.provider_imports import ImportRow
from carrick.store.unit import Store, Tx

#: Seconds until a node notices an import that was made elsewhere.
NOTICED_S = 2.0
_SHOWN = 5


class ProviderImports:
    """What is imported, and keeping a catalogue in step with it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: tuple[tuple[str, str], ...] = ()

    async def list(self) -> Sequence[ImportRow]:
        """Return every import, oldest first."""
        return await self._store.read(table.listed)

    async def definitions(self, *, leave_out: str | None = None) -> dict[str, str]:
        """Return every imported definition by provider, as JSON text."""

        async def unit(tx: Tx) -> dict[str, str]:
            return await table.definitions(tx, leave_out=leave_out)

        return await self._store.read(unit)

    async def put(
        self, name: str, providers: Sequence[Provider], *, base: Catalogue | None
    ) -> None:
        """Keep an import in place of an earlier one of that name, all of it or nothing.

        Args:
            name: Of the import.
            providers: What was in the file.
            base: The catalogue to look in: no provider that is in use may be missing afterwards,
                or authenticate in another way. `None` does not look.

        Raises:
            ProviderInUse: Integrations would be left without their provider.
        """
        entries = {
            one.name: json.dumps(dict(one.definition), default=str, separators=(",", ":"))
            for one in providers
        }
        digest = hashlib.sha256(json.dumps(entries).encode()).hexdigest()

        async def unit(tx: Tx) -> None:
            before = await table.definitions(tx)
            await table.put(tx, name, digest, entries)
            await _demand_kept(tx, base, before)

        await self._store.write(unit)

    async def remove(self, name: str, *, base: Catalogue | None) -> None:
        """Forget an import; see `put`.

        Raises:
            NotFound: There is none of that name.
            ProviderInUse: Integrations would be left without their provider.
        """

        async def unit(tx: Tx) -> None:
            before = await table.definitions(tx)
            if not await table.remove(tx, name):
                raise NotFound(f"There is no import named {name!r}.")
            await _demand_kept(tx, base, before)

        await self._store.write(unit)

    async def refresh(self, catalogue: Catalogue) -> bool:
        """Bring a catalogue in step with the store and say whether something had changed."""

        async def unit(tx: Tx) -> tuple[tuple[tuple[str, str], ...], dict[str, str] | None]:
            state = await table.state(tx)
            return state, None if state == self._seen else await table.definitions(tx)

        state, definitions = await self._store.read(unit)
        if definitions is None:
            return False
        catalogue.put_imported(definitions)
        self._seen = state
        return True

    def following(self, catalogue: Catalogue, clock: Clock) -> Callable[[], Awaitable[None]]:
        """Return a loop that keeps a catalogue in step for as long as it runs."""

        async def follow() -> None:
            while True:
                await clock.sleep(NOTICED_S)
                with contextlib.suppress(StoreUnavailable):  # the next look will tell
                    await self.refresh(catalogue)

        return follow


async def _demand_kept(tx: Tx, base: Catalogue | None, before: Mapping[str, str]) -> None:
    """Refuse what was written, and with it the transaction, if it takes a provider that is used."""
    if base is None:
        return
    was, will = base.with_imported(before), base.with_imported(await table.definitions(tx))
    lost = [
        f"{use.integration_id} in {use.environment} ({use.provider})"
        for use in await table.uses(tx)
        if _is_lost(was.find(use.provider), will.find(use.provider))
    ]
    if lost:
        more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
        raise ProviderInUse(
            "Integrations would be left without their provider, or with another way to "
            f"authenticate: {', '.join(lost[:_SHOWN])}{more}. Delete them first, or use --force."
        )


def _is_lost(was: Provider | None, will: Provider | None) -> bool:
    return was is not None and (will is None or will.auth_mode is not was.auth_mode)
