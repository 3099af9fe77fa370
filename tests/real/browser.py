"""A person at a browser: cookies are kept, redirects followed, forms filled in and sent."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser

import aiohttp
from yarl import URL

_MOST_REDIRECTS = 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass
class Form:
    """A form as it stands on a page."""

    action: str
    fields: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """What the browser shows."""

    url: URL
    status: int
    html: str
    forms: list[Form]
    #: Addresses by the text one clicks.
    links: dict[str, str]


class Browser:
    """One person's browser. Its cookies are as good for one port of a host as for another."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def open(self, url: str | URL, divert: Callable[[URL], URL] | None = None) -> Page:
        """Go to an address and wherever it leads.

        Args:
            url: The address.
            divert: Told of every redirect, and returns where to go instead.
        """
        return await self._follow("GET", URL(url), None, divert)

    async def submit(self, page: Page, **filled: str) -> Page:
        """Fill in the page's only form and send it; what is not named stays as it is."""
        [form] = page.forms
        names = {name for name, _ in form.fields}
        assert names >= filled.keys(), f"{filled.keys() - names} not on the form of {page.url}"
        values = [(name, filled.get(name, value)) for name, value in form.fields]
        return await self._follow("POST", page.url.join(URL(form.action)), values, None)

    async def click(self, page: Page, text: str) -> Page:
        """Follow a link."""
        return await self.open(page.url.join(URL(page.links[text])))

    async def _follow(
        self,
        method: str,
        url: URL,
        values: list[tuple[str, str]] | None,
        divert: Callable[[URL], URL] | None,
    ) -> Page:
        for _ in range(_MOST_REDIRECTS):
            async with self._http.request(method, url, data=values, allow_redirects=False) as got:
                if got.status not in _REDIRECTS:
                    return _read(url, got.status, await got.text())
                target = url.join(URL(got.headers["Location"], encoded=True))
            url = divert(target) if divert else target
            method, values = "GET", None
        raise AssertionError(f"redirected for ever: {url}")


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Open a browser that has been nowhere yet."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        yield Browser(http)


def _read(url: URL, status: int, html: str) -> Page:
    reader = _Reader()
    reader.feed(html)
    return Page(url, status, html, reader.forms, reader.links)


class _Reader(HTMLParser):
    """Finds the forms that are sent by POST, and the links."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: dict[str, str] = {}
        self._form: Form | None = None
        self._link: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and given.get("method", "").lower() == "post":
            self._form = Form(given.get("action", ""))
            self.forms.append(self._form)
        elif tag == "input" and self._form is not None and "disabled" not in given:
            if name := given.get("name"):
                self._form.fields.append((name, given.get("value", "")))
        elif tag == "a":
            self._link = given.get("href")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        elif tag == "a":
            self._link = None

    def handle_data(self, data: str) -> None:
        if self._link is not None and (text := data.strip()):
            self.links[text] = self._link
