"""Notifications to the app: which there are, what became of them, and sending one again."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path
from starlette.responses import Response

from carrick.api.access import Rooms
from carrick.api.auth import Asker, ByKey
from carrick.api.routing import NoQuery, QueryOf, answer, router, wrapped
from carrick.api.schemas.notifications import (
    NotificationAnswer,
    NotificationsAnswer,
    NotificationsQuery,
    notification_object,
    whole_notification_object,
)
from carrick.api.schemas.primitives import Text255
from carrick.api.schemas.records import DoneAnswer, NothingMore
from carrick.store.notifications import NotificationFilter

routes = router("notifications")

Reader = Annotated[Asker, Depends(ByKey("environment:logs:read"))]
Id = Annotated[Text255, Path(description="The notification's id, as its `webhook-id` header.")]


@routes.get("/notifications", response_model=NotificationsAnswer)
async def list_notifications(
    rooms: Rooms,
    asker: Reader,
    query: Annotated[NotificationsQuery, Depends(QueryOf(NotificationsQuery))],
) -> Response:
    """List notifications, the newest first."""
    wanted = NotificationFilter(
        states=query.state,
        kinds=query.kind,
        connection_id=query.connection_id,
        integration_id=query.integration_id,
        before=query.cursor,
        limit=query.limit,
    )
    found = await rooms.deliveries.list(asker.environment.row_id, wanted)
    more = len(found) == query.limit
    return answer(
        {
            "data": [notification_object(each) for each in found],
            "next_cursor": found[-1].id if more else None,
        }
    )


@routes.get("/notifications/{notification_id}", response_model=NotificationAnswer)
async def get_notification(
    rooms: Rooms,
    asker: Reader,
    notification_id: Id,
    query: Annotated[NoQuery, Depends(QueryOf(NoQuery))],
) -> Response:
    """Return a notification with its body and every attempt at it."""
    found, attempts = await rooms.deliveries.get(asker.environment.row_id, notification_id)
    return wrapped(whole_notification_object(found, attempts))


@routes.post("/notifications/{notification_id}/retry", response_model=DoneAnswer)
async def retry_notification(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:connections:update"))],
    notification_id: Id,
    body: NothingMore | None = None,
) -> Response:
    """Send a notification now that waits or was given up, under the same id."""
    await rooms.deliveries.send_again(asker.environment.row_id, notification_id)
    return wrapped({"success": True})
