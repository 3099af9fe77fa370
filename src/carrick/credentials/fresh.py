"""Hand out credentials that work now, asking the provider for new ones when they are about to end.

However many callers want the same connection's credentials, on however many nodes, the provider is
asked once: callers of one process join one task, processes take turns by a lease in the database.
What the provider answered is stored before anybody gets it, because it may have ended the refresh
token it was asked with.
"""

from __future__ import annotations

import asyncio
import copy
from typing import Protocol

from carrick.auth import ModeContext, Obtained, Steps, mode_for
from carrick.credentials import rules
from carrick.credentials.lease import RefreshLease
from carrick.credentials.obtain import Send, drive
from carrick.credentials.sealed import open_credentials, seal_credentials
from carrick.environments import Integrations
from carrick.errors import (
    CarrickError,
    CredentialsUnavailable,
    InvalidCredentials,
    ProviderAnswerInvalid,
    ProviderAnswerTooLarge,
    ProviderUnreachable,
    StoreUnavailable,
    UnknownConnection,
    UnknownIntegration,
)
from carrick.model.auth import AuthMode, Credentials
from carrick.model.clock import Chance, Clock
from carrick.model.faults import NO_FAULTS, Faults, Point
from carrick.providers import Catalogue, interpolate
from carrick.store import refresh as rows
from carrick.store.connections import SealedCredentials, sealed_credentials
from carrick.store.refresh import RefreshRow
from carrick.store.unit import Store, Tx
from carrick.vault import Vault

#: Waits between tries to store what a provider answered: it cannot be asked for again.
_STORE_WAITS_S = (0.2, 0.4, 0.8, 1.6, 3.2, *(5.0 for _ in range(10)))
_LONGEST_DESCRIPTION = 500
#: A connection's row, and the two ways of asking: different rules hold for each.
_Flight = tuple[int, bool, bool]


class RefreshObserver(Protocol):
    """Told of every refresh, inside the transaction that stores its result.

    Changes of state, the operation log and notifications hang on it, so they cannot come apart
    from what they tell of. It is not told about connections that are being deleted or whose
    reconnect was refused: refreshing neither heals nor breaks those.
    """

    async def refreshed_in(self, tx: Tx, connection_row_id: int) -> None:
        """Follow a refresh that worked; earlier failures are over."""

    async def refresh_failed_in(
        self,
        tx: Tx,
        connection_row_id: int,
        *,
        error_type: str,
        description: str,
        exhausted: bool,
        operation_id: str,
    ) -> None:
        """Follow a refresh that failed; `exhausted` when it was the last that counts."""


class FreshCredentials:
    """The one way to a stored connection's credentials."""

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        send: Send,
        catalogue: Catalogue,
        integrations: Integrations,
        observer: RefreshObserver,
        clock: Clock,
        chance: Chance,
        faults: Faults = NO_FAULTS,
    ) -> None:
        self._store = store
        self._vault = vault
        self._send = send
        self._catalogue = catalogue
        self._integrations = integrations
        self._observer = observer
        self._clock = clock
        self._chance = chance
        self._faults = faults
        self._flights: dict[_Flight, asyncio.Task[Credentials]] = {}

    async def stored(self, connection_row_id: int) -> Credentials:
        """Return credentials as they lie in the store, whether or not they still work.

        Raises:
            UnknownConnection: There is no such connection, or it is gone.
        """

        async def unit(tx: Tx) -> SealedCredentials | None:
            return await sealed_credentials(tx, connection_row_id)

        sealed = await self._store.read(unit)
        if sealed is None or sealed.ciphertext is None:
            raise UnknownConnection
        return open_credentials(self._vault, sealed.credential_set, sealed.ciphertext)

    async def get(
        self, connection_row_id: int, *, force: bool = False, for_cleanup: bool = False
    ) -> Credentials:
        """Return credentials that work now, refreshed when they are due.

        Credentials that cannot be refreshed are returned as they are, expired or not.

        Args:
            connection_row_id: Whose.
            force: Refresh even if it is not due, whatever failed before.
            for_cleanup: Asked by the connection's own cleanup, which may use what nobody else may,
                and gets credentials that still work although they could not be refreshed.

        Raises:
            UnknownConnection: It is gone or being deleted.
            CredentialsExhausted: Only a reconnect helps.
            CredentialsBackingOff: A refresh failed less than 30 s ago.
            CredentialsUnavailable: The provider cannot be reached.
            InvalidCredentials: The provider refused.
        """
        row = await self._store.recall(
            ("refresh row", connection_row_id), lambda tx: rows.get(tx, connection_row_id)
        )
        now = self._clock.now()
        credentials = self._opened(row, force=force, for_cleanup=for_cleanup)
        assert row is not None, "opened, so there is one"
        if not force and not self._is_due(row, credentials):
            return credentials
        if await self._steps(row, credentials) is None:
            return credentials
        try:
            rules.demand_rested(row, now, force=force)
            return await self._join(row, force=force, for_cleanup=for_cleanup)
        except InvalidCredentials:
            if for_cleanup and rules.still_work(credentials, now):
                return credentials
            raise

    async def obtain(self, steps: Steps) -> Obtained:
        """Run an auth mode's steps for credentials that no connection has yet."""
        return await drive(steps, self._send)

    async def close(self) -> None:
        """Wait for the refreshes under way: their answers must not be lost."""
        while self._flights:
            await asyncio.wait(self._flights.values())

    async def _join(self, row: RefreshRow, *, force: bool, for_cleanup: bool) -> Credentials:
        key = (row.row_id, force, for_cleanup)
        flight = self._flights.get(key)
        if flight is None:
            # A task of its own: a caller that goes away must not take the answer with it.
            flight = asyncio.create_task(
                self._refresh(row, force=force, for_cleanup=for_cleanup),
                name=f"refresh-{row.row_id}",
            )
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._land(key, done))
        try:
            return await asyncio.shield(flight)
        except CarrickError as error:
            raise copy.copy(error) from error  # callers add to it, and they are many

    def _land(self, key: _Flight, flight: asyncio.Task[Credentials]) -> None:
        self._flights.pop(key, None)
        if not flight.cancelled():
            flight.exception()  # seen, even if every caller went away

    async def _refresh(self, seen: RefreshRow, *, force: bool, for_cleanup: bool) -> Credentials:
        owner = self._chance.token_hex(16)
        lease = RefreshLease(self._store, self._clock, seen.row_id, owner, self._faults)
        row = await lease.take()
        try:
            await self._faults.reached(Point.REFRESH_LEASED)
            credentials = self._opened(row, force=force, for_cleanup=for_cleanup)
            # Somebody may have been faster: what they got is as fresh as what we came for.
            was_refreshed = row.credentials != seen.credentials
            if was_refreshed and rules.still_work(credentials, self._clock.now()):
                return credentials
            if not force and not self._is_due(row, credentials):
                return credentials
            rules.demand_rested(row, self._clock.now(), force=force)
            steps = await self._steps(row, credentials)
            if steps is None:
                return credentials
            async with lease.kept():
                return await self._ask(row, owner, steps, for_cleanup=for_cleanup)
        finally:
            await lease.release()

    async def _ask(
        self, row: RefreshRow, owner: str, steps: Steps, *, for_cleanup: bool
    ) -> Credentials:
        await self._faults.reached(Point.REFRESH_ASKED)
        try:
            obtained = await drive(steps, self._send)
        except CarrickError as error:
            stored = await self._failed(row, error)
            await self._faults.reached(Point.REFRESH_FAILED)
            if stored is None:
                raise _failure(error) from error
        else:
            await self._faults.reached(Point.REFRESH_ANSWERED)
            stored = await self._succeeded(row, owner, obtained)
            await self._faults.reached(Point.REFRESH_STORED)
        # What is stored now counts, be it ours or of somebody who was faster; whether it may be
        # handed out depends on what became of the connection meanwhile.
        return self._opened(stored, force=True, for_cleanup=for_cleanup)

    async def _succeeded(
        self, row: RefreshRow, owner: str, obtained: Obtained
    ) -> RefreshRow | None:
        async def unit(tx: Tx) -> RefreshRow | None:
            return await self._succeed_in(tx, row, owner, obtained)

        for wait_s in _STORE_WAITS_S:
            try:
                return await self._store.write(unit)
            except StoreUnavailable:
                await self._clock.sleep(wait_s)
        return await self._store.write(unit)

    async def _failed(self, row: RefreshRow, error: CarrickError) -> RefreshRow | None:
        async def unit(tx: Tx) -> RefreshRow | None:
            return await self._fail_in(tx, row, error)

        return await self._store.write(unit)

    async def _succeed_in(
        self, tx: Tx, based_on: RefreshRow, owner: str, obtained: Obtained
    ) -> RefreshRow | None:
        """Store what was obtained, unless a reconnect or a later refresh has replaced its origin.

        The same ciphertext proves that nothing did: every sealing gives another. A deletion or a
        refused reconnect changes the generation and keeps the credentials for cleanup, which then
        needs the new ones. With our lease, only a change of keys can have sealed them again.
        """
        row = await rows.get(tx, based_on.row_id, lock=True)
        if row is None or row.credentials is None:
            return None
        is_ours = row.generation == based_on.generation and row.refresh_owner == owner
        if row.credentials != based_on.credentials and not is_ours:
            return row
        heals = rules.is_healthy_otherwise(row)
        credentials = obtained.credentials
        await rows.store_refreshed(
            tx,
            row,
            credentials=seal_credentials(self._vault, row.credential_set, credentials),
            expires_at=credentials.expires_at,
            connection_config={**row.connection_config, **obtained.connection_config},
            heals=heals,
        )
        if heals:
            await self._observer.refreshed_in(tx, row.row_id)
        return await rows.get(tx, row.row_id)

    async def _fail_in(
        self, tx: Tx, based_on: RefreshRow, error: CarrickError
    ) -> RefreshRow | None:
        """Record a failure, or return what has replaced the credentials it is about."""
        row = await rows.get(tx, based_on.row_id, lock=True)
        if row is None or row.credentials is None:
            return None
        if row.credentials != based_on.credentials:
            return row
        attempts = rules.attempts_after_failure(row, tx.now)
        await rows.store_failure(tx, row, attempts=attempts)
        if rules.is_healthy_otherwise(row):
            await self._observer.refresh_failed_in(
                tx,
                row.row_id,
                error_type=_error_type(error, row.auth_mode),
                description=error.message[:_LONGEST_DESCRIPTION],
                exhausted=attempts >= rules.MOST_ATTEMPTS,
                operation_id=self._operation_id(),
            )
        return None

    async def _steps(self, row: RefreshRow, credentials: Credentials) -> Steps | None:
        integration = await self._integrations.by_row(row.integration_row_id)
        if integration is None:
            raise UnknownIntegration
        ctx = ModeContext(
            provider=self._catalogue.get(row.provider),
            integration=integration,
            connection_config=row.connection_config,
            now=self._clock.now(),
            render=interpolate,
            nonce=self._chance.token_hex(16),
        )
        return mode_for(credentials.auth_mode).refresh(ctx, credentials)

    def _opened(self, row: RefreshRow | None, *, force: bool, for_cleanup: bool) -> Credentials:
        if row is None or row.credentials is None:
            raise UnknownConnection
        rules.demand_usable(row, self._clock.now(), force=force, for_cleanup=for_cleanup)
        return open_credentials(self._vault, row.credential_set, row.credentials)

    def _is_due(self, row: RefreshRow, credentials: Credentials) -> bool:
        if credentials.expires_at is None:
            return False
        return rules.is_due(credentials, self._catalogue.get(row.provider), self._clock.now())

    def _operation_id(self) -> str:
        return f"{int(self._clock.now().timestamp() * 1000)}_{self._chance.token_hex(4)}"


def _failure(error: CarrickError) -> InvalidCredentials:
    message = f"The connection's credentials could not be refreshed. {error.message}"
    if isinstance(error, ProviderUnreachable):
        return CredentialsUnavailable(
            message,
            payload=error.payload,
            retry_after_s=max(error.retry_after_s or 0.0, rules.BACK_OFF.total_seconds()),
        )
    return InvalidCredentials(message, payload=error.payload)


def _error_type(error: CarrickError, auth_mode: str) -> str:
    if isinstance(error, ProviderAnswerInvalid | ProviderAnswerTooLarge):
        return "refresh_token_parsing_error"
    if auth_mode == AuthMode.OAUTH2_CC:
        return "client_credentials_fetch_error"
    return "refresh_token_external_error"
