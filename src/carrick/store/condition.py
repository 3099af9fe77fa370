"""Whether the database does its work, said in the log when that changes and not at every try."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import structlog

from carrick.errors import StoreUnavailable
from carrick.model.clock import Clock
from carrick.store.failures import OF_THE_DATABASE, meaning_of

#: Seconds after which trouble that goes on, or comes and goes, is mentioned again.
_AGAIN_S = 300.0

_log = structlog.get_logger("carrick.store")


class Condition:
    """How one kind of work on the database is going: its reads, or its writes."""

    def __init__(self, work: str, clock: Clock) -> None:
        self._work = work
        self._clock = clock
        self._since = 0.0
        self._said_at = -math.inf
        self._is_known = False
        self._failures = 0
        self.has_failed = False

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Hear how the work inside goes; what it raises of the database says what it means."""
        try:
            yield
        except OF_THE_DATABASE as error:
            meaning = self.hear(error)
            if meaning is error:
                raise
            raise meaning from error
        self.worked()

    def hear(self, error: BaseException) -> BaseException:
        """Return what an error means to callers; the log says it when it is news."""
        meaning = meaning_of(error)
        if isinstance(meaning, StoreUnavailable):
            self.failed(meaning)
        return meaning

    def failed(self, error: StoreUnavailable) -> None:
        """Hear that it did not work."""
        now = self._clock.monotonic()
        if not self.has_failed:
            self._since = now
        self.has_failed = True
        self._failures += 1
        if now - self._said_at >= _AGAIN_S:
            self._said_at, self._is_known = now, True
            _log.error("store_lost", work=self._work, code=error.code, reason=error.message)

    def worked(self) -> None:
        """Hear that it did."""
        if not self.has_failed:
            return
        self.has_failed = False
        if self._is_known:
            seconds = round(self._clock.monotonic() - self._since, 1)
            _log.warning("store_back", work=self._work, after_s=seconds, failures=self._failures)
            self._is_known = False
        self._failures = 0
