"""The event functions that are deployed for an integration."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Path
from starlette.responses import Response
from typing_extensions import TypedDict

from carrick.api.access import Rooms
from carrick.api.auth import Asker, ByKey
from carrick.api.routes.integrations import Key
from carrick.api.routing import QueryOf, answer, router, wrapped
from carrick.api.schemas.integrations import (
    CodeAnswer,
    FunctionAnswer,
    FunctionObject,
    FunctionQuery,
    FunctionsAnswer,
    FunctionsQuery,
    ScriptsQuery,
    function_object,
)
from carrick.api.schemas.primitives import FunctionName
from carrick.api.times import with_z
from carrick.errors import FunctionManagedByDeploy, NotFound

routes = router("functions")


class ToolsAnswer(TypedDict):
    """Functions as tools that a model could call, of which there are none."""

    data: list[dict[str, Any]]


_LIST = "environment:functions:list"
_READ = "environment:functions:read"
#: Deployments looked through for the day a function was deployed.
_RECENT = 200
Name = Annotated[FunctionName, Path(description="The function's name.")]


@routes.get("/integrations/{unique_key}/functions", response_model=FunctionsAnswer)
async def list_functions(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey(_LIST))],
    unique_key: Key,
    query: Annotated[FunctionsQuery, Depends(QueryOf(FunctionsQuery))],
) -> Response:
    """List an integration's active functions."""
    found = await _functions(rooms, asker, unique_key)
    wanted = (query.search or "").lower()
    matching = [
        function
        for function in found
        if query.type in (None, "on-event") and wanted in function["name"].lower()
    ]
    start = query.page * query.limit
    pagination = {"total": len(matching), "page": query.page, "limit": query.limit}
    return answer({"data": matching[start : start + query.limit], "pagination": pagination})


@routes.get("/integrations/{unique_key}/functions/{name}", response_model=FunctionAnswer)
async def get_function(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey(_READ))],
    unique_key: Key,
    name: Name,
    query: Annotated[FunctionQuery, Depends(QueryOf(FunctionQuery))],
) -> Response:
    """Return one active function."""
    return wrapped(await _function(rooms, asker, unique_key, name, query.type))


@routes.get("/integrations/{unique_key}/functions/{name}/code", response_model=CodeAnswer)
async def get_code(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey(_READ))],
    unique_key: Key,
    name: Name,
    query: Annotated[FunctionQuery, Depends(QueryOf(FunctionQuery))],
) -> Response:
    """Return the file an active function stands in; what it imports is in the same project."""
    shown = await _function(rooms, asker, unique_key, name, query.type)
    for function in await rooms.deployments.functions(asker.environment.row_id):
        if (function.integration_id, function.name) == (unique_key, name):
            return answer(
                {"type": shown["type"], "code": await rooms.deployments.bundles.code_of(function)}
            )
    raise NotFound("Function does not exist")  # a deploy took it away between the two looks


@routes.delete("/integrations/{unique_key}/functions/{name}", response_model=FunctionAnswer)
async def delete_function(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:functions:delete"))],
    unique_key: Key,
    name: Name,
    query: Annotated[FunctionQuery, Depends(QueryOf(FunctionQuery))],
) -> Response:
    """Refuse: what a project deployed, only a deploy removes."""
    await _function(rooms, asker, unique_key, name, query.type)
    raise FunctionManagedByDeploy


@routes.get("/scripts/config", response_model=list[dict[str, Any]] | ToolsAnswer)
async def get_scripts(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:integrations:list_functions"))],
    query: Annotated[ScriptsQuery, Depends(QueryOf(ScriptsQuery))],
) -> Response:
    """List the deployed functions by integration."""
    if query.format == "openai":
        return wrapped([])  # event functions are not tools that a model could call
    environment_id = asker.environment.row_id
    providers = {
        one.integration_id: one.provider for one in await rooms.integrations.list(environment_id)
    }
    found = await rooms.deployments.functions(environment_id)
    groups: dict[str, list[FunctionObject]] = {}
    deployed_at = await _deployed_at(rooms, environment_id)
    for number, function in enumerate(found, start=1):
        shown = function_object(number, function, deployed_at.get(function.deployment_id))
        groups.setdefault(function.integration_id, []).append(shown)
    return answer(
        [
            {
                "providerConfigKey": integration_id,
                "provider": providers.get(integration_id),
                "syncs": [],
                "actions": [],
                "on-events": functions,
            }
            for integration_id, functions in groups.items()
        ]
    )


async def _functions(rooms: Rooms, asker: Asker, unique_key: str) -> list[FunctionObject]:
    environment_id = asker.environment.row_id
    if await rooms.integrations.get(environment_id, unique_key) is None:
        raise NotFound("Integration does not exist")
    deployed_at = await _deployed_at(rooms, environment_id)
    numbered = enumerate(await rooms.deployments.functions(environment_id), start=1)
    return [
        function_object(number, function, deployed_at.get(function.deployment_id))
        for number, function in numbered
        if function.integration_id == unique_key
    ]


async def _function(
    rooms: Rooms, asker: Asker, unique_key: str, name: str, kind: str | None
) -> FunctionObject:
    for function in await _functions(rooms, asker, unique_key):
        if function["name"] == name and kind in (None, "on-event"):
            return function
    raise NotFound("Function does not exist")


async def _deployed_at(rooms: Rooms, environment_id: int) -> dict[int, str]:
    deployments = await rooms.deployments.list_deployments(environment_id, limit=_RECENT)
    return {each.row_id: with_z(each.created_at) for each in deployments}
