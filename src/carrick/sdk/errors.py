"""The errors of the language that event functions are written in.

Authors raise `ActionError` and may catch `ProviderError`. Signals that end a run whatever the
author catches derive from `BaseException`, so that `except Exception` does not swallow them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from carrick.sdk.response import Response

#: Characters of a provider's answer that its error message quotes.
_QUOTED = 200
_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?")


class CarrickUsageError(Exception):
    """The SDK was used in a way that cannot work; the message says what to do instead."""


class ActionError(Exception):
    """The author's own, final no.

    Its message reaches the person who is connecting, word for word: the payload itself when it is
    text, else its `message` or `error`.
    """

    def __init__(self, payload: Any = None) -> None:
        self.payload = payload
        super().__init__(payload)

    @property
    def message(self) -> str | None:
        """The sentence for the person who is connecting."""
        payload = self.payload
        if isinstance(payload, Mapping):
            payload = payload.get("message") or payload.get("error")
        return payload if isinstance(payload, str) and payload else None

    def __str__(self) -> str:
        return self.message or ("" if self.payload is None else str(self.payload))


class ProviderError(Exception):
    """The provider answered with something other than 2xx, or not at all.

    `response` is `None` when there was no answer.
    """

    def __init__(self, response: Response | None = None, message: str | None = None) -> None:
        self.response = response
        self.message = message if message is not None else _describe(response)
        super().__init__(self.message)

    @property
    def status(self) -> int | None:
        """The status of the answer; `None` when there was none."""
        return self.response.status if self.response is not None else None

    @property
    def retry_after(self) -> float | None:
        """Seconds that the provider asked to wait; `None` when it did not say."""
        if self.response is None:
            return None
        value = self.response.headers.get("retry-after", "").strip()
        if _SECONDS.fullmatch(value):
            return float(value)
        until, asked_at = _http_date(value), _http_date(self.response.headers.get("date", ""))
        if until is None:
            return None
        return max(0.0, (until - (asked_at or datetime.now(UTC))).total_seconds())


class LockUnavailable(Exception):
    """Another run holds the lock and did not give it back in time."""


class HostError(Exception):
    """The host could not do what the context asked of it."""

    def __init__(self, code: str, message: str, payload: Any = None) -> None:
        self.code = code
        self.message = message
        self.payload = payload
        super().__init__(message)


class ControlSignal(BaseException):
    """Ends the run; not for authors to catch."""


class IncompleteDryRun(ControlSignal):
    """The function needs to compute with a value that only a real write would have given."""


class WriteOutcomeUnknown(ControlSignal):
    """An earlier attempt sent this write, and nobody knows whether it arrived."""

    def __init__(self, method: str, endpoint: str) -> None:
        self.method = method
        self.endpoint = endpoint
        super().__init__(f"{method} {endpoint}: the outcome of an earlier send is unknown")


def _describe(response: Response | None) -> str:
    if response is None:
        return "The provider could not be reached."
    where = f"{response.method} {response.endpoint}".strip() or "The provider"
    text = " ".join(response.text[: 4 * _QUOTED].split())
    shown = text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…"
    return f"{where} answered {response.status}" + (f": {shown}" if shown else "")


def _http_date(value: str) -> datetime | None:
    from email.utils import parsedate_to_datetime  # late: it loads sockets, and is rarely needed

    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
