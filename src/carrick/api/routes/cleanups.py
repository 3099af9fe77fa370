"""Cleanups that are not done, for the person who has to see to them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path
from starlette.responses import Response

from carrick.api.access import Rooms
from carrick.api.auth import Asker, ByKey
from carrick.api.routing import QueryOf, answer, router, wrapped
from carrick.api.schemas.records import (
    CleanupsAnswer,
    DoneAnswer,
    ForceInput,
    NothingMore,
    PageQuery,
    cleanup_object,
)

routes = router("cleanups")

_SCOPE = "environment:connections:delete"
Who = Annotated[Asker, Depends(ByKey(_SCOPE))]
Id = Annotated[int, Path(ge=1, le=2**53, description="The cleanup's id.")]


@routes.get("/cleanups", response_model=CleanupsAnswer)
async def list_cleanups(
    rooms: Rooms, asker: Who, query: Annotated[PageQuery, Depends(QueryOf(PageQuery))]
) -> Response:
    """List cleanups that are not done, parked ones first."""
    found = await rooms.lifecycle.cleanups(
        asker.environment.row_id, limit=query.limit, after=query.cursor
    )
    last = found[-1].id if len(found) == query.limit else None
    parked_first = sorted(found, key=lambda each: each.state != "parked")
    return answer(
        {
            "data": [cleanup_object(each) for each in parked_first],
            "next_cursor": str(last) if last is not None else None,
        }
    )


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
