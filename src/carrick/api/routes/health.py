"""Whether the process lives, whether it can answer, and whether functions can run."""

from __future__ import annotations

from starlette.responses import Response
from typing_extensions import TypedDict

from carrick.api.access import Rooms
from carrick.api.routing import answer, router
from carrick.errors import FunctionsUnavailable

routes = router("health")


class Health(TypedDict):
    """All is well."""

    result: str


_WELL: Health = {"result": "ok"}


@routes.get("/health", response_model=Health)
async def health(rooms: Rooms) -> Response:
    """Say whether functions can run, and what they do be kept: 200, or 503 with the reason."""
    _demand_staying(rooms)
    await rooms.ping_writes()
    readiness = rooms.ready()
    if not readiness.is_ready:
        raise FunctionsUnavailable(f"Functions cannot run on this server: {readiness.reason}")
    return answer(_WELL)


@routes.get("/ready", response_model=Health)
async def ready(rooms: Rooms) -> Response:
    """Say whether the API can answer, which it cannot without its database."""
    _demand_staying(rooms)
    await rooms.ping()
    return answer(_WELL)


@routes.get("/live", response_model=Health)
async def live() -> Response:
    """Say that the process lives."""
    return answer(_WELL)


def _demand_staying(rooms: Rooms) -> None:
    """Let whoever spreads calls over servers hear that this one will be gone in a moment."""
    if rooms.stopping.has_begun:
        raise FunctionsUnavailable("This server is being stopped.")
