"""Parts of the wire contract that Carrick does not offer: told plainly, in the envelope."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from carrick.api.errors import error_answer
from carrick.errors import MethodNotAllowed, NotImplementedHere

_PATHS = (
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
    """Answers 501, and 405 where the path is offered by another method."""

    def __init__(self, *, always_501: bool = False) -> None:
        self._always_501 = always_501

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        request = Request(scope)
        told = f"Carrick does not offer {request.method} {request.url.path}."
        is_offered = not self._always_501 and _is_offered_otherwise(scope)
        error = MethodNotAllowed(told) if is_offered else NotImplementedHere(told)
        await error_answer(error)(scope, receive, send)


def _is_offered_otherwise(scope: Scope) -> bool:
    others: list[BaseRoute] = scope["router"].routes
    return any(route.matches(scope)[0] is Match.PARTIAL for route in others)


def _stub(path: str, answers: NotOffered, methods: list[str] | None = None) -> Route:
    route = Route(path, answers, methods=methods, include_in_schema=False)
    route.path_regex = re.compile(route.path_regex.pattern, re.IGNORECASE)
    return route


routes: list[BaseRoute] = [
    # The import of old clients; newer ones read from this path.
    _stub("/connection", NotOffered(always_501=True), ["POST"]),
    *(_stub(path, NotOffered()) for path in _PATHS),
]
