"""What can go wrong between a client and its server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carrick.errors import CarrickError


class ServerUnreachable(CarrickError):
    """The Carrick server does not answer."""

    code = "server_unreachable"
    status = 503
    retryable = True


class AnswerLost(ServerUnreachable):
    """The Carrick server was asked to change something, and its answer never came."""

    code = "answer_lost"
    retryable = False


class ApiError(CarrickError):
    """The Carrick server refused the request."""

    code = "api_error"

    def __init__(
        self,
        message: str | None = None,
        *,
        answer_code: str = "unknown_error",
        answer_status: int = 500,
        payload: Mapping[str, Any] | None = None,
        issues: list[dict[str, Any]] | None = None,
    ) -> None:
        """Carry the server's own code (`answer_code`) and HTTP status (`answer_status`)."""
        super().__init__(message, payload=payload, issues=issues)
        self.answer_code = answer_code
        self.answer_status = answer_status
