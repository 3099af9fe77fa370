"""Calls to a provider with a connection's credentials: any method, any path, streamed back.

This is the hottest path there is, so it is a plain ASGI app without FastAPI around it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from http import HTTPStatus

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from carrick.api.access import services_of
from carrick.api.auth import Asker, ByKey
from carrick.api.errors import error_answer, invalid
from carrick.api.issues import issues_of
from carrick.api.schemas.proxy import ProxyHeaders, Unreached
from carrick.api.services import Services
from carrick.errors import (
    CarrickError,
    CredentialsBackingOff,
    InvalidCredentials,
    InvalidHeaders,
    ProviderUnreachable,
    UnknownIntegration,
)
from carrick.model.auth import Credentials
from carrick.model.connection import Connection
from carrick.operations import Opening
from carrick.proxy import ProxyCall, Streamed, Target

_FORWARDED = "nango-proxy-"
#: These describe the body that is passed on; every other header must carry the prefix.
_OF_THE_BODY = ("content-type", "content-encoding")
#: A provider's answer comes from our own origin here: it may not set its cookies or policies.
_KEPT_BACK = frozenset(
    {
        "clear-site-data",
        "content-security-policy",
        "content-security-policy-report-only",
        "date",
        "referrer-policy",
        "server",
        "service-worker-allowed",
        "set-cookie",
        "x-content-type-options",
        "x-frame-options",
    }
)
#: Tells a provider's answer from one of ours, which could look the same.
_ANSWERED_BY = {"Carrick-Answered-By": "provider"}
#: An answer up to this size is passed on whole: watching whether the client is still there costs
#: more than reading it.
_SHORT_BYTES = 64 * 1024
_demand_key = ByKey("environment:proxy")


class ConnectionNotFetched(CarrickError):
    """Failed to get connection."""

    code = "server_error"
    status = 400


class CredentialsRefused(CarrickError):
    """The connection's credentials could not be refreshed."""

    code = "server_error"
    status = 400


class CredentialsUnusable(CredentialsRefused):
    """The connection's credentials cannot be used until it is reconnected."""

    status = 424


class RefreshBackingOff(CarrickError):
    """A recent refresh attempt failed. Backing off before retrying."""

    code = "connection_refresh_backoff"
    status = 424


class ProxyEndpoint:
    """Answers everything under `/proxy/`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        scope.setdefault("route", route)  # for the access log
        request = Request(scope, receive)
        rooms = services_of(request)
        asker = await _demand_key(request)
        headers = _read_headers(request)
        connection, target = await _target(rooms, asker, headers)
        call = await _call(request, headers)
        started_at = rooms.clock.monotonic()
        async with AsyncExitStack() as opened:
            try:
                answer = await opened.enter_async_context(rooms.proxy.stream(call, target))
            except CarrickError as error:
                _record(rooms, call, connection, started_at, error=error)
                await _refused(error, request.method)(scope, receive, send)
                return
            _record(rooms, call, connection, started_at, status=answer.status)
            response = await _passed_on(answer)
            await response(scope, receive, send)


def _read_headers(request: Request) -> ProxyHeaders:
    try:
        return ProxyHeaders.model_validate(dict(request.headers))
    except ValidationError as error:
        invalid(InvalidHeaders, issues_of(error.errors(), ProxyHeaders))


async def _target(
    rooms: Services, asker: Asker, headers: ProxyHeaders
) -> tuple[Connection, Target]:
    environment_id = asker.environment.row_id
    integration = await rooms.integrations.get(environment_id, headers.integration_id)
    if integration is None:
        raise UnknownIntegration(f'There is no integration "{headers.integration_id}".')
    connection = await rooms.connections.find(
        environment_id, headers.integration_id, headers.connection_id
    )
    if connection is None:
        raise ConnectionNotFetched(
            f'Failed to get connection: there is no "{headers.connection_id}" of integration '
            f'"{headers.integration_id}".'
        )
    rooms.connections.touch(connection.row_id)

    async def credentials() -> Credentials:
        return await rooms.credentials.get(connection.row_id)

    target = Target(
        provider=rooms.catalogue.get(integration.provider),
        integration=integration,
        connection_config=connection.connection_config,
        credentials=credentials,
        metadata=connection.metadata,
    )
    return connection, target


async def _call(request: Request, headers: ProxyHeaders) -> ProxyCall:
    body = await request.body()
    forwarded = {
        name[len(_FORWARDED) :]: value
        for name, value in request.headers.items()
        if name.startswith(_FORWARDED) and len(name) > len(_FORWARDED)
    }
    for name in _OF_THE_BODY if body else ():
        if name in request.headers and name not in forwarded:
            forwarded[name] = request.headers[name]
    return ProxyCall(
        method=request.method,
        endpoint=_endpoint(request.scope),
        headers=forwarded,
        body=body or None,
        retries=headers.retries,
        retry_on=headers.retry_statuses,
        base_url_override=headers.base_url_override or None,
    )


def _endpoint(scope: Scope) -> str:
    """Return what follows `/proxy` exactly as it was sent, query string included."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    path = raw.decode("latin-1").partition("?")[0]
    query = scope["query_string"].decode("latin-1")
    return path[len("/proxy") :] + (f"?{query}" if query else "")


async def _passed_on(answer: Streamed) -> Response:
    headers = {
        name: value for name, value in answer.headers.items() if name.lower() not in _KEPT_BACK
    }
    headers |= _ANSWERED_BY
    length = answer.headers.get("content-length", "")
    if length.isdigit() and int(length) <= _SHORT_BYTES:
        body = b"".join([chunk async for chunk in answer.chunks()])
        return Response(body, status_code=answer.status, headers=headers)
    return StreamingResponse(answer.chunks(), status_code=answer.status, headers=headers)


def _refused(error: CarrickError, method: str) -> Response:
    """Return what a call that got no answer is answered with."""
    if isinstance(error, CredentialsBackingOff):
        again = error.retry_after_s
        return error_answer(RefreshBackingOff(error.message, retry_after_s=again))
    if isinstance(error, InvalidCredentials):
        kind = CredentialsUnusable if error.status == 424 else CredentialsRefused
        return error_answer(kind(error.message, payload=error.payload))
    if not isinstance(error, ProviderUnreachable):
        return error_answer(error)
    told: Unreached = {
        "message": error.message,
        "code": error.code,
        "status": error.status,
        "method": method,
    }
    envelope = {"error": {"code": error.code, "message": error.message}}
    # One status for everything nobody answered: a provider's own 502 or 504 is told apart by it.
    return JSONResponse({**told, **envelope}, HTTPStatus.INTERNAL_SERVER_ERROR)


def _record(
    rooms: Services,
    call: ProxyCall,
    connection: Connection,
    started_at: float,
    *,
    status: int | None = None,
    error: CarrickError | None = None,
) -> None:
    told: Mapping[str, object] | None = None
    if error is not None:
        told = {"code": error.code, "message": error.message}
    path = call.endpoint.partition("?")[0]  # a query string can hold what nobody should read
    rooms.operations.record(
        Opening(
            environment_id=connection.environment_id,
            type="proxy",
            action="call",
            integration_id=connection.integration_id,
            provider=connection.provider,
            connection_row_id=connection.row_id,
            connection_id=connection.connection_id,
            message=f"{call.method} {path}",
            meta={"method": call.method, "endpoint": path, "status": status},
        ),
        state="success" if status is not None and status < 400 else "failed",
        error=told,
        duration_s=rooms.clock.monotonic() - started_at,
    )


route = Route("/proxy/{path:path}", ProxyEndpoint(), name="proxy")
route.path_regex = re.compile(route.path_regex.pattern, re.IGNORECASE)
