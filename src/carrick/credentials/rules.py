"""The rules of refreshing, without the doing: when it is due, who may ask, when it is given up."""

from __future__ import annotations

from datetime import datetime, timedelta

from carrick.errors import CredentialsBackingOff, CredentialsExhausted, UnknownConnection
from carrick.model.auth import AuthMode, Credentials
from carrick.model.connection import ConnectionState, ErrorCause
from carrick.model.provider import Provider
from carrick.store.refresh import RefreshRow

#: How long before its end a token is refreshed.
BUFFER = timedelta(minutes=15)
#: What cannot be refreshed, and is checked from time to time when nobody uses it.
CHECKED_MODES = frozenset({AuthMode.API_KEY, AuthMode.BASIC, AuthMode.TBA})
#: How long a failed refresh keeps others from trying.
BACK_OFF = timedelta(seconds=30)
#: What is dated further ahead than this was not written by the clock of now.
AHEAD = timedelta(minutes=1)
#: How often nobody's credentials are looked after at most, but for answers that are missing.
UPKEEP_EVERY = timedelta(minutes=10)
#: How long what a provider refused is left alone when nobody asks.
DAY = timedelta(days=1)
#: Days with a failed refresh after which the connection is given up.
MOST_ATTEMPTS = 4


def is_due(
    credentials: Credentials, provider: Provider, now: datetime, ahead: timedelta = timedelta()
) -> bool:
    """Whether credentials end so soon that they are to be refreshed first."""
    if credentials.expires_at is None:
        return False
    return credentials.expires_at - now < _buffer(provider) + ahead


def is_from_ahead(row: RefreshRow, now: datetime) -> bool:
    """Whether credentials were dated by a clock that has been set back: their end is wrong too."""
    fresh_since = row.last_refresh_success_at
    return fresh_since is not None and fresh_since > now + AHEAD


def _buffer(provider: Provider) -> timedelta:
    stated = provider.definition.get("token_expiration_buffer")
    is_number = isinstance(stated, int | float) and not isinstance(stated, bool)
    return timedelta(seconds=stated) if is_number and stated is not None else BUFFER


def still_work(credentials: Credentials, now: datetime) -> bool:
    """Whether credentials are not known to have expired."""
    return credentials.expires_at is None or credentials.expires_at > now


def demand_usable(row: RefreshRow, now: datetime, *, force: bool, for_cleanup: bool) -> None:
    """Refuse to hand out credentials of a connection that is deleted, given up or backing off.

    Cleanup may use whatever is left; forcing passes over earlier failures, never over a refusal.

    Raises:
        UnknownConnection: It is gone, or going.
        CredentialsExhausted: Only a reconnect helps.
        CredentialsBackingOff: A refresh failed a moment ago.
    """
    if row.state is ConnectionState.GONE or row.credentials is None:
        raise UnknownConnection
    if for_cleanup:
        return
    if row.state is ConnectionState.DELETING:
        raise UnknownConnection
    if row.error_cause is ErrorCause.REFUSED:
        raise CredentialsExhausted(
            "The last reconnect of this connection was refused. Connect it again."
        )
    if force:
        return
    if row.state is ConnectionState.AUTH_ERROR or row.refresh_attempts >= MOST_ATTEMPTS:
        raise CredentialsExhausted
    demand_rested(row, now, force=force)


def demand_rested(row: RefreshRow, now: datetime, *, force: bool) -> None:
    """Refuse to ask a provider again that said no, or nothing, a moment ago.

    Raises:
        CredentialsBackingOff: A refresh failed less than 30 s ago.
    """
    failed_at = row.last_refresh_failure_at
    if force or failed_at is None:
        return
    left = (failed_at + BACK_OFF - now).total_seconds()
    # A failure that lies ahead was written before the clock was set back: it says nothing of now.
    if 0 < left <= BACK_OFF.total_seconds() + 1:
        raise CredentialsBackingOff(retry_after_s=left)


def attempts_after_failure(row: RefreshRow, now: datetime) -> int:
    """Return the count of days with a failed refresh, today's included."""
    failed_at = row.last_refresh_failure_at
    is_counted = failed_at is not None and failed_at.date() == now.date()
    if is_counted and row.refresh_attempts > 0:
        return row.refresh_attempts
    return min(row.refresh_attempts + 1, MOST_ATTEMPTS)


def is_healthy_otherwise(row: RefreshRow) -> bool:
    """Whether refreshing is all that ails a connection, so that success or failure matters."""
    is_usable = row.state in (ConnectionState.ACTIVE, ConnectionState.AUTH_ERROR)
    return is_usable and row.error_cause is not ErrorCause.REFUSED


def next_upkeep(expires_at: datetime | None, now: datetime, idle: timedelta) -> datetime:
    """Return when fresh credentials are looked after: a while before they are due.

    Short-lived ones are left alone for half of their life, so that their upkeep is no mill.
    """
    if expires_at is None or expires_at <= now:
        return now + idle
    early = expires_at - BUFFER - UPKEEP_EVERY
    half = now + (expires_at - now) / 2
    return min(max(early, half), now + idle)


def upkeep_after_failure(
    row: RefreshRow, unanswered_at: datetime | None, now: datetime, *, transient: bool
) -> datetime:
    """Return when to try again by ourselves: sooner while an answer may be lost at the provider.

    Providers that replace refresh tokens often take the old one for some time more.
    """
    if unanswered_at is not None:
        return now + min(max(BACK_OFF, now - unanswered_at), UPKEEP_EVERY)
    return now + (UPKEEP_EVERY if transient else DAY)


def wants_upkeep(row: RefreshRow, now: datetime, idle: timedelta) -> bool:
    """Whether credentials are refreshed or checked although nobody asks for them.

    Those that were used in their present life get successors before they end, so that nobody waits
    for a provider. Those that nobody uses are kept alive at a slower pace. An answer that never
    arrived is asked for again.
    """
    if row.refresh_unanswered_at is not None:
        return True
    fresh_since = row.last_refresh_success_at or row.created_at
    used_at = row.last_fetched_at or row.created_at
    was_used = used_at > fresh_since and row.credentials_expires_at is not None
    if was_used and now - used_at < idle:
        return True
    return now - used_at >= idle and now - fresh_since >= idle


def upkeep_of(row: RefreshRow, now: datetime, idle: timedelta) -> datetime:
    """Return when to look again at credentials that were left as they are."""
    fresh_since = row.last_refresh_success_at or row.created_at
    used_at = row.last_fetched_at or row.created_at
    if used_at > fresh_since and now - used_at < idle:
        return next_upkeep(row.credentials_expires_at, now, idle)
    later = max(used_at, fresh_since) + idle
    return later if later > now else now + idle
