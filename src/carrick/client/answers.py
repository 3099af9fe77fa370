"""What a Carrick server's answer says, and what it means that none came."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from carrick.client.errors import AnswerLost, ApiError, ServerUnreachable

#: Errors that come before a server has the request.
_NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, ValueError)


def read(status: int, content: bytes) -> Any:
    """Return what a server answered.

    Raises:
        ApiError: It refused the request, or is no Carrick server.
    """
    try:
        answer = json.loads(content) if content else {}
    except ValueError as error:
        raise ApiError(
            f"What answered (status {status}) is not a Carrick server: it did not send JSON.",
            answer_status=status,
        ) from error
    if 200 <= status < 300:
        return answer
    fault = answer.get("error") if isinstance(answer, dict) else None
    fault = fault if isinstance(fault, dict) else {}
    code = str(fault.get("code") or "unknown_error")
    raise ApiError(
        str(fault.get("message") or f"The server answered {status} ({code})."),
        answer_code=code,
        answer_status=status,
        payload=fault.get("payload") or None,
        issues=fault.get("errors"),
    )


def unanswered(server_url: str, method: str, error: Exception) -> ServerUnreachable:
    """Return what is raised for a request without an answer.

    One that would change something and may have arrived is told from one that nobody took.
    """
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return ServerUnreachable(
            f"{server_url} is no address of a Carrick server; one looks like http://127.0.0.1:3003."
        )
    if isinstance(error, _NEVER_SENT) or method == "GET":
        return ServerUnreachable(f"No Carrick server answers at {server_url} ({_reason(error)}).")
    return AnswerLost(
        f"The Carrick server at {server_url} did not answer ({_reason(error)}). What it was asked "
        "for may have been done."
    )


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    if isinstance(error, TimeoutError):
        return "it took too long"
    return str(error) or type(error).__name__
