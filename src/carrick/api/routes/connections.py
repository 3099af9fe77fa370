"""Connections: list, get, import, change, delete. Ids may hold slashes, quotes and braces."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path
from starlette.responses import Response

from carrick.api.access import Rooms
from carrick.api.auth import Asker, ByKey
from carrick.api.routing import NoQuery, QueryOf, answer, router
from carrick.api.schemas.connections import (
    ConnectionChanges,
    ConnectionImport,
    ConnectionList,
    ConnectionListQuery,
    ConnectionObject,
    ConnectionQuery,
    DeletionAnswer,
    IntegrationQuery,
    Success,
    connection_object,
    list_item,
)
from carrick.api.schemas.credentials import credentials_object
from carrick.api.schemas.people import EndUserInput, end_user_of
from carrick.api.schemas.primitives import ConnectionId
from carrick.api.urls import demand_url
from carrick.connections import ConnectionFilter, ConnectionPatch
from carrick.environments import session_tags
from carrick.errors import (
    Forbidden,
    InvalidBody,
    InvalidCredentials,
    NotFound,
    UnknownIntegration,
)
from carrick.lifecycle.journeys import ConnectRequest
from carrick.model.auth import AuthMode, Credentials
from carrick.model.connection import Connection
from carrick.model.provider import Provider

routes = router("connections")

_READ_SECRETS = "environment:connections:read_credentials"
_LIST = ("environment:connections:list", "environment:connections:list_credentials")
_READ = ("environment:connections:read", _READ_SECRETS)
_OF_APPS = (AuthMode.APP, AuthMode.CUSTOM)
Id = Annotated[ConnectionId, Path(description="The connection's public id.")]


class IntegrationMissing(UnknownIntegration):
    """There is no such integration in this environment."""

    status = 400  # on these routes; browsers get 404


async def _list(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey(*_LIST))],
    query: Annotated[ConnectionListQuery, Depends(QueryOf(ConnectionListQuery))],
) -> Response:
    """List connections, the newest first, without their credentials."""
    found = await rooms.connections.list(
        asker.environment.row_id,
        ConnectionFilter(
            connection_id=query.connectionId,
            search=query.search,
            end_user_id=query.endUserId,
            end_user_organization_id=query.endUserOrganizationId,
            integration_ids=query.integrationId,
            tags={name.lower(): value for name, value in query.tags.items()},
            limit=query.limit,
            page=query.page,
            after=query.cursor,
        ),
    )
    return answer({"connections": [list_item(connection) for connection in found]})


async def _get(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey(*_READ))],
    connection_id: Id,
    query: Annotated[ConnectionQuery, Depends(QueryOf(ConnectionQuery))],
) -> Response:
    """Return a connection with credentials that work, refreshed if they are about to expire."""
    sees_secrets = asker.may(_READ_SECRETS)
    asks_for_secrets = query.refresh_token or query.force_refresh
    if (asks_for_secrets or query.refresh_github_app_jwt_token) and not sees_secrets:
        raise Forbidden(f"Insufficient scope. Required: {_READ_SECRETS}")
    connection = await _find(rooms, asker, query.provider_config_key, connection_id)
    rooms.connections.touch(connection.row_id)
    if not sees_secrets:
        return answer(connection_object(connection, {}, show_refresh_token=False))
    credentials = await _working(rooms, connection, force=query.force_refresh)
    if connection.error_operation_id or credentials.expires_at != connection.credentials_expires_at:
        # It was refreshed just now, which can change its config and ends its error.
        connection = await rooms.connections.by_row(connection.row_id) or connection
    provider = rooms.catalogue.find(connection.provider)
    shown = credentials_object(
        credentials,
        show_refresh_token=query.refresh_token,
        refresh_token_path=_refresh_token_path(provider, credentials.auth_mode),
    )
    if query.refresh_github_app_jwt_token and credentials.auth_mode in _OF_APPS:
        shown["jwtToken"] = await rooms.credentials.app_token(connection.row_id)
    return answer(connection_object(connection, shown, show_refresh_token=query.refresh_token))


async def _delete(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:connections:delete"))],
    connection_id: Id,
    query: Annotated[IntegrationQuery, Depends(QueryOf(IntegrationQuery))],
) -> Response:
    """Delete a connection; it is gone for every caller at once, whatever its cleanup does."""
    deletion = await rooms.lifecycle.delete_connection(
        asker.environment, query.provider_config_key, connection_id
    )
    return answer({"success": True, "cleanup": deletion.state})


@routes.post("/connections", status_code=201, response_model=ConnectionObject)
async def import_connection(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:connections:create"))],
    query: Annotated[NoQuery, Depends(QueryOf(NoQuery))],
    body: ConnectionImport,
) -> Response:
    """Import a connection from credentials; an id that exists is reconnected."""
    provider = await _provider_for(rooms, asker, body)
    await demand_url(rooms, body.webhook_url_override, ["webhook_url_override"])
    connected = await rooms.lifecycle.connect(
        ConnectRequest(
            environment=asker.environment,
            integration_id=body.provider_config_key,
            source="import",
            body=body.credentials.model_dump(exclude_none=True),
            auth_mode=provider.auth_mode,
            connection_id=body.connection_id,
            connection_config=body.connection_config,
            metadata=body.metadata,
            tags=_tags(body.end_user, body.tags),
            end_user=end_user_of(body.end_user),
            webhook_url_override=body.webhook_url_override,
        )
    )
    credentials = await rooms.credentials.stored(connected.connection.row_id)
    shown = credentials_object(credentials, show_refresh_token=True)
    return answer(connection_object(connected.connection, shown, z=True), 201)


@routes.patch("/connections/{connection_id:path}", response_model=Success)
async def change_connection(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:connections:update"))],
    connection_id: Id,
    query: Annotated[IntegrationQuery, Depends(QueryOf(IntegrationQuery))],
    body: ConnectionChanges,
) -> Response:
    """Change end user, tags or webhook address; tags replace the whole set."""
    await _find(rooms, asker, query.provider_config_key, connection_id)
    url = body.webhook_url_override
    if url is None and "webhook_url_override" in body.model_fields_set:
        url = ""  # what is shown as null can be sent back as null
    await demand_url(rooms, url, ["webhook_url_override"])
    patch = ConnectionPatch(
        tags=_tags(body.end_user, body.tags),
        end_user=end_user_of(body.end_user),
        webhook_url_override=url,
    )
    await rooms.connections.patch(
        asker.environment.row_id, query.provider_config_key, connection_id, patch
    )
    return answer({"success": True})


for _base, _is_old in (("/connections", False), ("/connection", True)):
    _suffix = "_deprecated" if _is_old else ""
    routes.add_api_route(
        _base,
        _list,
        methods=["GET"],
        response_model=ConnectionList,
        deprecated=_is_old,
        name=f"list_connections{_suffix}",
    )
    routes.add_api_route(
        f"{_base}/{{connection_id:path}}",
        _get,
        methods=["GET"],
        response_model=ConnectionObject,
        deprecated=_is_old,
        name=f"get_connection{_suffix}",
    )
    routes.add_api_route(
        f"{_base}/{{connection_id:path}}",
        _delete,
        methods=["DELETE"],
        response_model=DeletionAnswer,
        deprecated=_is_old,
        name=f"delete_connection{_suffix}",
    )


async def _find(rooms: Rooms, asker: Asker, integration_id: str, connection_id: str) -> Connection:
    environment_id = asker.environment.row_id
    found = await rooms.connections.find(environment_id, integration_id, connection_id)
    if found is not None:
        return found
    if await rooms.integrations.get(environment_id, integration_id) is None:
        raise IntegrationMissing(f'There is no integration "{integration_id}".')
    raise NotFound(
        f'Failed to find connection: "{connection_id}" of integration "{integration_id}".'
    )


async def _working(rooms: Rooms, connection: Connection, *, force: bool) -> Credentials:
    try:
        return await rooms.credentials.get(connection.row_id, force=force)
    except InvalidCredentials as error:
        current = await rooms.connections.by_row(connection.row_id) or connection
        shown = connection_object(current, {}, show_refresh_token=False)
        error.payload = {**(error.payload or {}), "connection": shown}
        raise


def _refresh_token_path(provider: Provider | None, mode: AuthMode) -> str | None:
    if provider is None or mode is not AuthMode.TWO_STEP:
        return None
    answered = provider.definition.get("token_response")
    path = answered.get("refresh_token") if isinstance(answered, dict) else None
    return path if isinstance(path, str) else None


async def _provider_for(rooms: Rooms, asker: Asker, body: ConnectionImport) -> Provider:
    integration = await rooms.integrations.get(asker.environment.row_id, body.provider_config_key)
    if integration is None:
        raise NotFound("Integration does not exist")
    provider = rooms.catalogue.find(integration.provider)
    if provider is None:
        raise NotFound("Provider does not exist")
    if provider.auth_mode.value != body.credentials.type:
        raise InvalidBody(
            f"Provider {provider.auth_mode} does not support {body.credentials.type} auth"
        )
    return provider


def _tags(end_user: EndUserInput | None, tags: dict[str, str] | None) -> dict[str, str] | None:
    """Return what replaces a connection's tags; `None` when nothing was said about them."""
    if end_user is None and tags is None:
        return None
    return session_tags(end_user_of(end_user), tags or {})
