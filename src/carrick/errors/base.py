"""What every error of Carrick has: a code, a status, and whether trying again can help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class CarrickError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "server_error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    #: Whether a request may have reached a provider before this was raised.
    sent: bool = False

    def __init__(
        self,
        message: str | None = None,
        *,
        payload: Mapping[str, Any] | None = None,
        issues: Sequence[Mapping[str, Any]] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """Build the error.

        Args:
            message: What is wrong and what to do about it; the class's own sentence by default.
            payload: Machine-readable detail shown on the wire under `payload`.
            issues: Single faults of an input, shown under `errors`: `code`, `message`, `path`.
            retry_after_s: Seconds after which trying again can help.
        """
        self.message = message if message is not None else (type(self).__doc__ or "").strip()
        self.payload = payload
        self.issues = issues
        self.retry_after_s = retry_after_s
        super().__init__(self.message)


class BadRequest(CarrickError):
    """This cannot be done as it was asked."""

    status = 400


class NotNow(CarrickError):
    """This cannot be done right now. Try again later."""

    status = 503
    retryable = True
