"""From what an author writes to a request as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypedDict
from urllib.parse import urlencode

from carrick.sdk.errors import CarrickUsageError
from carrick.sdk.plain import to_json
from carrick.sdk.response import ResponseType

Scalar: TypeAlias = str | int | float | bool | None
Params: TypeAlias = Mapping[str, Scalar | Sequence[Scalar]]

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_BODIES = ("data", "json", "form")


class ReadOptions(TypedDict, total=False):
    """How a call without a body is made."""

    #: Query parameters; a list repeats the name, `None` leaves it out.
    params: Params | None
    headers: Mapping[str, str] | None
    #: How often the host tries again when the provider is unreachable, ill or throttles.
    retries: int
    #: Further statuses after which to try again.
    retry_on: Sequence[int]
    #: Another of the provider's own addresses.
    base_url_override: str | None
    #: How `data` reads the answer.
    response_type: ResponseType | None


class CallOptions(ReadOptions, total=False):
    """How a call with a body is made: one of `data`, `json`, `form`."""

    #: A dict, list or pydantic model is sent as JSON, text and bytes as they are.
    data: Any
    #: The same as `data`.
    json: Any
    #: Sent urlencoded.
    form: Mapping[str, Scalar | Sequence[Scalar]]


_OPTIONS = frozenset(CallOptions.__annotations__) | frozenset(ReadOptions.__annotations__)


def build_request(
    kind: str, method: str, endpoint: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a request as the host takes it.

    Raises:
        CarrickUsageError: An option does not exist or does not fit; the message says which.
    """
    method = method.upper()
    if method not in METHODS:
        raise CarrickUsageError(f"There is no method {method!r}. Use one of {_list(METHODS)}.")
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise CarrickUsageError(
            f"ctx.{method.lower()}() takes no {unknown[0]!r}. It takes {_list(_OPTIONS)}."
        )
    headers = _headers(options.get("headers"))
    body, content_type = _body(options)
    if any(name.lower() == "content-type" for name in headers):
        content_type = None
    return {
        "kind": kind,
        "method": method,
        "endpoint": str(endpoint),
        "params": flatten(options.get("params"), "params"),
        "headers": headers,
        "body": body,
        "content_type": content_type,
        "retries": int(options.get("retries") or 0),
        "retry_on": [int(status) for status in options.get("retry_on") or ()],
        "base_url_override": options.get("base_url_override"),
    }


def flatten(params: Any, what: str) -> dict[str, str | list[str]]:
    """Return query or form fields as text: booleans in JSON's words, `None` left out.

    Raises:
        CarrickUsageError: It is not a mapping.
    """
    if params is None:
        return {}
    if not isinstance(params, Mapping):
        raise CarrickUsageError(f"{what} must be a dict, not {type(params).__name__}.")
    flat: dict[str, str | list[str]] = {}
    for name, value in params.items():
        if isinstance(value, list | tuple | set | frozenset):
            items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
            flat[str(name)] = [_text(item) for item in items if item is not None]
        elif value is not None:
            flat[str(name)] = _text(value)
    return flat


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _headers(headers: Any) -> dict[str, str]:
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise CarrickUsageError(f"headers must be a dict, not {type(headers).__name__}.")
    return {str(name): _text(value) for name, value in headers.items() if value is not None}


def _body(options: Mapping[str, Any]) -> tuple[bytes | None, str | None]:
    given = [name for name in _BODIES if options.get(name) is not None]
    if len(given) > 1:
        raise CarrickUsageError(f"A call has one body: give {given[0]} or {given[1]}, not both.")
    if not given:
        return None, None
    value = options[given[0]]
    if given[0] == "form":
        return urlencode(flatten(value, "form"), doseq=True).encode(), (
            "application/x-www-form-urlencoded"
        )
    if given[0] == "data" and isinstance(value, bytes | bytearray | memoryview):
        return bytes(value), None
    if given[0] == "data" and isinstance(value, str):
        return value.encode(), None
    return to_json(value, "The body").encode(), "application/json"


def _list(names: Any) -> str:
    return ", ".join(sorted(names))
