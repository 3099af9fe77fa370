"""What holds for every request before a route sees it, and for every answer after it.

From the outside in: headers, the access log and unknown exceptions (`EveryAnswer`), paths in any
case (`TolerantPaths`), wrong content types (`JsonOnly`), bodies that are too large (`BodyLimit`).
"""

from __future__ import annotations

import re
from http import HTTPStatus
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from carrick.api.errors import error_answer, unexpected_answer
from carrick.api.meter import Meter
from carrick.api.services import Stopping
from carrick.errors import InvalidContentType, MethodNotAllowed
from carrick.model.clock import Chance, Clock

#: Asked every few seconds by whoever watches the server; nobody reads that.
_PROBES = frozenset({"/health", "/ready", "/live", "/metrics"})
_log = structlog.get_logger("carrick.api.access")

_SECURITY = {
    "Referrer-Policy": "strict-origin",
    "Strict-Transport-Security": "max-age=5184000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'self'",
}
_ANY_FRAME = "frame-ancestors *"
_ALLOWED_HEADERS = (
    "Authorization, Content-Type, Accept, Origin, X-Requested-With, Nango-Activity-Log-Id, "
    "Nango-Is-Dry-Run, Nango-Is-Sync, Provider-Config-Key, Connection-Id, Sentry-Trace, Baggage"
)
_EXPOSED_HEADERS = (
    "Authorization, Etag, Content-Type, Content-Length, Retry-After, X-Nango-Signature, "
    "X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset"
)
_TELEMETRY = "/connect/telemetry"
#: Addresses whose GET does something.
_ONCE = re.compile(r"/(?:oauth/(?:connect|callback)|app-auth/connect)", re.IGNORECASE)
_JSON_ONLY = re.compile(
    r"/(oauth(?!/callback/?$)|api-auth|auth|providers|environments|integrations|connections?|environment"
    r"|environment-variables|sync|cli|records|mcp|scripts|functions|action|connect|v1"
    r"|operations|cleanups|deployments|dryruns)(/|$)",
    re.IGNORECASE,
)


class EveryAnswer:
    """Puts CORS and security headers on every answer, logs it, and lets no exception out."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        clock: Clock,
        chance: Chance,
        connect_url: str | None,
        stopping: Stopping,
        meter: Meter,
    ) -> None:
        self._app = app
        self._clock = clock
        self._chance = chance
        self._connect_origin = _origin(connect_url)
        self._stopping = stopping
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # A copy that the layers below may change: the server reads its own at the end.
        scope = {**scope, "state": dict(scope.get("state", {}))}
        method = scope["method"]
        started_at = self._clock.monotonic()
        status: int | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(scope, MutableHeaders(scope=message))
            await send(message)

        try:
            if _is_preflight(scope):
                await self._preflight(scope)(scope, receive, send_with_headers)
            else:
                await self._app(scope, receive, send_with_headers)
        except Exception as error:  # the last place that can turn one into an answer
            if status is not None:
                raise  # the answer has begun: the server must break the connection off
            answer = unexpected_answer(error, self._chance, _template(scope))
            await answer(scope, receive, send_with_headers)
        finally:
            route = _template(scope)  # never the address itself: it can hold a session token
            took_s = self._clock.monotonic() - started_at
            self._meter.answered(method, route, status, took_s)
            (_log.debug if route in _PROBES else _log.info)(
                "request",
                method=method,
                route=route,
                status=status,
                duration_ms=round(took_s * 1000, 1),
            )

    def _preflight(self, scope: Scope) -> Response:
        headers = {
            "Access-Control-Allow-Methods": "GET,HEAD,PUT,PATCH,POST,DELETE",
            "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
            "Access-Control-Max-Age": "600",
        }
        if self._is_telemetry(scope):
            headers["Access-Control-Allow-Methods"] = "POST"
            headers["Access-Control-Max-Age"] = "36000"
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)

    def _add_headers(self, scope: Scope, headers: MutableHeaders) -> None:
        for name, value in _SECURITY.items():
            if name not in headers:
                headers[name] = value
        if _ANY_FRAME in headers["Content-Security-Policy"]:
            del headers["X-Frame-Options"]  # which has no word for "anybody"
        for name, value in scope.get("state", {}).get("rate_limit_headers", {}).items():
            headers[name] = value
        if self._stopping.has_begun:
            # The caller looks for another server before this one closes a line under a request.
            headers["Connection"] = "close"
        headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS
        if self._is_telemetry(scope):
            headers["Access-Control-Allow-Origin"] = self._connect_origin or "null"
            headers["Access-Control-Allow-Credentials"] = "true"
            headers.add_vary_header("Origin")
        else:
            headers["Access-Control-Allow-Origin"] = "*"

    def _is_telemetry(self, scope: Scope) -> bool:
        return self._connect_origin is not None and scope["path"].lower() == _TELEMETRY


class TolerantPaths:
    """Lets a path end in a slash and HEAD be asked of whatever answers GET.

    No redirects: some clients drop the Authorization header on the way. What comes after `/proxy`
    is somebody else's path and stays as it is. A popup's addresses work once, so they are not for
    those who only look (link scanners): they answer GET alone.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and not _is_proxied(scope):
            path = scope["path"]
            # An id may end in an encoded slash; only a literal one is nothing but style.
            literal = scope.get("raw_path", path.encode()).endswith(b"/")
            if literal and len(path) > 1:
                scope["path"] = path.removesuffix("/")
            if scope["method"] == "HEAD":
                if _ONCE.match(path):
                    refusal = error_answer(MethodNotAllowed())
                    refusal.headers["Allow"] = "GET"
                    await refusal(scope, receive, send)
                    return
                scope["method"] = "GET"
        await self._app(scope, receive, send)


class JsonOnly:
    """Refuses another content type before anybody asks who is there."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and _JSON_ONLY.match(scope["path"]):
            given = Headers(scope=scope).get("content-type", "")
            if given and not given.lower().startswith("application/json"):
                await error_answer(InvalidContentType())(scope, receive, send)
                return
        await self._app(scope, receive, send)


class BodyLimit:
    """Stops reading a body as soon as it is larger than this server accepts."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdigit() and int(announced) > self._limit:
            scope["carrick.body_too_large"] = True
        taken = 0

        async def receive_within_limit() -> Message:
            nonlocal taken
            if scope.get("carrick.body_too_large"):
                raise self._refusal()
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._limit:
                raise self._refusal()
            return message

        await self._app(scope, receive_within_limit, send)

    def _refusal(self) -> HTTPException:
        # Starlette's own exception: FastAPI hides every other one that reading a body raises.
        return HTTPException(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The request body is larger than {self._limit} bytes.",
            headers={"Connection": "close"},
        )


def _template(scope: Scope) -> str:
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "(no route)"


def _is_preflight(scope: Scope) -> bool:
    if scope["method"] != "OPTIONS":
        return False
    asks = "access-control-request-method" in Headers(scope=scope)
    return asks or not _is_proxied(scope)


def _is_proxied(scope: Scope) -> bool:
    path: str = scope["path"].lower()
    return path == "/proxy" or path.startswith("/proxy/")


def _origin(url: str | None) -> str | None:
    if not url:
        return None
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
