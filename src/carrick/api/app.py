"""The app: every route, with what holds for all of them around it."""

from __future__ import annotations

from fastapi import FastAPI

from carrick.api import errors
from carrick.api.limits import RateLimit
from carrick.api.meter import Meter
from carrick.api.middleware import BodyLimit, EveryAnswer, JsonOnly, TolerantPaths
from carrick.api.routes import all_routes
from carrick.api.services import Services

_TITLE = "Carrick"
_DESCRIPTION = "Runs your functions when a customer connects, reconnects or removes an account."


def create_api(services: Services) -> FastAPI:
    """Build the HTTP API over the rooms."""
    settings = services.settings
    app = FastAPI(
        title=_TITLE,
        description=_DESCRIPTION,
        docs_url=None,  # their pages load scripts from somebody else's server
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    app.state.services = services
    app.state.meter = Meter()
    limit = settings.rate_limit_per_minute
    app.state.rate_limit = RateLimit(limit, services.clock) if limit is not None else None
    app.router.routes.extend(all_routes())
    errors.install(app)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes)
    app.add_middleware(JsonOnly)
    app.add_middleware(TolerantPaths)
    app.add_middleware(
        EveryAnswer,
        clock=services.clock,
        chance=services.chance,
        connect_url=settings.connect_url,
        stopping=services.stopping,
        meter=app.state.meter,
    )
    return app
