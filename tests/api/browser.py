"""A person with a browser in front of a popup, and what its pages and its socket say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from tests.api.asking import Answer
from tests.api.conftest import Desk

from carrick.api.popups import Waiting
from carrick.testing.fake_provider import Account

CALLBACK = "https://carrick.example/oauth/callback"


@dataclass
class Browser:
    """A person with a popup: cookies, a socket that waits, and the pages that were shown."""

    desk: Desk
    waiting: Waiting
    cookies: dict[str, str] = field(default_factory=dict)

    async def begin(self, token: str | None, key: str = "oauth", **query: str) -> Answer:
        """Open the popup."""
        given = {"ws_client_id": self.waiting.id, **query}
        if token is not None:
            given["connect_session_token"] = token
        return await self.get(f"/oauth/connect/{quote(key)}?{urlencode(given)}")

    async def consent(self, location: str, account: Account | None = None) -> str:
        """Consent at the provider and return the query string the callback gets."""
        hint = f"&login_hint={quote(account.name)}" if account is not None else ""
        async with (
            aiohttp.ClientSession() as http,
            http.get(location + hint, allow_redirects=False) as answer,
        ):
            assert answer.status == 302, await answer.text()
            back = answer.headers["Location"]
        assert back.startswith(f"{CALLBACK}?")
        return urlsplit(back).query

    async def come_back(self, query: str, path: str = "/oauth/callback") -> Answer:
        """Follow the provider's redirect to the callback."""
        return await self.get(f"{path}?{query}")

    async def get(self, target: str, method: str = "GET") -> Answer:
        """Ask for an address, cookies included."""
        jar = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"cookie": jar} if jar else {}
        answer = await self.desk.ask(method, target, key=None, headers=headers)
        if "set-cookie" in answer.headers:
            name, _, value = answer.headers["set-cookie"].partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    @property
    def frame(self) -> dict[str, Any] | None:
        """What the socket was told."""
        told = self.waiting.frame
        return json.loads(told.result()) if told.done() else None


def message_of(page: Answer) -> Mapping[str, Any]:
    """Return what a page posts to the window that opened it."""
    assert page.headers["content-type"].startswith("text/html")
    match = re.search(rb"const message = (.*);", page.body)
    assert match is not None
    message: Mapping[str, Any] = json.loads(match[1])
    return message


async def count(desk: Desk) -> int:
    """Return how many connections there are."""
    return len((await desk.ask("GET", "/connections")).json["connections"])


async def went_wrong(
    browser: Browser, page: Answer, error_type: str, key: str = "oauth", left: int = 0
) -> str:
    """Check that page and frame tell of an error, that nothing is left, and return the message."""
    assert page.status == 400, page.body
    frame = browser.frame
    assert frame is not None
    assert (frame["message_type"], frame["error_type"]) == ("error", error_type), frame
    assert frame["provider_config_key"] == key
    assert message_of(page)["payload"]["errorType"] == error_type
    assert await count(browser.desk) == left
    return str(frame["error_desc"])
