"""Walking through a list that a provider hands out page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Literal, TypedDict
from urllib.parse import urlsplit

from carrick.sdk.errors import CarrickUsageError
from carrick.sdk.response import Response

Send = Callable[[str, str, dict[str, Any]], Awaitable[Response]]


class Pagination(TypedDict, total=False):
    """How a provider hands out pages; what is missing comes from the provider's definition."""

    type: Literal["link", "cursor", "offset"]
    #: Where the items are in the answer, with dots; the answer itself by default.
    response_path: str
    #: Items per page to ask for, and the name of the parameter that says so.
    limit: int
    limit_name_in_request: str
    cursor_path_in_response: str
    cursor_name_in_request: str
    link_rel_in_response_header: str
    link_path_in_response_body: str
    offset_name_in_request: str
    offset_start_value: int
    #: Whether the offset counts items (the default) or pages.
    offset_calculation_method: Literal["per-page", "by-response-size"]


async def walk(
    send: Send,
    method: str,
    endpoint: str,
    options: Mapping[str, Any],
    config: Mapping[str, Any],
) -> AsyncIterator[list[Any]]:
    """Yield the items of one page after the other, until the provider has no more.

    Raises:
        CarrickUsageError: The configuration lacks something, or does not fit the answer.
    """
    step = _STEPS.get(str(config.get("type")))
    if step is None:
        raise CarrickUsageError(
            "ctx.paginate() does not know how this provider hands out pages. Say it: "
            "paginate={'type': 'cursor', 'cursor_path_in_response': ..., "
            "'cursor_name_in_request': ...} (or 'link', 'offset')."
        )
    for name in _NEEDS[str(config["type"])]:
        if not (name == _LINK_REL and config.get("link_path_in_response_body")):
            _need(config, name)
    request = _Request(method.upper(), endpoint, dict(options))
    if config.get("limit") is not None:
        request.put(_need(config, "limit_name_in_request"), config["limit"])
    if config.get("type") == "offset":
        request.put(_need(config, "offset_name_in_request"), _start(config))
    seen: set[str] = set()
    while True:
        response = await send(request.method, request.endpoint, request.options)
        items = _items(response, config)
        if items:
            yield items
        marker = step(request, response, items, config)
        if marker is None:
            return
        if marker in seen:
            raise CarrickUsageError(
                f"{endpoint} hands out the same page again and again ({marker[:200]}). "
                "Check the pagination settings."
            )
        seen.add(marker)


class _Request:
    """The call for the next page."""

    def __init__(self, method: str, endpoint: str, options: dict[str, Any]) -> None:
        self.method = method
        self.endpoint = endpoint
        self.options = options

    def put(self, name: str, value: Any) -> None:
        """Set a parameter: in the query, or in the JSON body of a call that has one."""
        if self.method in ("GET", "HEAD", "DELETE"):
            self.options["params"] = {**(self.options.get("params") or {}), name: value}
            return
        key = "json" if self.options.get("json") is not None else "data"
        self.options[key] = {**(self.options.get(key) or {}), name: value}

    def follow(self, link: str) -> None:
        """Go to an address that the provider gave; it carries its own query."""
        parts = urlsplit(link)
        if parts.scheme and parts.netloc:
            self.options["base_url_override"] = f"{parts.scheme}://{parts.netloc}"
        self.endpoint = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.options.pop("params", None)


def _by_cursor(
    request: _Request, response: Response, _items: list[Any], config: Mapping[str, Any]
) -> str | None:
    cursor = pick(response.data, _need(config, "cursor_path_in_response"))
    if cursor is None or cursor in ("", False):
        return None
    request.put(_need(config, "cursor_name_in_request"), cursor)
    return str(cursor)


def _by_link(
    request: _Request, response: Response, _items: list[Any], config: Mapping[str, Any]
) -> str | None:
    path = config.get("link_path_in_response_body")
    if path:
        link = pick(response.data, path)
    else:
        rel = _need(config, _LINK_REL)
        link = links(response.headers.get("link", "")).get(rel)
    if not link:
        return None
    request.follow(str(link))
    return str(link)


def _by_offset(
    request: _Request, _response: Response, items: list[Any], config: Mapping[str, Any]
) -> str | None:
    limit = config.get("limit")
    if not items or (limit is not None and len(items) < int(limit)):
        return None
    name = config["offset_name_in_request"]
    given = request.options.get("params") or {}
    body = request.options.get("json") or request.options.get("data") or {}
    now = int(given[name] if name in given else body[name])
    pages = config.get("offset_calculation_method") == "per-page"
    request.put(name, now + (1 if pages else len(items)))
    return str(now + 1)


_STEPS = {"cursor": _by_cursor, "link": _by_link, "offset": _by_offset}
_LINK_REL = "link_rel_in_response_header"
_NEEDS = {
    "cursor": ("cursor_path_in_response", "cursor_name_in_request"),
    "link": (_LINK_REL,),
    "offset": ("offset_name_in_request",),
}


def pick(data: Any, path: str) -> Any:
    """Return what lies at a path with dots; `None` where it leads nowhere."""
    for part in path.split("."):
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, list) and part.isdigit() and int(part) < len(data):
            data = data[int(part)]
        else:
            return None
    return data


def links(header: str) -> dict[str, str]:
    """Return the addresses of a Link header (RFC 8288) by their relation."""
    found: dict[str, str] = {}
    for piece in header.split("<")[1:]:
        address, _, rest = piece.partition(">")
        for parameter in rest.split(";")[1:]:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "rel":
                for relation in value.strip(' ",').split():
                    found.setdefault(relation, address.strip())
    return found


def _start(config: Mapping[str, Any]) -> int:
    return int(config.get("offset_start_value") or 0)


def _items(response: Response, config: Mapping[str, Any]) -> list[Any]:
    path = config.get("response_path")
    items = pick(response.data, path) if path else response.data
    if items is None:
        return []
    if not isinstance(items, list):
        raise CarrickUsageError(
            f"ctx.paginate() found {type(items).__name__} instead of a list at "
            f"{path or 'the top of the answer'}. Set response_path."
        )
    return items


def _need(config: Mapping[str, Any], name: str) -> str:
    value = config.get(name)
    if not value:
        raise CarrickUsageError(f"ctx.paginate() with type {config.get('type')!r} needs {name}.")
    return str(value)
