"""The connect page: its files, and what a browser may do with them."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from carrick.api.access import Rooms
from carrick.api.origins import base_url_for
from carrick.api.routing import router
from carrick.connect_page import page_files
from carrick.errors import NotFound

routes = router("connect page")

_INDEX = "index.html"
_FILES = page_files()


@routes.get("/connect", include_in_schema=False)
async def show_page(request: Request, rooms: Rooms) -> Response:
    """Show the page. Its files have relative addresses, so its own must end in a slash."""
    path: bytes = request.scope.get("raw_path", b"")
    if not path.endswith(b"/"):
        query = request.url.query
        return RedirectResponse(f"connect/?{query}" if query else "connect/", status_code=307)
    answer = _file(request, _INDEX)
    base_urls = (rooms.settings.base_url, base_url_for(request, rooms.settings))
    answer.headers["Content-Security-Policy"] = _policy(base_urls)
    return answer


@routes.get("/connect/assets/{name:path}", include_in_schema=False)
async def get_file(request: Request, name: str) -> Response:
    """Return a script, a style sheet or the texts of a language."""
    return _file(request, name)


def _file(request: Request, name: str) -> Response:
    found = _FILES.get(name)
    if found is None:
        raise NotFound(f"The connect page has no file {name[:100]}")
    headers = {
        "ETag": found.etag,
        # Kept, but asked about each time: after an upgrade no two versions mix.
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",  # the page's address may hold a session token
    }
    if found.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(found.content, headers=headers, media_type=found.media_type)


def _policy(base_urls: Iterable[str]) -> str:
    """Return what the page may load: its own files, and answers of this server alone.

    So an address that names another `apiURL` cannot turn the page into somebody else's form.
    """
    places = [urlsplit(url) for url in dict.fromkeys(base_urls)]
    api = " ".join(f"{place.scheme}://{place.netloc}" for place in places)
    # Not every browser counts a socket of the page's own server among 'self'.
    socket = " ".join(
        f"{'wss' if place.scheme == 'https' else 'ws'}://{place.netloc}" for place in places
    )
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"img-src 'self' {api}",
            f"connect-src 'self' {api} {socket}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors *",  # any product may show it
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )
