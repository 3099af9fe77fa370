"""What is measured, for whoever watches the server."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from carrick.api.access import Rooms
from carrick.api.auth import Asker, ByKey
from carrick.api.meter import (
    CONTENT_TYPE,
    Meter,
    backlog_families,
    load_families,
    log_family,
    tally_family,
)
from carrick.api.routing import router

routes = router("health")

_OWN = "environment:metrics:read"
_EVERY = "account:metrics:read"


@routes.get("/metrics", response_model=None, responses={200: {"content": {"text/plain": {}}}})
async def metrics(
    request: Request, rooms: Rooms, asker: Annotated[Asker, Depends(ByKey(_OWN, _EVERY))]
) -> Response:
    """Write what is measured as text for Prometheus.

    Whoever may read the metrics of the account sees every environment, everybody else their own.
    """
    meter: Meter = request.app.state.meter
    seen = await rooms.environments.list() if asker.may(_EVERY) else [asker.environment]
    names = {each.row_id: each.name for each in seen}
    operations = rooms.operations
    families = [
        *load_families(rooms.load()),
        *backlog_families(await rooms.backlog(), names, rooms.clock.now()),
        tally_family(operations.tally, names),
        *log_family(operations.buffered, operations.dropped),
    ]
    return Response(meter.written(families), media_type=CONTENT_TYPE)
