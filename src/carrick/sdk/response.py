"""A provider's answer as authors read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from carrick.sdk.placeholder import Placeholder

ResponseType: TypeAlias = Literal["json", "text", "bytes"]


class Response:
    """What came back: `status`, `headers` with lower-case names, and the body in three forms."""

    __slots__ = (
        "_data",
        "content",
        "endpoint",
        "headers",
        "method",
        "response_type",
        "status",
        "withheld",
    )

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        *,
        response_type: ResponseType | None = None,
        method: str = "",
        endpoint: str = "",
        withheld: str | None = None,
    ) -> None:
        """Build it.

        Args:
            status: The HTTP status.
            headers: Names in any case.
            content: The whole body.
            response_type: How `data` reads the body; found out from the body itself by default.
            method: The call that was answered, for messages.
            endpoint: Where it was sent, for messages.
            withheld: The write that a dry run did not send, e.g. `POST /webhooks`.
        """
        self.status = status
        self.headers = {name.lower(): value for name, value in (headers or {}).items()}
        self.content = content
        self.response_type = response_type
        self.method = method
        self.endpoint = endpoint
        self.withheld = withheld
        self._data = self._parse()

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def data(self) -> Any:
        """The body, parsed if it is JSON, else its text; `None` when it is empty."""
        return self._data

    @property
    def text(self) -> str:
        """The body as text; bytes that are not valid are replaced."""
        if self.withheld is not None:
            return str(self._data)
        return self.content.decode(_charset(self.headers), errors="replace")

    def json(self) -> Any:
        """Return the parsed body.

        Raises:
            ValueError: The body is not JSON.
        """
        return self._data if self.withheld is not None else json.loads(self.content)

    def _parse(self) -> Any:
        if self.withheld is not None:
            return Placeholder(self.withheld)
        if self.response_type == "bytes":
            return self.content
        if self.response_type == "text":
            return self.text
        if not self.content.strip():
            return None
        if self.response_type == "json" and self.ok:
            return self.json()
        return self._guess()

    def _guess(self) -> Any:
        # Text that merely looks like a number stays text unless the provider calls it JSON.
        is_json = "json" in self.headers.get("content-type", "").lower()
        if is_json or self.content.lstrip()[:1] in (b"{", b"["):
            try:
                return json.loads(self.content)
            except (ValueError, RecursionError):
                pass
        return self.text

    def __repr__(self) -> str:
        return f"<Response {self.status}, {len(self.content)} bytes>"


def _charset(headers: Mapping[str, str]) -> str:
    _, _, charset = headers.get("content-type", "").lower().partition("charset=")
    name = charset.partition(";")[0].strip(" \"'") or "utf-8"
    try:
        "".encode(name)
    except (LookupError, ValueError):
        return "utf-8"
    return name
