"""Environments: their variables, API keys, settings and signing key."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from carrick.api.access import Rooms
from carrick.api.auth import Asker, ByKey
from carrick.api.errors import invalid
from carrick.api.issues import issue
from carrick.api.routing import NoQuery, QueryOf, answer, query_fields, router, wrapped
from carrick.api.schemas.connections import Success
from carrick.api.schemas.environments import (
    ApiKeyCreation,
    ApiKeyDeletion,
    ApiKeysAnswer,
    EnvironmentCreation,
    EnvironmentsAnswer,
    NewApiKeyAnswer,
    NewEnvironmentAnswer,
    SettingsAnswer,
    SettingsChanges,
    SigningKeyAnswer,
    VariableObject,
    VariablesWrite,
    api_key_object,
    environment_object,
    settings_object,
)
from carrick.api.urls import demand_url
from carrick.errors import Forbidden, InvalidBody, InvalidQuery, NotFound
from carrick.model.environment import Environment

routes = router("environments")

NothingAsked = Annotated[NoQuery, Depends(QueryOf(NoQuery))]


@routes.get("/environments", response_model=EnvironmentsAnswer)
async def list_environments(
    rooms: Rooms, asker: Annotated[Asker, Depends(ByKey())], query: NothingAsked
) -> Response:
    """List the server's environments by name."""
    return wrapped([environment_object(each) for each in await rooms.environments.list()])


@routes.post("/environments", response_model=NewEnvironmentAnswer)
async def create_environment(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("account:environments:create"))],
    query: NothingAsked,
    body: EnvironmentCreation,
) -> Response:
    """Make an environment; its API key is shown this once."""
    created = await rooms.environments.create(body.name)
    shown = environment_object(created.environment)
    return wrapped({**shown, "secret_key": created.secret_key})


@routes.delete("/environments/{name}", status_code=204, response_model=None)
async def delete_environment(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("account:environments:delete"))],
    query: NothingAsked,
    name: str,
) -> Response:
    """Delete an environment by name or uuid, with a cleanup for each of its connections."""
    for each in await rooms.environments.list():
        if name in (each.name, each.uuid):
            await rooms.lifecycle.delete_environment(each)
            return Response(status_code=204)
    raise NotFound(f'There is no environment "{name}".')


# --- variables ------------------------------------------------------------------------------


@routes.get("/environment-variables", response_model=list[VariableObject])
async def list_variables(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:variables:read"))],
    query: NothingAsked,
) -> Response:
    """List the environment's variables with their values."""
    found = await rooms.variables.list(asker.environment.row_id)
    return answer([{"name": name, "value": value} for name, value in found])


@routes.post("/environment-variables", response_model=Success)
async def set_variables(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:variables:write"))],
    query: NothingAsked,
    body: VariablesWrite,
) -> Response:
    """Set variables, all or none; `null` removes one, and what is not named stays."""
    await rooms.variables.set(asker.environment.row_id, body.variables)
    return answer({"success": True})


# --- API keys -------------------------------------------------------------------------------


@routes.get("/environment/api-keys", response_model=ApiKeysAnswer)
async def list_api_keys(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:api_keys:list"))],
    query: NothingAsked,
) -> Response:
    """List the environment's API keys, without their text."""
    found = await rooms.api_keys.list(asker.environment.row_id)
    return wrapped([api_key_object(key) for key in found])


@routes.post("/environment/api-keys", response_model=NewApiKeyAnswer)
async def create_api_key(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:api_keys:create"))],
    query: NothingAsked,
    body: ApiKeyCreation,
) -> Response:
    """Make an API key that may do no more than the one that makes it; shown this once."""
    beyond = [scope for scope in body.scopes if not asker.may(scope)]
    if beyond:
        raise Forbidden(f"This API key cannot grant what it does not have: {', '.join(beyond)}")
    key, text = await rooms.api_keys.create(
        asker.environment.row_id, body.display_name, tuple(dict.fromkeys(body.scopes))
    )
    return wrapped({**api_key_object(key), "secret": text})


@routes.delete("/environment/api-keys", response_model=Success)
async def delete_api_key(
    request: Request,
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:api_keys:delete"))],
    body: ApiKeyDeletion | None = None,
) -> Response:
    """Delete an API key, named by `id` in the body or the query string."""
    await rooms.api_keys.delete(asker.environment.row_id, _key_id(request, body))
    return answer({"success": True})


def _key_id(request: Request, body: ApiKeyDeletion | None) -> int:
    if body is not None:
        return body.id
    given = query_fields(request).get("id")
    if not isinstance(given, str) or not given.isdecimal() or len(given) > 18:
        invalid(InvalidQuery, [issue("Which API key? Pass its id.", ["id"])])
    return int(given)


# --- settings -------------------------------------------------------------------------------


@routes.get("/environment/settings", response_model=SettingsAnswer)
async def get_settings(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:settings:read"))],
    query: NothingAsked,
) -> Response:
    """Return the environment's settings: where notifications go, and what is demanded."""
    return wrapped(await _shown(rooms, asker.environment))


@routes.patch("/environment/settings", response_model=SettingsAnswer)
async def change_settings(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:settings:update"))],
    query: NothingAsked,
    body: SettingsChanges,
) -> Response:
    """Change settings; what is not named stays, `null` or an empty address resets."""
    for name in ("primary_url", "secondary_url"):
        await demand_url(rooms, getattr(body, name), [name])
    given = body.model_dump(exclude_none=True)
    changes = {name: given.get(name) for name in body.model_fields_set}
    merged = {**asker.environment.settings, **changes}
    if merged.get("hmac_enabled") and not merged.get("hmac_key"):
        invalid(InvalidBody, [issue("An hmac can only be demanded with an hmac_key", ["hmac_key"])])
    kept = {name: value if value != "" else None for name, value in changes.items()}
    changed = await rooms.environments.update_settings(asker.environment.row_id, kept)
    return wrapped(await _shown(rooms, changed))


@routes.post("/environment/webhook-signing-key/rotate", response_model=SigningKeyAnswer)
async def rotate_signing_key(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:webhook_signing_key:rotate"))],
    query: NothingAsked,
) -> Response:
    """Replace the key that notifications are signed with, and show the new one."""
    key = await rooms.environments.rotate_signing_key(asker.environment.row_id)
    return wrapped({"webhook_signing_key": key})


async def _shown(rooms: Rooms, environment: Environment) -> object:
    public_key = await rooms.environments.public_key(environment.row_id)
    return settings_object(environment.settings, public_key)
