"""The rules of refreshing, without the doing: when it is due, who may ask, when it is given up."""

from __future__ import annotations

from datetime import datetime, timedelta

from carrick.errors import CredentialsBackingOff, CredentialsExhausted, UnknownConnection
from carrick.model.auth import Credentials
from carrick.model.connection import ConnectionState, ErrorCause
from carrick.model.provider import Provider
from carrick.store.refresh import RefreshRow

#: How long before its end a token is refreshed.
BUFFER = timedelta(minutes=15)
#: How long a failed refresh keeps others from trying.
BACK_OFF = timedelta(seconds=30)
#: Days with a failed refresh after which the connection is given up.
MOST_ATTEMPTS = 4


def is_due(credentials: Credentials, provider: Provider, now: datetime) -> bool:
    """Whether credentials end so soon that they are to be refreshed first."""
    if credentials.expires_at is None:
        return False
    stated = provider.definition.get("token_expiration_buffer")
    is_number = isinstance(stated, int | float) and not isinstance(stated, bool)
    buffer = timedelta(seconds=stated) if is_number and stated is not None else BUFFER
    return credentials.expires_at - now < buffer


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
    if left > 0:
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
