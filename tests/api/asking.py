"""A client that talks to the ASGI app without a socket, in the bytes a server would hand over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The parsed body."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the error in it."""
        return str(self.json["error"]["code"])


@dataclass
class Asking:
    """Sends requests to an app, with one API key unless another is given."""

    app: Any
    key: str | None = None
    sent: list[bytes] = field(default_factory=list)

    async def __call__(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        key: str | None = "",
        headers: Mapping[str, str] | None = None,
        raw: bytes | AsyncIterator[bytes] | None = None,
    ) -> Answer:
        """Send a request; `body` goes as JSON, `raw` as it is."""
        given = {name.lower(): value for name, value in (headers or {}).items()}
        key = self.key if key == "" else key
        if key is not None:
            given.setdefault("authorization", f"Bearer {key}")
        if body is not None:
            raw = json.dumps(body).encode()
            given.setdefault("content-type", "application/json")
        return await self._exchange(_scope(method, target, given), _chunks(raw))

    async def _exchange(self, scope: dict[str, Any], chunks: AsyncIterator[bytes]) -> Answer:
        started: dict[str, Any] = {}
        body = bytearray()
        gone = asyncio.Event()
        ended = False

        async def receive() -> dict[str, Any]:
            nonlocal ended
            if ended:
                await gone.wait()
                return {"type": "http.disconnect"}
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                ended = True
                return {"type": "http.request", "body": b"", "more_body": False}
            self.sent.append(chunk)
            return {"type": "http.request", "body": chunk, "more_body": True}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                started.update(message)
            else:
                body.extend(message.get("body", b""))

        await self.app(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in started["headers"]}
        return Answer(started["status"], headers, bytes(body))


def _scope(method: str, target: str, headers: Mapping[str, str]) -> dict[str, Any]:
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 3003),
        "state": {},
    }


async def _chunks(raw: bytes | AsyncIterator[bytes] | None) -> AsyncIterator[bytes]:
    if isinstance(raw, bytes):
        yield raw
    elif raw is not None:
        async for chunk in raw:
            yield chunk
