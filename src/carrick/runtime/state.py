"""What a run leaves for the next attempt or takes from other runs: its checkpoint, and locks."""

from __future__ import annotations

from typing import Any

from carrick.errors import CheckpointTooLarge
from carrick.runtime.subjects import Subject
from carrick.store import run_state
from carrick.store.unit import Store, Tx
from carrick.vault import Vault, contexts

_MAX_CHECKPOINT = 16 * 1024


class RunState:
    """Checkpoint and locks of one run. A run that is not live, or has no connection, keeps none."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        subject: Subject,
        *,
        function: str,
        run_id: str,
        connection_row_id: int | None,
        is_live: bool,
    ) -> None:
        self._store = store
        self._vault = vault
        self._subject = subject
        self._function = function
        self._run_id = run_id
        self._connection_row_id = connection_row_id if is_live else None
        self._is_live = is_live
        #: The checkpoint of a run that keeps none.
        self._checkpoint: Any = None

    def _checkpoint_context(self) -> str:
        return contexts.checkpoint(self._connection_row_id, self._function)

    async def get_checkpoint(self, _params: dict[str, Any]) -> Any:
        """Return the function's checkpoint, or `None`."""
        row_id = self._connection_row_id
        if row_id is None:
            return self._checkpoint
        sealed = await self._store.read(lambda tx: run_state.checkpoint(tx, row_id, self._function))
        if sealed is None:
            return None
        return self._vault.open_json(sealed, context=self._checkpoint_context())

    async def save_checkpoint(self, params: dict[str, Any]) -> None:
        """Keep a checkpoint instead of the one before.

        Raises:
            CheckpointTooLarge: It has more than 16 KiB.
        """
        row_id = self._connection_row_id
        value = params["value"]
        sealed = self._vault.seal_json(value, context=self._checkpoint_context())
        if len(sealed) > _MAX_CHECKPOINT + 256:
            raise CheckpointTooLarge
        if row_id is None:
            self._checkpoint = value
            return

        async def unit(tx: Tx) -> None:
            await self._subject.demand(tx)
            await run_state.save_checkpoint(tx, row_id, self._function, sealed)

        await self._store.write(unit)

    async def clear_checkpoint(self, _params: dict[str, Any]) -> None:
        """Forget the checkpoint."""
        row_id = self._connection_row_id
        self._checkpoint = None
        if row_id is None:
            return

        async def unit(tx: Tx) -> None:
            await self._subject.demand(tx)
            await run_state.clear_checkpoint(tx, row_id, self._function)

        await self._store.write(unit)

    async def acquire_lock(self, params: dict[str, Any]) -> dict[str, Any]:
        """Take a lock of the integration, unless another run holds it."""
        key, ttl_s = str(params["key"])[:255], float(params["ttl_s"])
        if not self._is_live:
            return {"acquired": True, "fence": 0}
        integration_row_id = self._subject.place.integration.row_id

        async def unit(tx: Tx) -> int | None:
            await self._subject.demand(tx)
            return await run_state.acquire_lock(tx, integration_row_id, key, self._run_id, ttl_s)

        fence = await self._store.write(unit)
        return {"acquired": fence is not None, "fence": fence or 0}

    async def release_lock(self, params: dict[str, Any]) -> dict[str, bool]:
        """Give a lock back."""
        if not self._is_live:
            return {"released": True}
        integration_row_id = self._subject.place.integration.row_id

        async def unit(tx: Tx) -> bool:
            return await run_state.release_lock(
                tx,
                integration_row_id,
                str(params["key"])[:255],
                self._run_id,
                params.get("fence"),
            )

        return {"released": await self._store.write(unit)}
