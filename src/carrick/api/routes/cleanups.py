"""Cleanups that are not done, for the person who has to see to them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path
from starlette.responses import Response

from carrick.api.access import Rooms
from carrick.api.auth import Asker, ByKey
from carrick.api.routing import QueryOf, answer, router, wrapped
from carrick.api.schemas.records import (
    CleanupAnswer,
    CleanupsAnswer,
    CleanupsQuery,
    DoneAnswer,
    ForceInput,
    NothingMore,
    RetriedAnswer,
    RetryInput,
    cleanup_object,
)

routes = router("cleanups")

_SCOPE = "environment:connections:delete"
Who = Annotated[Asker, Depends(ByKey(_SCOPE))]
Id = Annotated[int, Path(ge=1, le=2**53, description="The cleanup's id.")]


@routes.get("/cleanups", response_model=CleanupsAnswer)
async def list_cleanups(
    rooms: Rooms, asker: Who, query: Annotated[CleanupsQuery, Depends(QueryOf(CleanupsQuery))]
) -> Response:
    """List cleanups that are not done; on each page the parked ones first."""
    found = await rooms.lifecycle.cleanups(
        asker.environment.row_id,
        limit=query.limit,
        after=query.cursor,
        only_parked=query.state == "parked",
    )
    last = found[-1].id if len(found) == query.limit else None
    parked_first = sorted(found, key=lambda each: each.state != "parked")
    return answer(
        {
            "data": [cleanup_object(each) for each in parked_first],
            "next_cursor": str(last) if last is not None else None,
        }
    )


@routes.post("/cleanups/retry", response_model=RetriedAnswer)
async def retry_cleanups(rooms: Rooms, asker: Who, body: RetryInput | None = None) -> Response:
    """Try every parked cleanup again, each with a fresh set of attempts."""
    integration_id = body.integration_id if body is not None else None
    retried = await rooms.lifecycle.retry_cleanups(asker.environment.row_id, integration_id)
    return wrapped({"retried": retried})


@routes.get("/cleanups/{cleanup_id}", response_model=CleanupAnswer)
async def get_cleanup(rooms: Rooms, asker: Who, cleanup_id: Id) -> Response:
    """Return a cleanup that is not done; its operation has what every attempt said."""
    found = await rooms.lifecycle.cleanup(asker.environment.row_id, cleanup_id)
    return wrapped(cleanup_object(found))


@routes.post("/cleanups/{cleanup_id}/retry", response_model=DoneAnswer)
async def retry_cleanup(
    rooms: Rooms, asker: Who, cleanup_id: Id, body: NothingMore | None = None
) -> Response:
    """Try a cleanup again now, with a fresh set of attempts."""
    await rooms.lifecycle.retry_cleanup(asker.environment.row_id, cleanup_id)
    return wrapped({"success": True})


@routes.post("/cleanups/{cleanup_id}/force", response_model=DoneAnswer)
async def force_cleanup(rooms: Rooms, asker: Who, cleanup_id: Id, body: ForceInput) -> Response:
    """Give a cleanup up, so that its connection can go; the reason is kept."""
    await rooms.lifecycle.force_cleanup(asker.environment.row_id, cleanup_id, body.reason)
    return wrapped({"success": True})
