"""How a route gets at the rooms."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from carrick.api.services import Services


def services_of(request: Request) -> Services:
    """Return the rooms of the app that handles a request."""
    return cast(Services, request.app.state.services)


async def _services(request: Request) -> Services:
    return services_of(request)


#: A route's parameter of this type is the rooms.
Rooms = Annotated[Services, Depends(_services)]
