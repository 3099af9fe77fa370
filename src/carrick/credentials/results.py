"""What a refresh or a check came to, written so that it overwrites nothing newer.

A provider's answer may have ended the refresh token it was asked with: it is stored before anybody
gets it, however long the store takes. What a result is based on is compared where it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from carrick.auth import Obtained
from carrick.credentials import rules
from carrick.credentials.observer import (
    Action,
    RefreshFailure,
    RefreshObserver,
    RefreshSuccess,
)
from carrick.credentials.sealed import is_unreplaced, open_credentials, seal_credentials
from carrick.errors import (
    CarrickError,
    ConnectionTestFailed,
    ProviderAnswerInvalid,
    ProviderAnswerTooLarge,
    ProviderRefused,
    ProviderUnavailable,
    ProviderUnreachable,
    RefreshFaulty,
    RefreshTokenLost,
    StoreUnavailable,
)
from carrick.model.auth import AuthMode
from carrick.model.clock import Chance, Clock
from carrick.store import refresh as rows
from carrick.store.refresh import RefreshRow
from carrick.store.unit import Store, Tx
from carrick.vault import Vault

#: Waits between tries to store what a provider answered: it cannot be asked for again.
_STORE_WAITS_S = (0.2, 0.4, 0.8, 1.6, 3.2, *(5.0 for _ in range(10)))
_LONGEST_DESCRIPTION = 500
#: How far times of upkeep are spread, so that what came together does not come back together.
_SPREAD = 0.1
#: Errors after which a provider may have given new tokens that never arrived.
_MAY_HAVE_ANSWERED = (
    ProviderAnswerInvalid,
    ProviderAnswerTooLarge,
    ProviderUnavailable,
    RefreshFaulty,
)
_RECOVERED = (
    "An earlier refresh was cut off before its answer was stored; "
    "the provider took the same refresh token once more."
)


class Results:
    """Writes results, and tells the observer in the same transaction."""

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        observer: RefreshObserver,
        clock: Clock,
        chance: Chance,
        new_operation_id: Callable[[], str],
        idle: timedelta,
    ) -> None:
        self._store = store
        self._vault = vault
        self._observer = observer
        self._clock = clock
        self._chance = chance
        self._new_operation_id = new_operation_id
        self._idle = idle

    async def refreshed(self, row: RefreshRow, owner: str, obtained: Obtained) -> RefreshRow | None:
        """Store what was obtained and return the row as it is then.

        Raises:
            StoreUnavailable: The store stayed away for a minute. The mark that a refresh is out
                stays, so that the loss is known.
        """

        async def unit(tx: Tx) -> RefreshRow | None:
            return await self._refreshed_in(tx, row, owner, obtained)

        for wait_s in _STORE_WAITS_S:
            try:
                return await self._store.write(unit)
            except StoreUnavailable:
                await self._clock.sleep(wait_s)
        return await self._store.write(unit)

    async def failed(self, row: RefreshRow, error: CarrickError) -> RefreshRow | None:
        """Record a failed refresh, or return what has replaced the credentials it is about."""

        async def unit(tx: Tx) -> RefreshRow | None:
            return await self._failed_in(tx, row, "refresh_token", error)

        return await self._store.write(unit)

    async def verified(self, row: RefreshRow) -> None:
        """Record that the provider accepts credentials as they are."""

        async def unit(tx: Tx) -> None:
            current = await rows.get(tx, row.row_id, lock=True)
            if current is None or not is_unreplaced(self._vault, row, current):
                return
            if not rules.is_healthy_otherwise(current):
                return
            if current.refresh_attempts:
                await rows.store_healed(tx, current)
            success = RefreshSuccess("connection_test", self._new_operation_id())
            await self._observer.refreshed_in(tx, row.row_id, success)

        await self._store.write(unit)

    async def refused(self, row: RefreshRow, error: CarrickError) -> None:
        """Record that the provider does not accept credentials that cannot be refreshed."""

        async def unit(tx: Tx) -> None:
            await self._failed_in(tx, row, "connection_test", error)

        await self._store.write(unit)

    async def _refreshed_in(
        self, tx: Tx, based_on: RefreshRow, owner: str, obtained: Obtained
    ) -> RefreshRow | None:
        """Store what was obtained, unless a reconnect or a later refresh has replaced its origin.

        A deletion or a refused reconnect changes the generation and keeps the credentials for
        cleanup, which then needs the new ones.
        """
        row = await rows.get(tx, based_on.row_id, lock=True)
        if row is None or row.credentials is None:
            return None
        is_ours = row.generation == based_on.generation and row.refresh_owner == owner
        if not is_ours and not is_unreplaced(self._vault, based_on, row):
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
            upkeep_at=self._spread(
                tx.now, rules.next_upkeep(credentials.expires_at, tx.now, self._idle)
            ),
        )
        if heals:
            said = _RECOVERED if based_on.refresh_unanswered_at is not None else None
            success = RefreshSuccess("refresh_token", self._new_operation_id(), said)
            await self._observer.refreshed_in(tx, row.row_id, success)
        return await rows.get(tx, row.row_id)

    async def _failed_in(
        self, tx: Tx, based_on: RefreshRow, action: Action, error: CarrickError
    ) -> RefreshRow | None:
        row = await rows.get(tx, based_on.row_id, lock=True)
        if row is None or row.credentials is None:
            return None
        if not is_unreplaced(self._vault, based_on, row):
            return row
        unanswered_at = None
        if action == "refresh_token":
            unanswered_at = _unanswered_since(based_on, row, error)
        is_lost = isinstance(error, RefreshTokenLost)
        attempts = rules.MOST_ATTEMPTS if is_lost else rules.attempts_after_failure(row, tx.now)
        again_at = rules.upkeep_after_failure(
            row, unanswered_at, tx.now, transient=isinstance(error, ProviderUnreachable)
        )
        await rows.store_failure(
            tx,
            row,
            attempts=attempts,
            unanswered_at=unanswered_at,
            upkeep_at=self._spread(tx.now, again_at),
        )
        if rules.is_healthy_otherwise(row):
            failure = RefreshFailure(
                action,
                self._new_operation_id(),
                _error_type(error, row.auth_mode),
                error.message[:_LONGEST_DESCRIPTION],
                exhausted=attempts >= rules.MOST_ATTEMPTS,
            )
            await self._observer.refresh_failed_in(tx, row.row_id, failure)
        return None

    def explained(self, row: RefreshRow, error: CarrickError) -> CarrickError:
        """Return what a refresh failed for, told as a loss when it is the second half of one."""
        if not isinstance(error, ProviderRefused) or row.refresh_unanswered_at is None:
            return error
        assert row.credentials is not None
        values = open_credentials(self._vault, row.credential_set, row.credentials).values
        if not values.get("refresh_token"):
            return error
        since = row.refresh_unanswered_at.isoformat(timespec="seconds")
        return RefreshTokenLost(
            f"{error.message}. A refresh that was sent at {since} was cut off before its answer "
            "was stored, so the provider may have replaced the refresh token with one that never "
            "arrived. Connect it again.",
            payload=error.payload,
        )

    def _spread(self, now: datetime, moment: datetime) -> datetime:
        seconds = (moment - now).total_seconds()
        return now + timedelta(seconds=self._chance.spread(seconds, _SPREAD))


def _unanswered_since(
    based_on: RefreshRow, row: RefreshRow, error: CarrickError
) -> datetime | None:
    """Return since when a provider may have answered without being heard, after a failure."""
    if isinstance(error, RefreshTokenLost | ProviderRefused):
        return None  # it has said what it has to say about this refresh token
    if isinstance(error, _MAY_HAVE_ANSWERED) or error.sent:
        return row.refresh_unanswered_at
    return based_on.refresh_unanswered_at  # this one never left; an earlier one may have


def _error_type(error: CarrickError, auth_mode: str) -> str:
    if isinstance(error, RefreshTokenLost | ConnectionTestFailed):
        return error.code
    if isinstance(error, RefreshFaulty):
        return "refresh_token_internal_error"
    if isinstance(error, ProviderAnswerInvalid | ProviderAnswerTooLarge):
        return "refresh_token_parsing_error"
    if auth_mode == AuthMode.OAUTH2_CC:
        return "client_credentials_fetch_error"
    return "refresh_token_external_error"
