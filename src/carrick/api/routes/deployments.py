"""Deployments: what would change, making it so, and going back."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path
from starlette.responses import Response

from carrick.api.access import Rooms
from carrick.api.auth import Asker, ByKey
from carrick.api.bundles import read_bundle
from carrick.api.routing import QueryOf, answer, router, wrapped
from carrick.api.schemas.records import (
    DeployedAnswer,
    DeploymentAnswer,
    DeploymentInput,
    DeploymentsAnswer,
    NothingMore,
    PageQuery,
    PreviewAnswer,
    PreviewInput,
    ScopeInput,
    deployment_object,
)
from carrick.deployments import Scope

routes = router("deployments")

Who = Annotated[Asker, Depends(ByKey("environment:deploy"))]


@routes.post("/deployments/preview", response_model=PreviewAnswer)
async def preview_deployment(rooms: Rooms, asker: Who, body: PreviewInput) -> Response:
    """Say what deploying a project would change, and change nothing."""
    bundle = await read_bundle(body.bundle)
    preview = await rooms.deployments.preview(asker.environment.row_id, bundle, _scope(body.scope))
    return wrapped(preview.as_json())


@routes.post("/deployments", response_model=DeployedAnswer)
async def deploy(rooms: Rooms, asker: Who, body: DeploymentInput) -> Response:
    """Make a project's functions the active ones, within the scope."""
    bundle = await read_bundle(body.bundle)
    deployed = await rooms.deployments.deploy(
        asker.environment.row_id,
        bundle,
        _scope(body.scope),
        allow_removals=body.allow_removals,
    )
    await rooms.lifecycle.warmth.refresh()
    shown = deployed.preview.as_json()
    return wrapped({"number": deployed.number, "is_new": deployed.is_new, **shown})


@routes.get("/deployments", response_model=DeploymentsAnswer)
async def list_deployments(
    rooms: Rooms, asker: Who, query: Annotated[PageQuery, Depends(QueryOf(PageQuery))]
) -> Response:
    """List deployments, the newest first."""
    found = await rooms.deployments.list_deployments(
        asker.environment.row_id, limit=query.limit, before=query.cursor
    )
    last = found[-1].number if len(found) == query.limit else None
    return answer(
        {
            "data": [deployment_object(each) for each in found],
            "next_cursor": str(last) if last is not None else None,
        }
    )


@routes.post("/deployments/{number}/activate", response_model=DeploymentAnswer)
async def activate_deployment(
    rooms: Rooms,
    asker: Who,
    number: Annotated[int, Path(ge=1, le=2**31 - 1)],
    body: NothingMore | None = None,
) -> Response:
    """Make an earlier deployment the active one again."""
    activated = await rooms.deployments.rollback(asker.environment.row_id, number)
    await rooms.lifecycle.warmth.refresh()
    return wrapped(deployment_object(activated))


def _scope(given: ScopeInput | None) -> Scope | None:
    return Scope.from_json(given.model_dump()) if given is not None else None
