"""The one error mapper: whatever goes wrong leaves as `{"error": {"code", "message", ...}}`.

What an unknown exception says stays in the log; the caller gets a number to quote.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NoReturn

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from carrick.api.issues import Issue, issues_of, summary
from carrick.errors import (
    BodyTooLarge,
    CarrickError,
    InvalidBody,
    InvalidHeaders,
    InvalidJson,
    InvalidPath,
    InvalidQuery,
    MethodNotAllowed,
    NotFound,
    TooManyRequests,
    Unauthenticated,
)
from carrick.model.clock import Chance

_log = structlog.get_logger("carrick.api")

_RETRY_AFTER_S = 1
#: Which part of a request is complained about first, and as what.
_PARTS: tuple[tuple[str, type[CarrickError]], ...] = (
    ("body", InvalidBody),
    ("query", InvalidQuery),
    ("path", InvalidPath),
    ("header", InvalidHeaders),
)


def install(app: FastAPI) -> None:
    """Make an app answer every expected error in the envelope."""
    app.add_exception_handler(CarrickError, _on_carrick_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)


def error_answer(error: CarrickError) -> Response:
    """Return the answer an error of ours is."""
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    elif error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(_RETRY_AFTER_S)
    return JSONResponse({"error": _content(error)}, status_code=error.status, headers=headers)


def unexpected_answer(error: Exception, chance: Chance, where: str) -> Response:
    """Log an exception nobody expected and return an answer that only refers to it."""
    reference = chance.uuid4()
    _log.error("request_failed", reference=reference, route=where, exc_info=error)
    content = {
        "code": "generic_error_support",
        "message": f"Something went wrong on the server. The log has the details: {reference}",
        "payload": reference,
    }
    return JSONResponse({"error": content}, status_code=500)


def invalid(kind: type[CarrickError], issues: list[Issue], message: str | None = None) -> NoReturn:
    """Refuse an input with its single faults.

    Raises:
        CarrickError: Of the kind that was asked for.
    """
    raise kind(message or summary(issues), issues=issues)


def _content(error: CarrickError) -> dict[str, Any]:
    content: dict[str, Any] = {"code": error.code, "message": _message(error)}
    if isinstance(error, TooManyRequests):
        return {**content, **(error.payload or {})}
    if error.issues:
        content["errors"] = [
            {**each, "path": [str(part) for part in each.get("path", ())]} for each in error.issues
        ]
    if error.payload is not None:
        content["payload"] = error.payload
    elif isinstance(error, Unauthenticated):
        content["payload"] = {}  # both clients were written against an envelope that has it
    return content


def _message(error: CarrickError) -> str:
    said = error.message
    if error.issues and said == (type(error).__doc__ or "").strip():
        said = summary(error.issues) or said
    return said


async def _on_carrick_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, CarrickError)
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not error.retryable:
        _log.error("request_failed", code=error.code, message=error.message, exc_info=error)
    return error_answer(error)


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults: list[Mapping[str, Any]] = list(error.errors())
    for part, kind in _PARTS:
        found = [fault for fault in faults if fault["loc"][0] == part]
        if found and found[0]["type"] == "json_invalid":
            return error_answer(InvalidJson(_json_fault(found[0])))
        if found:
            issues = issues_of(found, _model(request, part), skip=1)
            return error_answer(kind(summary(issues), issues=issues))
    return error_answer(InvalidBody())


def _json_fault(fault: Mapping[str, Any]) -> str:
    position = fault["loc"][-1]
    return f"The request body is not valid JSON: {fault['ctx']['error']} at character {position}."


def _model(request: Request, part: str) -> Any:
    """Return the type the route declares for its body."""
    body = getattr(request.scope.get("route"), "body_field", None)
    return body.field_info.annotation if part == "body" and body is not None else None


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = error_answer(_translated(request, error))
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


def _translated(request: Request, error: HTTPException) -> CarrickError:
    if error.status_code == HTTPStatus.NOT_FOUND:
        return NotFound(f"There is no {request.method} {request.url.path} here.")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return MethodNotAllowed(f"{request.url.path} does not answer {request.method}.")
    if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return BodyTooLarge(error.detail or None)
    # What is left is a body that could not be read: cut off, or not UTF-8.
    return InvalidJson()
