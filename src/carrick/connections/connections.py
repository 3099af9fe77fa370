"""Connections as the rest of the house reads them, and the writes that change no state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from carrick.errors import UnknownConnection
from carrick.model.clock import Clock
from carrick.model.connection import Connection, EndUser
from carrick.store import connections as rows
from carrick.store.connections import ConnectionFilter
from carrick.store.unit import Store, Tx


class ConnectionMissing(UnknownConnection):
    """There is no such connection."""

    status = 404


@dataclass(frozen=True)
class ConnectionPatch:
    """What `PATCH` changes; `None` leaves a thing as it is, `""` clears the address."""

    tags: Mapping[str, str] | None = None
    end_user: EndUser | None = None
    webhook_url_override: str | None = None


class Connections:
    """Reads, metadata and small facts of connections."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._fetched: dict[int, datetime] = {}

    async def find(
        self, environment_id: int, integration_id: str, connection_id: str
    ) -> Connection | None:
        """Return the active or broken connection with that public id."""

        async def unit(tx: Tx) -> Connection | None:
            return await rows.find_usable(tx, environment_id, integration_id, connection_id)

        key = ("usable connection", environment_id, integration_id, connection_id)
        return await self._store.recall(key, unit)

    async def by_row(self, row_id: int) -> Connection | None:
        """Return a connection in whatever state."""

        async def unit(tx: Tx) -> Connection | None:
            return await rows.get(tx, row_id)

        return await self._store.read(unit)

    async def list(self, environment_id: int, wanted: ConnectionFilter) -> Sequence[Connection]:
        """Return the connections a caller may see, newest first."""

        async def unit(tx: Tx) -> Sequence[Connection]:
            return await rows.list_usable(tx, environment_id, wanted)

        return await self._store.read(unit, scans=True)

    async def write_metadata(
        self,
        environment_id: int,
        integration_id: str,
        connection_ids: Sequence[str],
        metadata: Mapping[str, Any],
        *,
        merge: bool,
    ) -> None:
        """Replace or merge the metadata of connections: all of them or none.

        Raises:
            ConnectionMissing: One of them does not exist; nothing was changed.
        """

        async def unit(tx: Tx) -> None:
            for connection_id in sorted(set(connection_ids)):  # one order, so that no two deadlock
                found = await rows.find_usable(
                    tx, environment_id, integration_id, connection_id, lock=True
                )
                if found is None:
                    raise ConnectionMissing(
                        f'There is no connection "{connection_id}" of integration '
                        f'"{integration_id}". Nothing was changed.'
                    )
                await put_metadata(tx, found, metadata, merge=merge)

        await self._store.write(unit)

    async def patch(
        self, environment_id: int, integration_id: str, connection_id: str, patch: ConnectionPatch
    ) -> None:
        """Change tags, end user or webhook address.

        Raises:
            ConnectionMissing: There is no such connection.
        """

        async def unit(tx: Tx) -> None:
            found = await rows.find_usable(
                tx, environment_id, integration_id, connection_id, lock=True
            )
            if found is None:
                raise ConnectionMissing
            columns: dict[str, Any] = {}
            if patch.tags is not None:
                columns["tags"] = dict(patch.tags)
            if patch.end_user is not None:
                columns["end_user_row_id"] = await rows.upsert_end_user(
                    tx, environment_id, patch.end_user
                )
            if patch.webhook_url_override is not None:
                columns["webhook_url_override"] = patch.webhook_url_override or None
            if columns:
                await rows.change(tx, found.row_id, columns)

        await self._store.write(unit)

    def touch(self, row_id: int) -> None:
        """Remember that a connection was used now; written with others, once a second."""
        self._fetched[row_id] = self._clock.now().replace(microsecond=0)

    async def flush(self) -> None:
        """Write what `touch` remembered; kept for the next time when the store is away."""
        fetched, self._fetched = self._fetched, {}
        if not fetched:
            return

        async def unit(tx: Tx) -> None:
            await rows.write_fetched(tx, fetched)

        try:
            await self._store.write(unit)
        except Exception:
            self._fetched = {**fetched, **self._fetched}
            raise


def merged(current: Mapping[str, Any] | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata with top-level keys replaced."""
    return {**(current or {}), **changes}


async def put_metadata(
    tx: Tx, connection: Connection, metadata: Mapping[str, Any], *, merge: bool
) -> tuple[dict[str, Any], int]:
    """Write metadata of a connection this transaction holds; return it and its version."""
    value = merged(connection.metadata, metadata) if merge else dict(metadata)
    version = connection.metadata_version + 1
    await rows.change(tx, connection.row_id, {"metadata": value, "metadata_version": version})
    return value, version
