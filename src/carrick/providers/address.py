"""Where a value stands in a URL, and what it must be to stand there.

Input that reaches an address decides which server receives credentials. What lands in scheme,
host or port is checked and inserted as it is; what lands in path or query is percent-encoded.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from urllib.parse import quote, urlsplit

from carrick.errors import InvalidConnectionConfig

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_WANTED = "must be a full http(s) URL such as https://example.com"
_AUTHORITY_ENDS = re.compile(r"[/?#]")


class Place(Enum):
    """The part of a URL a placeholder stands in."""

    BASE = "a full http(s) URL"
    SCHEME = "http or https"
    HOST = "a host name"
    WHOLE_HOST = "a host name or address"
    PORT = "a port number"
    PATH = "one segment of a path"
    QUERY = "a value in a query"
    AMBIGUOUS = "nothing at all"


def places(parts: Sequence[str | None]) -> tuple[Place, ...]:
    """Return the place of every placeholder (`None`) among the parts of a URL template."""
    found: list[Place] = []
    before = ""
    for index, part in enumerate(parts):
        if part is None:
            found.append(_place(before, _text_after(parts, index)))
            before += "\0"
        else:
            before += part
    return tuple(found)


def _text_after(parts: Sequence[str | None], index: int) -> str:
    return "".join("\0" if part is None else part for part in parts[index + 1 :])


def _place(before: str, after: str) -> Place:
    if before == "":
        return _first_place(after)
    scheme, separator, rest = before.partition("://")
    if not separator or _AUTHORITY_ENDS.search(scheme):
        is_glued = before.startswith("\0") and not _AUTHORITY_ENDS.search(before)
        return Place.AMBIGUOUS if is_glued else _after_authority(before)
    if _AUTHORITY_ENDS.search(rest):
        return _after_authority(rest)
    return _place_in_authority(rest, _AUTHORITY_ENDS.split(after, maxsplit=1)[0])


def _first_place(after: str) -> Place:
    if after.startswith("://"):
        return Place.SCHEME
    return Place.BASE if after == "" or after[0] in "/?#" else Place.AMBIGUOUS


def _place_in_authority(before: str, after: str) -> Place:
    if "@" in before + after:
        return Place.AMBIGUOUS
    if before.endswith(":"):
        return Place.PORT
    alone = before == "" and (after == "" or after.startswith(":"))
    return Place.WHOLE_HOST if alone else Place.HOST


def _after_authority(before: str) -> Place:
    return Place.QUERY if "?" in before or "#" in before else Place.PATH


def insert(value: str, place: Place, *, name: str) -> str:
    """Return a value as it goes into that place of a URL.

    Raises:
        InvalidConnectionConfig: The value is not what may stand there.
    """
    check(value, place, name=name)
    if place in (Place.PATH, Place.QUERY):
        return quote(value, safe="")
    return value.rstrip("/") if place is Place.BASE else value


def check(value: str, place: Place, *, name: str) -> None:
    """Refuse a value that may not stand in that place of a URL.

    Raises:
        InvalidConnectionConfig: The message names the value and what it must be.
    """
    fault = _fault(value, place)
    if fault:
        raise InvalidConnectionConfig(
            f"{name} {fault}",
            issues=[{"code": "custom", "message": fault, "path": name.split(".")}],
        )


def _fault(value: str, place: Place) -> str | None:
    return _FAULTS[place](value)


def _fault_of_scheme(value: str) -> str | None:
    return None if value in ("http", "https") else "must be http or https"


def _fault_of_port(value: str) -> str | None:
    valid = value.isascii() and value.isdigit() and 0 < int(value[:6]) < 65536
    return None if valid else "must be a port number"


def _fault_of_host(value: str) -> str | None:
    valid = len(value) <= 253 and _HOST.fullmatch(value) is not None
    return None if valid else "must be a host name: letters, digits, hyphens and dots only"


def _fault_of_whole_host(value: str) -> str | None:
    return None if is_address(value) else _fault_of_host(value)


def _fault_of_segment(value: str) -> str | None:
    return "must not be . or .." if value in (".", "..") else None


def _no_fault(_: str) -> str | None:
    return None


def _always_a_fault(_: str) -> str | None:
    return "stands where no value may stand in this URL"


def is_address(value: str) -> bool:
    """Whether a host is an IP address as a URL writes it: IPv6 in brackets."""
    text = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return False
    return (parsed.version == 6) == value.startswith("[") and "%" not in text


def is_host(value: str) -> bool:
    """Whether a value is a host name or an IP address, without scheme, port or path."""
    return _fault(value, Place.WHOLE_HOST) is None


def fault_of_url(value: str) -> str | None:
    """Say why a value is not a URL credentials may be sent under; `None` when it is one."""
    if _FORBIDDEN.search(value) or not value.isascii():
        return f"{_WANTED}, without spaces, control characters or backslashes"
    if "@" in value or "?" in value or "#" in value:
        return f"{_WANTED}, without @, ? or #"
    return None if _has_origin(value) else _WANTED


def _has_origin(value: str) -> bool:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return parts.scheme in ("http", "https") and is_host(host) and port != 0


_FAULTS: Mapping[Place, Callable[[str], str | None]] = {
    Place.BASE: fault_of_url,
    Place.SCHEME: _fault_of_scheme,
    Place.HOST: _fault_of_host,
    Place.WHOLE_HOST: _fault_of_whole_host,
    Place.PORT: _fault_of_port,
    Place.PATH: _fault_of_segment,
    Place.QUERY: _no_fault,
    Place.AMBIGUOUS: _always_a_fault,
}
