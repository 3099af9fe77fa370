"""Environment variables: what a developer hands to functions by name, encrypted at rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from carrick.store import environments as table
from carrick.store.unit import Store, Tx
from carrick.vault import Vault, contexts


class Variables:
    """The variables of environments."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    async def list(self, environment_id: int) -> Sequence[tuple[str, str]]:
        """Return name and value of every variable, by name."""
        return await self._open(environment_id, None)

    async def get(self, environment_id: int, names: Sequence[str]) -> dict[str, str]:
        """Return the values of those that exist among these names."""
        return dict(await self._open(environment_id, names)) if names else {}

    async def set(self, environment_id: int, values: Mapping[str, str | None]) -> None:
        """Set variables by name, all or none of them; `None` deletes one."""
        sealed = {
            name: None if value is None else self._seal(environment_id, name, value)
            for name, value in values.items()
        }

        async def unit(tx: Tx) -> None:
            for name, value in sorted(sealed.items()):
                if value is None:
                    await table.delete_variable(tx, environment_id, name)
                else:
                    await table.put_variable(tx, environment_id, name, value)

        await self._store.write(unit)

    def _seal(self, environment_id: int, name: str, value: str) -> bytes:
        return self._vault.seal(value.encode(), context=contexts.variable(environment_id, name))

    async def _open(
        self, environment_id: int, names: Sequence[str] | None
    ) -> Sequence[tuple[str, str]]:
        async def unit(tx: Tx) -> list[tuple[str, bytes]]:
            return await table.list_variables(tx, environment_id, names)

        def opened(name: str, value: bytes) -> str:
            context = contexts.variable(environment_id, name)
            return self._vault.open(value, context=context).decode()

        found = await self._store.read(unit)
        return [(name, opened(name, value)) for name, value in found]
