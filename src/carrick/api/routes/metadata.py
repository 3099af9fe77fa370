"""Metadata of connections: replaced by POST, merged by PATCH."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Depends, Path
from starlette.requests import Request
from starlette.responses import Response

from carrick.api.access import Rooms
from carrick.api.auth import Asker, ByKey
from carrick.api.routing import answer, query_fields, router
from carrick.api.schemas.connections import MetadataWrite
from carrick.api.schemas.primitives import ConnectionId, JsonMap
from carrick.errors import InvalidHeaders

routes = router("connections")

_UPDATE = "environment:connections:update"
Updater = Annotated[Asker, Depends(ByKey(_UPDATE))]


async def _replace(rooms: Rooms, asker: Updater, body: MetadataWrite) -> Response:
    """Replace the metadata of one or several connections: of all or of none."""
    return await _write(rooms, asker, body, merge=False)


async def _merge(rooms: Rooms, asker: Updater, body: MetadataWrite) -> Response:
    """Merge top-level keys into the metadata of connections: of all or of none."""
    return await _write(rooms, asker, body, merge=True)


async def _replace_of_one(
    request: Request,
    rooms: Rooms,
    asker: Updater,
    connection_id: Annotated[ConnectionId, Path()],
    body: Annotated[JsonMap, Body()],
) -> Response:
    """Replace the metadata of one connection; the body is the metadata."""
    await _write(rooms, asker, _of_one(request, connection_id, body), merge=False)
    return answer(body, 201)


async def _merge_of_one(
    request: Request,
    rooms: Rooms,
    asker: Updater,
    connection_id: Annotated[ConnectionId, Path()],
    body: Annotated[JsonMap, Body()],
) -> Response:
    """Merge top-level keys into the metadata of one connection; the body is the metadata."""
    await _write(rooms, asker, _of_one(request, connection_id, body), merge=True)
    return answer(body)


for _path, _is_old in (("/connections/metadata", False), ("/connection/metadata", True)):
    _suffix = "_deprecated" if _is_old else ""
    routes.add_api_route(
        _path,
        _replace,
        methods=["POST"],
        status_code=201,
        response_model=MetadataWrite,
        deprecated=_is_old,
        name=f"replace_metadata{_suffix}",
    )
    routes.add_api_route(
        _path,
        _merge,
        methods=["PATCH"],
        response_model=MetadataWrite,
        deprecated=_is_old,
        name=f"merge_metadata{_suffix}",
    )

_OF_ONE = "/connection/{connection_id:path}/metadata"
routes.add_api_route(
    _OF_ONE,
    _replace_of_one,
    methods=["POST"],
    status_code=201,
    response_model=dict[str, Any],
    deprecated=True,
    name="replace_metadata_of_one",
)
routes.add_api_route(
    _OF_ONE,
    _merge_of_one,
    methods=["PATCH"],
    response_model=dict[str, Any],
    deprecated=True,
    name="merge_metadata_of_one",
)


async def _write(rooms: Rooms, asker: Asker, body: MetadataWrite, *, merge: bool) -> Response:
    ids = [body.connection_id] if isinstance(body.connection_id, str) else body.connection_id
    await rooms.connections.write_metadata(
        asker.environment.row_id, body.provider_config_key, ids, body.metadata, merge=merge
    )
    return answer(body.model_dump(), 200 if merge else 201)


def _of_one(request: Request, connection_id: str, metadata: dict[str, Any]) -> MetadataWrite:
    named = request.headers.get("provider-config-key")
    integration_id = named or query_fields(request).get("provider_config_key")
    if not isinstance(integration_id, str):
        raise InvalidHeaders(
            "Name the integration in the header Provider-Config-Key or the query parameter "
            "provider_config_key."
        )
    return MetadataWrite(
        connection_id=connection_id, provider_config_key=integration_id, metadata=metadata
    )
