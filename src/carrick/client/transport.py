"""How requests of the client are sent, and what comes back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from carrick.client.answers import read, unanswered
from carrick.errors import InvalidPath
from carrick.model.json import JSONObject

#: Seconds to wait for a connection, and for an answer that includes running functions.
_CONNECT_TIMEOUT_S = 5.0
_ANSWER_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Answer:
    """What came back, as it came."""

    status: int
    #: By names in lower case.
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """Return the body, parsed.

        Raises:
            ValueError: It is no JSON.
        """
        return json.loads(self.content)


class Transport:
    """Sends requests with one API key."""

    def __init__(self, server_url: str, secret_key: str | None = None) -> None:
        """Build the client; nothing is sent yet.

        Args:
            server_url: Where the server is, e.g. `http://127.0.0.1:3003`.
            secret_key: The environment's API key; only `health` works without one.
        """
        self.server_url = server_url.rstrip("/")
        self._secret_key = secret_key
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connections to the server."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _listed(
        self, path: str, filters: Mapping[str, str | None] | None = None, *, limit: int
    ) -> list[JSONObject]:
        return [row async for row in self._pages(path, filters or {}, limit)]

    async def _pages(
        self, path: str, filters: Mapping[str, str | None], limit: int
    ) -> AsyncIterator[JSONObject]:
        cursor: str | None = None
        while limit > 0:
            query = {**filters, "limit": str(min(limit, 100)), "cursor": cursor}
            answer = await self._call("GET", path, query=query)
            for row in answer["data"]:
                yield row
            limit -= len(answer["data"])
            cursor = answer.get("next_cursor")
            if not cursor or not answer["data"]:
                return

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str | None] | None = None,
        timeout_s: float = _ANSWER_TIMEOUT_S,
    ) -> Any:
        answer = await self._send(method, path, body, query=query, timeout_s=timeout_s)
        return read(answer.status, answer.content)

    async def _send(
        self,
        method: str,
        path: str,
        data: bytes | Mapping[str, Any] | Sequence[Any] | None = None,
        *,
        query: Mapping[str, str | None] | None = None,
        headers: Mapping[str, str | None] | None = None,
        timeout_s: float = _ANSWER_TIMEOUT_S,
    ) -> Answer:
        sent = {"Accept": "application/json", **given(headers or {})}
        if self._secret_key:
            sent["Authorization"] = f"Bearer {self._secret_key}"
        is_raw = isinstance(data, bytes)
        try:
            async with self._http().request(
                method,
                f"{self.server_url}{path}",
                params=given(query or {}),
                data=data if is_raw else None,
                json=None if is_raw else data,
                headers=sent,
                timeout=aiohttp.ClientTimeout(total=timeout_s, connect=_CONNECT_TIMEOUT_S),
                allow_redirects=False,  # the key goes to the server that was named, nowhere else
            ) as answer:
                told = {name.lower(): value for name, value in answer.headers.items()}
                return Answer(answer.status, told, await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise unanswered(self.server_url, method, error) from error

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what was not given."""
    return {name: value for name, value in fields.items() if value is not None}


def data_of(answer: Any) -> JSONObject:
    """Take what a route answered out of its `data` envelope, where it has one."""
    if isinstance(answer, dict) and isinstance(answer.get("data"), dict):
        return dict(answer["data"])
    return dict(answer)


def part(text: str) -> str:
    """Return an id as a part of a path.

    Raises:
        InvalidPath: It would not be a part: the path would be another one, of another route.
    """
    if text in ("", ".", ".."):
        raise InvalidPath(f'"{text}" is no id.')
    return quote(text, safe="")
