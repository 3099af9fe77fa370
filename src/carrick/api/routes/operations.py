"""The log: what happened, and running again what failed."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path
from starlette.responses import Response

from carrick.api.access import Rooms
from carrick.api.auth import Asker, ByKey
from carrick.api.routing import QueryOf, answer, router, wrapped
from carrick.api.schemas.primitives import Text255
from carrick.api.schemas.records import (
    DoneAnswer,
    MessagesQuery,
    NothingMore,
    OperationAnswer,
    OperationsAnswer,
    OperationsQuery,
    message_objects,
    operation_object,
)
from carrick.errors import NotFound
from carrick.operations import OperationFilter

routes = router("operations")

_READ = "environment:logs:read"
Id = Annotated[Text255, Path(description="The operation's id.")]


@routes.get("/operations", response_model=OperationsAnswer)
async def list_operations(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey(_READ))],
    query: Annotated[OperationsQuery, Depends(QueryOf(OperationsQuery))],
) -> Response:
    """List operations, the newest first."""
    wanted = OperationFilter(
        states=query.state,
        types=query.type,
        actions=query.action,
        integration_ids=query.integration_id,
        connection_ids=[query.connection_id] if query.connection_id is not None else [],
        before=query.cursor,
        limit=query.limit,
    )
    found = await rooms.operations.list(asker.environment.row_id, wanted)
    more = len(found) == query.limit
    return answer(
        {
            "data": [operation_object(operation) for operation in found],
            "next_cursor": found[-1].id if more else None,
        }
    )


@routes.get("/operations/{operation_id}", response_model=OperationAnswer)
async def get_operation(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey(_READ))],
    operation_id: Id,
    query: Annotated[MessagesQuery, Depends(QueryOf(MessagesQuery))],
) -> Response:
    """Return an operation with its messages, the oldest first."""
    operation = await rooms.operations.get(asker.environment.row_id, operation_id)
    if operation is None:
        raise NotFound(f'There is no operation "{operation_id}" in this environment.')
    lines = await rooms.operations.messages(operation.id, after=query.after, limit=query.limit)
    return wrapped({**operation_object(operation), "messages": message_objects(lines)})


@routes.post("/operations/{operation_id}/retry", response_model=DoneAnswer)
async def retry_operation(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:connections:update"))],
    operation_id: Id,
    body: NothingMore | None = None,
) -> Response:
    """Run a failed setup or a parked cleanup again, as the same run."""
    await rooms.lifecycle.retry_operation(asker.environment.row_id, operation_id)
    return wrapped({"success": True})
