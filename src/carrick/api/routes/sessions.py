"""Connect sessions: half an hour's permission to connect or reconnect."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated
from urllib.parse import urlencode, urlsplit

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from carrick.api.access import Rooms
from carrick.api.auth import Asker, ByKey, BySession, session_of_token
from carrick.api.errors import invalid
from carrick.api.issues import issue
from carrick.api.routing import NoQuery, QueryOf, router, wrapped
from carrick.api.schemas.people import end_user_of
from carrick.api.schemas.sessions import (
    ReconnectCreation,
    SessionAnswer,
    SessionCreation,
    SessionTokenAnswer,
    Telemetry,
    defaults_of,
    overrides_of,
    session_object,
)
from carrick.api.times import with_z
from carrick.api.urls import demand_url
from carrick.environments import NewSession, session_tags
from carrick.errors import InvalidBody, MissingAuthHeader
from carrick.model.clock import Clock
from carrick.operations import Opening

routes = router("connect sessions")

_WRITE = "environment:connect_sessions:write"
#: How far a browser's clock may be off.
_TELEMETRY_WINDOW = timedelta(hours=2)


@routes.post("/connect/sessions", status_code=201, response_model=SessionTokenAnswer)
async def create_session(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey(_WRITE))],
    query: Annotated[NoQuery, Depends(QueryOf(NoQuery))],
    body: SessionCreation,
) -> Response:
    """Permit an end user to connect."""
    if body.end_user is None and (body.tags is None or "end_user" in body.model_fields_set):
        message = "Invalid input: expected object, received undefined"
        invalid(InvalidBody, [issue(message, ["end_user"], "invalid_type")])
    new = await _new_session(rooms, body, allowed=body.allowed_integrations, row_id=None)
    return await _created(rooms, asker, new)


@routes.post("/connect/sessions/reconnect", status_code=201, response_model=SessionTokenAnswer)
async def create_reconnect_session(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey(_WRITE))],
    query: Annotated[NoQuery, Depends(QueryOf(NoQuery))],
    body: ReconnectCreation,
) -> Response:
    """Permit an end user to reconnect one connection."""
    found = await rooms.connections.find(
        asker.environment.row_id, body.integration_id, body.connection_id
    )
    if found is None:
        raise InvalidBody("There is no connection of that connection_id and integration_id")
    new = await _new_session(rooms, body, allowed=[body.integration_id], row_id=found.row_id)
    return await _created(rooms, asker, new)


@routes.get("/connect/session", response_model=SessionAnswer)
async def get_session(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(BySession())],
    query: Annotated[NoQuery, Depends(QueryOf(NoQuery))],
) -> Response:
    """Return what the connect page needs to know of its session."""
    assert asker.session is not None
    # The client drops the path of its host before it appends this one.
    path = urlsplit(rooms.settings.base_url).path
    return wrapped(session_object(asker.session, asker.environment.settings, f"{path}/"))


@routes.delete("/connect/session", status_code=204, response_model=None)
async def delete_session(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(BySession())],
    query: Annotated[NoQuery, Depends(QueryOf(NoQuery))],
) -> Response:
    """End a session before its time."""
    assert asker.session is not None
    await rooms.sessions.delete(asker.session)
    return Response(status_code=204)


@routes.post("/connect/telemetry", status_code=204, response_model=None)
async def report_telemetry(request: Request, rooms: Rooms, body: Telemetry) -> Response:
    """Take note of what a person did on the connect page."""
    if not body.token:
        raise MissingAuthHeader
    asker = await session_of_token(request, body.token)
    if not _is_recent(rooms.clock, body.timestamp):
        invalid(InvalidBody, [issue("Must be a time within two hours of now", ["timestamp"])])
    if asker.session is not None and asker.session.operation_id is not None:
        rooms.operations.note(
            asker.session.operation_id,
            "info",
            f"Connect page: {body.event}",
            dimensions=body.dimensions or {},
        )
    return Response(status_code=204)


async def _new_session(
    rooms: Rooms,
    body: SessionCreation | ReconnectCreation,
    *,
    allowed: list[str] | None,
    row_id: int | None,
) -> NewSession:
    try:
        defaults, hoisted = defaults_of(body.integrations_config_defaults)
    except ValueError as error:
        invalid(InvalidBody, [issue(str(error), ["integrations_config_defaults"])])
    url = body.webhook_url_override or None
    if hoisted and url and hoisted != url:
        message = "Differs from connection_config.webhook_url in integrations_config_defaults"
        invalid(InvalidBody, [issue(message, ["webhook_url_override"])])
    url = url or hoisted
    await demand_url(rooms, url, ["webhook_url_override"])
    end_user = end_user_of(body.end_user, body.organization)
    return NewSession(
        end_user=end_user,
        allowed_integrations=allowed,
        integrations_config_defaults=defaults,
        overrides=overrides_of(body.overrides),
        tags=session_tags(end_user, body.tags or {}),
        webhook_url_override=url,
        reconnect_row_id=row_id,
    )


async def _created(rooms: Rooms, asker: Asker, new: NewSession) -> Response:
    """Make the session, and the operation that the connect page's notes are added to."""
    operation_id = rooms.operations.new_id()
    session, token = await rooms.sessions.create(
        asker.environment.row_id, replace(new, operation_id=operation_id)
    )
    allowed = session.allowed_integrations or ()
    opening = Opening(
        environment_id=asker.environment.row_id,
        type="auth",
        action="connect_session",
        integration_id=allowed[0] if len(allowed) == 1 else None,
        message="A connect session was opened",
        meta={"end_user_id": new.end_user.id} if new.end_user else {},
        id=operation_id,
    )
    rooms.operations.record(opening, state="success")
    page = (rooms.settings.connect_url or f"{rooms.settings.base_url}/connect").rstrip("/")
    return wrapped(
        {
            "token": token,
            "connect_link": f"{page}/?{urlencode({'session_token': token})}",
            "expires_at": with_z(session.expires_at),
        },
        201,
    )


def _is_recent(clock: Clock, timestamp: str | float) -> bool:
    try:
        if isinstance(timestamp, str):
            moment = datetime.fromisoformat(timestamp)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        else:
            moment = datetime.fromtimestamp(timestamp / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return False
    return abs(moment - clock.now()) <= _TELEMETRY_WINDOW
