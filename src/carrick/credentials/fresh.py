"""Hand out credentials that work now, asking the provider for new ones when they are about to end.

However many callers want the same connection's credentials, on however many nodes, the provider is
asked once: callers of one process join one task, processes take turns by a lease in the database.
That a refresh goes out is written down before it does, and what the provider answered is stored
before anybody gets it, because it may have ended the refresh token it was asked with.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog

from carrick.auth import ModeContext, Obtained, Steps, app_token, mode_for
from carrick.credentials import rules
from carrick.credentials.lease import RefreshLease
from carrick.credentials.obtain import Send, drive
from carrick.credentials.results import Results
from carrick.credentials.sealed import is_unreplaced, open_credentials
from carrick.environments import Integrations
from carrick.errors import (
    CarrickError,
    ConnectionTestFailed,
    CredentialsUnavailable,
    InvalidCredentials,
    ProviderUnreachable,
    RefreshFaulty,
    UnknownConnection,
    UnknownIntegration,
)
from carrick.model.auth import Credentials
from carrick.model.clock import Chance, Clock
from carrick.model.faults import NO_FAULTS, Faults, Point
from carrick.providers import Catalogue, interpolate
from carrick.store import refresh as rows
from carrick.store.connections import SealedCredentials, sealed_credentials
from carrick.store.refresh import RefreshRow
from carrick.store.unit import Store, Tx
from carrick.vault import Vault

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Terms:
    """How credentials are asked for; different rules hold for each."""

    force: bool = False
    for_cleanup: bool = False
    #: Set by upkeep: what ends within this time more is refreshed as well.
    ahead: timedelta | None = None


#: A connection's row, and how its credentials are asked for.
_Flight = tuple[int, _Terms]


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
        results: Results,
        clock: Clock,
        chance: Chance,
        faults: Faults = NO_FAULTS,
    ) -> None:
        self._store = store
        self._vault = vault
        self._send = send
        self._catalogue = catalogue
        self._integrations = integrations
        self._results = results
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
            RefreshFaulty: It went wrong on this server.
        """
        terms = _Terms(force, for_cleanup)
        row = await self._store.recall(
            ("refresh row", connection_row_id), lambda tx: rows.get(tx, connection_row_id)
        )
        try:
            return await self._get(row, terms)
        except InvalidCredentials:
            if row is None or not for_cleanup:
                raise
            credentials = self._opened(row, terms)
            if rules.still_work(credentials, self._clock.now()):
                return credentials
            raise

    async def keep_alive(
        self, connection_row_id: int, check: Callable[[RefreshRow, Credentials], Awaitable[bool]]
    ) -> None:
        """Refresh credentials ahead of their end; check those that cannot be refreshed.

        Args:
            connection_row_id: Whose.
            check: Asks the provider whether it accepts them: `False` when it cannot be asked that,
                `ConnectionTestFailed` when it said no.

        Raises:
            UnknownConnection: It is gone or being deleted.
            InvalidCredentials: As `get`; it is recorded.
            CarrickError: As `check`; only a no is recorded.
        """
        terms = _Terms(ahead=rules.UPKEEP_EVERY)
        row = await self._store.read(lambda tx: rows.get(tx, connection_row_id))
        credentials = await self._get(row, terms)
        assert row is not None, "opened, so there is one"
        if credentials.auth_mode not in rules.CHECKED_MODES:
            return
        try:
            was_asked = await check(row, credentials)
        except ConnectionTestFailed as error:
            await self._results.refused(row, error)
            raise
        if was_asked:
            await self._results.verified(row)

    async def obtain(self, steps: Steps) -> Obtained:
        """Run an auth mode's steps for credentials that no connection has yet."""
        return await drive(steps, self._send)

    async def close(self) -> None:
        """Wait for the refreshes under way: their answers must not be lost."""
        while self._flights:
            await asyncio.wait(self._flights.values())

    async def _get(self, row: RefreshRow | None, terms: _Terms) -> Credentials:
        credentials = self._opened(row, terms)
        assert row is not None, "opened, so there is one"
        if not self._is_due(row, credentials, terms):
            return credentials
        if await self._steps(row, credentials) is None:
            return credentials
        rules.demand_rested(row, self._clock.now(), force=terms.force)
        return await self._join(row, terms)

    async def _join(self, row: RefreshRow, terms: _Terms) -> Credentials:
        key = (row.row_id, terms)
        flight = self._flights.get(key)
        if flight is None:
            # A task of its own: a caller that goes away must not take the answer with it.
            flight = asyncio.create_task(self._refresh(row, terms), name=f"refresh-{row.row_id}")
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

    async def _refresh(self, seen: RefreshRow, terms: _Terms) -> Credentials:
        owner = self._chance.token_hex(16)
        lease = RefreshLease(self._store, self._clock, seen.row_id, owner, self._faults)
        row = await lease.take()
        try:
            await self._faults.reached(Point.REFRESH_LEASED)
            credentials = self._opened(row, terms)
            # Somebody may have been faster: what they got is as fresh as what we came for.
            was_refreshed = not is_unreplaced(self._vault, seen, row)
            if was_refreshed and rules.still_work(credentials, self._clock.now()):
                return credentials
            if not self._is_due(row, credentials, terms):
                return credentials
            rules.demand_rested(row, self._clock.now(), force=terms.force)
            steps = await self._steps(row, credentials)
            if steps is None:
                return credentials
            async with lease.kept():
                return await self._ask(row, lease, steps, terms)
        finally:
            await lease.release()

    async def _ask(
        self, row: RefreshRow, lease: RefreshLease, steps: Steps, terms: _Terms
    ) -> Credentials:
        await lease.mark_sent()
        await self._faults.reached(Point.REFRESH_ASKED)
        try:
            obtained = await self._driven(row, steps)
        except CarrickError as error:
            told = self._results.explained(row, error)
            stored = await self._results.failed(row, told)
            await self._faults.reached(Point.REFRESH_FAILED)
            if stored is None:
                raise _failure(told) from error
        else:
            await self._faults.reached(Point.REFRESH_ANSWERED)
            stored = await self._results.refreshed(row, lease.owner, obtained)
            await self._faults.reached(Point.REFRESH_STORED)
        # What is stored now counts, be it ours or of somebody who was faster; whether it may be
        # handed out depends on what became of the connection meanwhile.
        return self._opened(
            stored, _Terms(force=True, for_cleanup=terms.for_cleanup, ahead=terms.ahead)
        )

    async def _driven(self, row: RefreshRow, steps: Steps) -> Obtained:
        try:
            return await drive(steps, self._send)
        except CarrickError:
            raise
        except Exception as error:
            # A provider's odd answer or a fault of ours: recorded like any failure, or every
            # caller would send it again.
            _log.exception("refresh_faulty", connection=row.row_id)
            raise RefreshFaulty from error

    async def app_token(self, connection_row_id: int) -> str:
        """Return a short JWT by which the app of a connection proves itself, made just now.

        Raises:
            UnknownConnection: It is gone.
            OAuthClientMissing: The integration has no private key of an app.
        """
        row = await self._store.read(lambda tx: rows.get(tx, connection_row_id))
        if row is None or row.credentials is None:
            raise UnknownConnection
        credentials = open_credentials(self._vault, row.credential_set, row.credentials)
        return app_token(await self._context(row), credentials.values.get("app_id"))

    async def _steps(self, row: RefreshRow, credentials: Credentials) -> Steps | None:
        return mode_for(credentials.auth_mode).refresh(await self._context(row), credentials)

    async def _context(self, row: RefreshRow) -> ModeContext:
        integration = await self._integrations.by_row(row.integration_row_id)
        if integration is None:
            raise UnknownIntegration
        return ModeContext(
            provider=self._catalogue.get(row.provider),
            integration=integration,
            connection_config=row.connection_config,
            now=self._clock.now(),
            render=interpolate,
            nonce=self._chance.token_hex(16),
        )

    def _opened(self, row: RefreshRow | None, terms: _Terms) -> Credentials:
        if row is None or row.credentials is None:
            raise UnknownConnection
        rules.demand_usable(
            row, self._clock.now(), force=terms.force, for_cleanup=terms.for_cleanup
        )
        return open_credentials(self._vault, row.credential_set, row.credentials)

    def _is_due(self, row: RefreshRow, credentials: Credentials, terms: _Terms) -> bool:
        if terms.force or (terms.ahead is not None and row.refresh_unanswered_at is not None):
            return True
        if credentials.expires_at is None:
            return False
        now = self._clock.now()
        if rules.is_from_ahead(row, now):
            return True
        return rules.is_due(
            credentials, self._catalogue.get(row.provider), now, terms.ahead or timedelta()
        )


def _failure(error: CarrickError) -> InvalidCredentials:
    if isinstance(error, RefreshFaulty):
        return error
    message = f"The connection's credentials could not be refreshed. {error.message}"
    if isinstance(error, ProviderUnreachable):
        return CredentialsUnavailable(
            message,
            payload=error.payload,
            retry_after_s=max(error.retry_after_s or 0.0, rules.BACK_OFF.total_seconds()),
        )
    return InvalidCredentials(message, payload=error.payload)
