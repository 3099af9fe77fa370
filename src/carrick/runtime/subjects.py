"""What a run acts on: a live connection, a candidate, or a live connection that must not change.

The calls a function makes are the same in all three cases; who answers them differs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from carrick.connections.connections import Connections, merged, put_metadata
from carrick.credentials import FreshCredentials
from carrick.errors import MetadataChanged, ResultLost, UnknownConnection
from carrick.journal import Recorder, WriteKey
from carrick.model.auth import Credentials
from carrick.model.connection import Candidate, Connection, EndUser
from carrick.model.environment import Environment, Integration
from carrick.model.faults import Point
from carrick.model.provider import Provider
from carrick.store import connections as rows
from carrick.store import mailboxes
from carrick.store.mailboxes import Lease
from carrick.store.unit import Store, Tx


@dataclass(frozen=True)
class Place:
    """Where a run takes place."""

    environment: Environment
    integration: Integration
    provider: Provider
    connection_id: str


class Subject(Protocol):
    """What a run acts on."""

    @property
    def place(self) -> Place:
        """Where the run takes place."""

    async def credentials(self) -> Credentials:
        """Return credentials that work now."""

    async def connection_config(self) -> Mapping[str, Any]:
        """Return the config the API is addressed with."""

    async def metadata(self) -> tuple[dict[str, Any], int]:
        """Return the metadata and its version."""

    async def write_metadata(
        self, value: Mapping[str, Any], *, merge: bool, version: int | None
    ) -> tuple[dict[str, Any], int]:
        """Write metadata; with `version`, only if it still has that one."""

    async def same_account(self, account_id: str) -> tuple[bool, bool]:
        """Return whether that account is the connection's, and whether one was known before."""

    async def describe(self) -> dict[str, Any]:
        """Return the connection as functions see it, without credentials."""

    async def demand(self, tx: Tx) -> None:
        """Make sure the run still holds what it acts on."""

    async def demand_now(self) -> None:
        """Make sure of it outside a transaction, before something leaves."""


@dataclass
class Guard:
    """The lease under which a run acts; without one (a new connection) there is nothing to lose."""

    store: Store
    lease: Lease | None = None

    async def demand(self, tx: Tx) -> None:
        """Make sure the lease is held until the transaction ends."""
        if self.lease is not None:
            await mailboxes.demand(tx, self.lease)

    async def demand_now(self) -> None:
        """Make sure the lease is held at this moment."""
        lease = self.lease
        if lease is None:
            return

        async def unit(tx: Tx) -> bool:
            return await mailboxes.is_held(tx, lease)

        if not await self.store.read(unit):
            raise ResultLost


@dataclass
class LiveSubject:
    """A connection as it stands, under its mailbox's lease."""

    place: Place
    row_id: int
    guard: Guard
    recorder: Recorder
    store: Store
    connections: Connections
    fresh: FreshCredentials
    for_cleanup: bool = False

    async def _connection(self) -> Connection:
        found = await self.connections.by_row(self.row_id)
        if found is None:
            raise UnknownConnection
        return found

    async def credentials(self) -> Credentials:
        """Return credentials that work now, refreshed when they are due."""
        return await self.fresh.get(self.row_id, for_cleanup=self.for_cleanup)

    async def connection_config(self) -> Mapping[str, Any]:
        """Return the connection's config."""
        return (await self._connection()).connection_config

    async def metadata(self) -> tuple[dict[str, Any], int]:
        """Return the connection's metadata."""
        connection = await self._connection()
        return dict(connection.metadata or {}), connection.metadata_version

    async def write_metadata(
        self, value: Mapping[str, Any], *, merge: bool, version: int | None
    ) -> tuple[dict[str, Any], int]:
        """Write the connection's metadata once, however often the run is tried."""
        name = self._name("update_metadata" if merge else "set_metadata", value)

        async def unit(tx: Tx) -> tuple[dict[str, Any], int]:
            connection = await self._held(tx)
            if await self.recorder.done_before_in(tx, name):
                return dict(connection.metadata or {}), connection.metadata_version
            if version is not None and connection.metadata_version != version:
                raise MetadataChanged  # undoes the entry with the rest of the unit
            written = await put_metadata(tx, connection, value, merge=merge)
            await self.recorder.journal.faults.reached(Point.METADATA_WRITTEN)
            return written

        try:
            return await self.store.write(unit)
        except MetadataChanged:
            self.recorder.forget(name)
            raise

    def _name(self, what: str, value: Any) -> WriteKey:
        return self.recorder.name("METADATA", what, value)

    async def same_account(self, account_id: str) -> tuple[bool, bool]:
        """Compare with the recorded account, or record this one."""

        async def unit(tx: Tx) -> tuple[bool, bool]:
            connection = await self._held(tx)
            if connection.account_id is None:
                await rows.change(tx, self.row_id, {"account_id": account_id})
                return True, False
            return connection.account_id == account_id, True

        return await self.store.write(unit)

    async def _held(self, tx: Tx) -> Connection:
        # Held first: two calls of one run that both had demanded it would wait for each other.
        connection = await rows.get(tx, self.row_id, lock=True)
        await self.demand(tx)
        if connection is None:
            raise UnknownConnection
        return connection

    async def describe(self) -> dict[str, Any]:
        """Return the connection without credentials."""
        return described(await self._connection())

    async def demand(self, tx: Tx) -> None:
        """Check the fence."""
        await self.guard.demand(tx)

    async def demand_now(self) -> None:
        """Check the fence before something leaves."""
        await self.guard.demand_now()


@dataclass
class CandidateSubject:
    """New credentials that no check has passed yet, and what the checks did with them.

    Metadata writes are operations on the candidate: applied to the live value when it is accepted,
    forgotten when it is refused or when the attempt that made them has to be repeated.
    """

    place: Place
    candidate: Candidate
    existing: Connection | None
    guard: Guard
    operations: list[tuple[bool, dict[str, Any]]] = field(default_factory=list)
    account_id: str | None = None
    _attempt_mark: int = 0
    _attempt_account: str | None = None

    def begin_attempt(self) -> None:
        """Remember where this attempt starts."""
        self._attempt_mark = len(self.operations)
        self._attempt_account = self.account_id

    def undo_attempt(self) -> None:
        """Forget what the attempt did, because it will be repeated."""
        del self.operations[self._attempt_mark :]
        self.account_id = self._attempt_account

    def applied_to(self, live: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return metadata with the candidate's own and its checks' writes applied."""
        value: dict[str, Any] | None = dict(live) if live is not None else None
        if self.candidate.metadata is not None:
            value = dict(self.candidate.metadata)
        for merge, change in self.operations:
            value = merged(value, change) if merge else dict(change)
        return value

    @property
    def changes_metadata(self) -> bool:
        """Whether an accepted candidate writes metadata at all."""
        return self.candidate.metadata is not None or bool(self.operations)

    async def credentials(self) -> Credentials:
        """Return the candidate's credentials."""
        return self.candidate.credentials

    async def connection_config(self) -> Mapping[str, Any]:
        """Return the candidate's config."""
        return self.candidate.connection_config

    async def metadata(self) -> tuple[dict[str, Any], int]:
        """Return the connection's existing metadata with this journey's writes applied."""
        live = self.existing.metadata if self.existing is not None else None
        return self.applied_to(live) or {}, len(self.operations)

    async def write_metadata(
        self, value: Mapping[str, Any], *, merge: bool, version: int | None
    ) -> tuple[dict[str, Any], int]:
        """Note a write for the moment of promotion."""
        if version is not None and version != len(self.operations):
            raise MetadataChanged
        self.operations.append((merge, dict(value)))
        return await self.metadata()

    async def same_account(self, account_id: str) -> tuple[bool, bool]:
        """Compare with the recorded account, or note this one for the moment of promotion."""
        known = self.account_id
        if known is None and self.existing is not None:
            known = self.existing.account_id
        if known is None:
            self.account_id = account_id
            return True, False
        return known == account_id, True

    async def describe(self) -> dict[str, Any]:
        """Return the connection as it would be."""
        metadata, _ = await self.metadata()
        existing = self.existing
        tags = self.candidate.tags if self.candidate.tags is not None else None
        end_user = self.candidate.end_user
        if existing is not None:
            tags = existing.tags if tags is None else tags
            end_user = end_user or existing.end_user
        return {
            "connection_id": self.place.connection_id,
            "integration_id": self.place.integration.integration_id,
            "provider": self.place.provider.name,
            "connection_config": dict(self.candidate.connection_config),
            "metadata": metadata,
            "tags": dict(tags or {}),
            "end_user": _end_user(end_user),
            "created_at": existing.created_at.isoformat() if existing else None,
            "updated_at": existing.updated_at.isoformat() if existing else None,
        }

    async def demand(self, tx: Tx) -> None:
        """Check the fence of the connection that is being reconnected."""
        await self.guard.demand(tx)

    async def demand_now(self) -> None:
        """Check it before something leaves."""
        await self.guard.demand_now()


@dataclass
class DrySubject:
    """A real connection whose metadata and account stay as they are: writes stay in the run."""

    inner: LiveSubject
    overlay: dict[str, Any] | None = None
    known_account: bool = True
    account_id: str | None = None
    version: int = 0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def place(self) -> Place:
        """Where the run takes place."""
        return self.inner.place

    async def credentials(self) -> Credentials:
        """Return the connection's credentials."""
        return await self.inner.credentials()

    async def connection_config(self) -> Mapping[str, Any]:
        """Return the connection's config."""
        return await self.inner.connection_config()

    async def metadata(self) -> tuple[dict[str, Any], int]:
        """Return the connection's metadata with this run's own writes."""
        async with self._lock:
            if self.overlay is None:
                self.overlay, _ = await self.inner.metadata()
        return dict(self.overlay), self.version

    async def write_metadata(
        self, value: Mapping[str, Any], *, merge: bool, version: int | None
    ) -> tuple[dict[str, Any], int]:
        """Keep a write in the run."""
        current, known = await self.metadata()
        if version is not None and version != known:
            raise MetadataChanged
        self.overlay = merged(current, value) if merge else dict(value)
        self.version += 1
        return await self.metadata()

    async def same_account(self, account_id: str) -> tuple[bool, bool]:
        """Compare with the recorded account and record nothing."""
        known = self.account_id
        if known is None and self.known_account:
            connection = await self.inner.connections.by_row(self.inner.row_id)
            known = connection.account_id if connection is not None else None
        if known is None:
            self.account_id = account_id
            return True, False
        return known == account_id, True

    async def describe(self) -> dict[str, Any]:
        """Return the connection with this run's metadata."""
        metadata, _ = await self.metadata()
        return {**await self.inner.describe(), "metadata": metadata}

    async def demand(self, tx: Tx) -> None:
        """Hold nothing: a dry run changes nothing that could be lost."""

    async def demand_now(self) -> None:
        """Hold nothing."""


def described(connection: Connection) -> dict[str, Any]:
    """Return a connection as functions see it, without credentials."""
    return {
        "connection_id": connection.connection_id,
        "integration_id": connection.integration_id,
        "provider": connection.provider,
        "connection_config": dict(connection.connection_config),
        "metadata": dict(connection.metadata or {}),
        "tags": dict(connection.tags),
        "end_user": _end_user(connection.end_user),
        "created_at": connection.created_at.isoformat(),
        "updated_at": connection.updated_at.isoformat(),
    }


def _end_user(end_user: EndUser | None) -> dict[str, Any] | None:
    if end_user is None:
        return None
    return {
        "id": end_user.id,
        "email": end_user.email,
        "display_name": end_user.display_name,
        "tags": dict(end_user.tags),
        "organization_id": end_user.organization_id,
        "organization_display_name": end_user.organization_display_name,
    }
