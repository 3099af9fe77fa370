"""Whether an answer is worth another try, and after how long.

A provider says so in its own way (`proxy.retry`), by `Retry-After`, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from carrick.model.clock import Chance
from carrick.providers.definition import texts
from carrick.providers.interpolate import lookup

#: The longest wait between two tries; a provider that asks for more gets no further try.
MAX_WAIT_S = 600.0
_FIRST_WAIT_S = 3.0
_JITTER = 0.2
_STATUSES = re.compile(r"(\d)xx|(\d{3})(?:-(\d{3}))?")


def is_retryable(
    status: int, headers: Mapping[str, str], rule: Mapping[str, Any], also: tuple[int, ...]
) -> bool:
    """Whether an answer may turn out better when asked again.

    Args:
        status: Of the answer.
        headers: Of the answer, names in lower case.
        rule: The provider's `proxy.retry`; its `error_code` replaces 429 and 5xx.
        also: Statuses the caller adds.
    """
    if status in also:
        return True
    if status < 400:
        return False
    remaining = rule.get("remaining")
    if remaining and headers.get(str(remaining).lower(), "").strip() == "0":
        return True
    listed = texts(rule.get("error_code"))
    if listed:
        return any(_covers(pattern, status) for pattern in listed)
    return status == 429 or status >= 500


def wait_of_answer(
    headers: Mapping[str, str], rule: Mapping[str, Any], body: Any, now: datetime
) -> float | None:
    """Return the seconds a provider asks to wait; `None` when it does not say."""
    found = [*_from_headers(headers, rule, now), *_from_body(rule.get("in_body"), body, now)]
    return max(0.0, *found) if found else None


def wait_of_our_own(tried: int, chance: Chance) -> float:
    """Return the seconds to wait after so many retries: 3, 6, 12 … with jitter."""
    wait = _FIRST_WAIT_S * 2.0 ** min(tried, 16)
    return min(chance.spread(min(wait, MAX_WAIT_S), _JITTER), MAX_WAIT_S)


def _covers(pattern: str, status: int) -> bool:
    match = _STATUSES.fullmatch(pattern.strip().lower())
    if match is None:
        return False
    hundred, first, last = match.groups()
    if hundred:
        return status // 100 == int(hundred)
    return int(first) <= status <= int(last or first)


def _from_headers(
    headers: Mapping[str, str], rule: Mapping[str, Any], now: datetime
) -> Iterator[float]:
    for name in texts(rule.get("at")):
        yield from _until(headers.get(name.lower()), now)
    for name in (*texts(rule.get("after")), "retry-after"):
        value = headers.get(name.lower())
        seconds = _number(value)
        if seconds is not None:
            yield seconds
        else:
            yield from _until(value, now)  # Retry-After may be a date (RFC 9110 §10.2.3)


def _from_body(rule: Any, body: Any, now: datetime) -> Iterator[float]:
    if not isinstance(rule, Mapping) or not isinstance(body, Mapping):
        return
    value = lookup(str(rule.get("path", "")), body)
    if value is None or isinstance(value, Mapping | list):
        return
    text = str(value)[:1000]
    match = re.search(str(rule.get("value") or "(.+)"), text)
    if match is None:
        return
    found = match.group(1) if match.re.groups else match.group()
    if rule.get("strategy") == "at":
        yield from _until(found, now)
    else:
        seconds = _number(found)
        if seconds is not None:
            yield seconds


def _number(value: str | None) -> float | None:
    text = (value or "").strip()
    return float(text) if re.fullmatch(r"\d{1,15}(\.\d+)?", text) else None


def _until(value: str | None, now: datetime) -> Iterator[float]:
    """Yield the seconds until a moment: epoch seconds or milliseconds, an HTTP or ISO date."""
    if not value:
        return
    epoch = _number(value)
    if epoch is not None:
        yield (epoch / 1000 if epoch > 1e11 else epoch) - now.timestamp()
        return
    moment = _date(value.strip())
    if moment is not None:
        yield (moment - now).total_seconds()


def _date(text: str) -> datetime | None:
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = parse(text)
        except ValueError:
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None
