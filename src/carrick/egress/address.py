"""Addresses and headers as they go out: what may be asked for, and what survives a redirect."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import replace

from yarl import URL

from carrick.errors import EgressDenied, InvalidHeaders
from carrick.model.http import OutboundRequest

#: Already what goes on the wire: parsing and quoting it again could change a signed path.
_WIRE_READY = re.compile(r"[!#-;=?-\[\]_a-z~]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: Names as they are looked up (IDNA-encoded by now) and addresses, without the brackets.
_HOST = re.compile(r"[A-Za-z0-9._:%-]+")
#: A host that ends in a number is an address, in one of many spellings; only one is understood.
_NUMBER = re.compile(r"(?:[^:]*\.)?(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?")
_LINE_END = re.compile(r"[\r\n\x00]")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
#: Set by the connection itself; a caller's own would make two readings of one request possible.
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
#: All that may follow a redirect to another origin: providers take keys in headers of any name.
_KEPT_ACROSS_ORIGINS = frozenset(
    {"accept", "accept-language", "content-type", "content-language", "range", "user-agent"}
)
_DESCRIBE_BODY = frozenset({"content-type", "content-language", "content-encoding"})


def read_address(text: str) -> URL:
    """Parse an address.

    Raises:
        EgressDenied: It is not a complete http or https address.
    """
    try:
        if _CONTROL.search(text):
            raise ValueError("control characters")
        url = URL(text, encoded=_WIRE_READY.fullmatch(text) is not None)
        host = url.raw_host or ""
        host_fits = _HOST.fullmatch(host) is not None
        if _NUMBER.fullmatch(host):
            ipaddress.IPv4Address(host)
        valid = url.scheme in ("http", "https") and host_fits and url.port != 0
    except ValueError as error:
        raise EgressDenied("This is not a valid address.") from error
    if not valid:
        raise EgressDenied("Only complete http and https addresses may be called.")
    return url


def prepared(
    request: OutboundRequest, defaults: Mapping[str, str], *, encodings: str | None = None
) -> tuple[URL, OutboundRequest]:
    """Check a request and return it as it goes out, with its address parsed.

    Args:
        request: What is to be sent.
        defaults: Headers that are sent unless the request has its own, by lower-case name.
        encodings: The encodings that are asked for, whatever the request says.

    Raises:
        EgressDenied: The address is none that may be called.
        InvalidHeaders: A method or header would end its line early.
    """
    if not _TOKEN.fullmatch(request.method):
        raise InvalidHeaders("The method is not valid.")
    url = read_address(request.url)
    headers: dict[str, str] = {}
    missing = dict(defaults)
    if encodings is not None:
        missing["accept-encoding"] = encodings
    for name, value in request.headers.items():
        if not _TOKEN.fullmatch(name) or _LINE_END.search(value):
            raise InvalidHeaders(f"The header {name[:50]!r} is not valid.")
        lowered = name.lower()
        if lowered in _HOP_BY_HOP or (encodings is not None and lowered == "accept-encoding"):
            continue
        headers[name] = value
        missing.pop(lowered, None)
    headers |= missing
    if url.raw_user is not None or url.raw_password is not None:
        if not any(name.lower() == "authorization" for name in headers):
            pair = f"{url.user or ''}:{url.password or ''}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        url = url.with_user(None)
    return url, replace(request, method=request.method.upper(), headers=headers)


def redirected(
    url: URL, request: OutboundRequest, status: int, location: str
) -> tuple[URL, OutboundRequest]:
    """Return where a redirect leads and what is asked there, by the rules of fetch.

    Another origin gets nothing that could be a credential.

    Raises:
        EgressDenied: The new address is none that may be called.
    """
    try:
        target = read_address(str(url.join(URL(location))))
    except ValueError as error:
        raise EgressDenied("The redirect does not lead to a valid address.") from error
    target = target.with_user(None)
    method, body, headers = request.method, request.body, dict(request.headers)
    becomes_get = (status in (301, 302) and method == "POST") or (
        status == 303 and method not in ("GET", "HEAD")
    )
    if becomes_get:
        method, body = "GET", None
        headers = {k: v for k, v in headers.items() if k.lower() not in _DESCRIBE_BODY}
    if target.origin() != url.origin():
        headers = {k: v for k, v in headers.items() if k.lower() in _KEPT_ACROSS_ORIGINS}
        request = replace(request, client_certificate=None)
    return target, replace(request, method=method, body=body, headers=headers)
