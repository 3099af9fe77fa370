"""When a token stops working, in the ways providers say it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

#: Numbers from here on are milliseconds: as seconds they would lie beyond the year 5000.
_MILLISECONDS_FROM = 100_000_000_000
_LAST = datetime(9000, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_DAYS_HOURS_MINUTES = re.compile(r"(\d{1,5}):(\d{1,2}):(\d{1,2})")


def expiry_of(
    answer: Mapping[str, Any], now: datetime, *, milliseconds: bool = False
) -> datetime | None:
    """Return when the token of an answer expires; `None` when it does not say.

    Args:
        answer: The provider's token answer: `expires_at`, or `expires_in`.
        now: When it was given.
        milliseconds: Whether `expires_in` counts milliseconds instead of seconds.
    """
    stated = answer.get("expires_at")
    if isinstance(stated, str) and (match := _DAYS_HOURS_MINUTES.fullmatch(stated.strip())):
        days, hours, minutes = (int(part) for part in match.groups())
        return _after(now, (days * 24 + hours) * 3600 + minutes * 60)
    moment = read_moment(stated)
    if moment is not None:
        return moment
    lifetime = _number(answer.get("expires_in"))
    # Providers say 0 for "does not expire".
    if lifetime is None or lifetime <= 0:
        return None
    return _after(now, lifetime / 1000 if milliseconds else lifetime)


def read_moment(value: Any) -> datetime | None:
    """Read a moment: ISO text, or seconds or milliseconds since 1970 as a number or as digits."""
    number = _number(value)
    if number is not None:
        seconds = number / 1000 if number >= _MILLISECONDS_FROM else number
        return _after(datetime(1970, 1, 1, tzinfo=UTC), seconds) if seconds > 0 else None
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _after(start: datetime, seconds: float) -> datetime:
    try:
        return min(start + timedelta(seconds=seconds), _LAST)
    except OverflowError:
        return _LAST
