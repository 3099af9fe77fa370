"""What an answer means for a notification: delivered, to be tried again, or failed for good."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from carrick.errors import CarrickError
from carrick.model.clock import Chance
from carrick.model.http import OutboundAnswer
from carrick.store.notifications import (
    DELIVERED,
    FAILED,
    WAITING,
    Attempted,
    StoredNotification,
)

#: How long a notification is tried.
GIVE_UP_AFTER = timedelta(hours=24)
_FIRST_WAIT_S = 3.0
_LONGEST_WAIT_S = 3600.0
_JITTER = 0.2
_RETRIED_STATUSES = frozenset({408, 429})
_LONGEST_REASON = 300


def judge_answer(
    notification: StoredNotification, answer: OutboundAnswer, now: datetime, chance: Chance
) -> Attempted:
    """Judge an answer: 2xx delivers, 408, 429 and 5xx are tried again, the rest is final."""
    said = {"status": answer.status}
    if answer.ok:
        return _over(notification, DELIVERED, said, now)
    if answer.status < 500 and answer.status not in _RETRIED_STATUSES:
        return _over(notification, FAILED, said, now)
    asked = _retry_after(answer.header("retry-after"), now)
    return _again(notification, said, now, chance, at_least=asked)


def judge_silence(
    notification: StoredNotification, error: Exception, now: datetime, chance: Chance
) -> Attempted:
    """Judge an attempt without an answer: what can pass by itself is tried again."""
    said = {"error": _reason(error)}
    if isinstance(error, CarrickError) and not error.retryable:
        return _over(notification, FAILED, said, now)
    return _again(notification, said, now, chance, at_least=timedelta())


def _over(
    notification: StoredNotification,
    state: str,
    said: dict[str, int] | dict[str, str],
    now: datetime,
) -> Attempted:
    return Attempted(state, notification.attempt + 1, notification.due_at, said, now)


def _again(
    notification: StoredNotification,
    said: dict[str, int] | dict[str, str],
    now: datetime,
    chance: Chance,
    *,
    at_least: timedelta,
) -> Attempted:
    last_chance = notification.created_at + GIVE_UP_AFTER
    if now >= last_chance:
        return _over(notification, FAILED, said, now)
    # The exponent is bounded: 2 ** 1000 is no float.
    seconds = min(_FIRST_WAIT_S * 2 ** min(notification.attempt, 20), _LONGEST_WAIT_S)
    wait = max(timedelta(seconds=chance.spread(seconds, _JITTER)), at_least)
    due_at = min(now + wait, last_chance)
    return Attempted(WAITING, notification.attempt + 1, due_at, said, None)


def _retry_after(value: str | None, now: datetime) -> timedelta:
    """Return how long the receiver asks to be left alone: seconds, or until a date."""
    if value is None:
        return timedelta()
    if re.fullmatch(r"\d{1,9}", value.strip()):
        return timedelta(seconds=int(value))
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return timedelta()
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(moment - now, timedelta())


def _reason(error: Exception) -> str:
    if isinstance(error, CarrickError):
        return f"{error.code}: {error.message}"[:_LONGEST_REASON]
    return type(error).__name__
