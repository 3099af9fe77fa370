"""Parts of the wire contract that Carrick does not offer: told plainly, in the envelope."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from carrick.api.errors import error_answer
from carrick.errors import NotImplementedHere

_PATHS = (
    "/connection",  # the import of old clients; reading is a route of its own
    "/action/{rest:path}",
    "/sync/{rest:path}",
    "/records",
    "/records/{rest:path}",
    "/functions/{rest:path}",
    "/mcp",
    "/v1/{rest:path}",
    "/sessions",
    "/app-auth/{rest:path}",
    "/oauth/{rest:path}",
    "/webhook/{rest:path}",
)


class NotOffered:
    """Answers 501."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        request = Request(scope)
        error = NotImplementedHere(f"Carrick does not offer {request.method} {request.url.path}.")
        await error_answer(error)(scope, receive, send)


def _stub(path: str) -> Route:
    route = Route(path, NotOffered(), include_in_schema=False)
    route.path_regex = re.compile(route.path_regex.pattern, re.IGNORECASE)
    return route


routes: list[BaseRoute] = [_stub(path) for path in _PATHS]
