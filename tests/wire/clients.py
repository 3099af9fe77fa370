"""The official clients as a test talks to them: one in a node process, one in a browser page."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from playwright.async_api import Page
from yarl import URL

HERE = Path(__file__).parent
PACKAGES = HERE / "node_modules" / "@nangohq"
#: Seconds a client may take over one method.
PATIENCE_S = 30.0
_OF_THE_HOP = frozenset({"connection", "host", "keep-alive", "transfer-encoding"})


def missing_clients() -> str | None:
    """Return why the official clients cannot be used here, if so."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (PACKAGES / "node").exists() or not (PACKAGES / "frontend").exists():
        return "the official clients are not installed: `make wire` does that"
    return None


class ClientError(Exception):
    """A client threw; of the node client's errors, the answer that axios made one of."""

    def __init__(self, error: dict[str, Any]) -> None:
        self.name: str = error.get("name", "")
        self.message: str = error["message"]
        self.status: int | None = error.get("status")
        self.data: Any = error.get("data")
        #: The browser client's kind of error.
        self.type: str | None = error.get("type")
        self.is_auth_error: bool = error.get("isAuthError", False)
        super().__init__(f"{self.name or self.type}: {self.message} {self.data or ''}")

    @property
    def code(self) -> str:
        """The code of the error that the server answered with."""
        return str(self.data["error"]["code"])


@dataclass
class NodeClient:
    """An `@nangohq/node` client in a process of its own."""

    process: asyncio.subprocess.Process

    async def call(self, method: str, *args: Any) -> Any:
        """Call a method and return what its promise came to; `None` leaves an argument out.

        Raises:
            ClientError: It threw.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(_line({"method": method, "args": args}))
        async with asyncio.timeout(PATIENCE_S):
            outcome = json.loads(await self.process.stdout.readline())
        return _value(outcome)


@contextlib.asynccontextmanager
async def node_client(host: str, secret_key: str, **options: Any) -> AsyncIterator[NodeClient]:
    """Run a node client that differs from its documentation's example in `host` alone."""
    node = shutil.which("node")
    assert node is not None
    process = await asyncio.create_subprocess_exec(
        *(node, HERE / "node_client.mjs"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=16 * 1024 * 1024,
    )
    assert process.stdin is not None
    process.stdin.write(_line({"host": host, "secretKey": secret_key, **options}))
    try:
        yield NodeClient(process)
    finally:
        process.stdin.close()
        await process.wait()


@dataclass
class BrowserClient:
    """An `@nangohq/frontend` client in a page."""

    page: Page
    host: str

    async def call(self, token: str | None, method: str, *args: Any, **options: Any) -> Any:
        """Call a method with a connect session's token and return what its promise came to.

        Raises:
            ClientError: It threw.
        """
        given = {"host": self.host, "connectSessionToken": token, **options}
        asked = {"options": given, "method": method, "args": args}
        async with asyncio.timeout(PATIENCE_S):
            return _value(await self.page.evaluate("asked => window.ask(asked)", asked))


@contextlib.asynccontextmanager
async def page_served() -> AsyncIterator[str]:
    """Serve the page that uses the frontend client, from an origin of its own; yield its address.

    The package is plain modules that import each other by relative paths, so it needs no bundler.
    """

    async def page(request: web.Request) -> web.FileResponse:
        return web.FileResponse(HERE / "page.html")

    application = web.Application()
    application.router.add_get("/", page)
    application.router.add_static("/client", PACKAGES / "frontend" / "dist")
    async with _listening(application) as url:
        yield url


@dataclass
class Front:
    """A web server in front of Carrick that serves it under a path, as an ingress does."""

    prefix: str
    url: str = ""
    #: Set once the server behind it runs.
    behind: str = ""


@contextlib.asynccontextmanager
async def front_served(prefix: str) -> AsyncIterator[Front]:
    """Serve whatever `behind` names under a path."""
    front = Front(prefix)

    async def pass_on(request: web.Request) -> web.StreamResponse:
        path = request.raw_path.removeprefix(prefix)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            async with http.ws_connect(URL(front.behind + path, encoded=True)) as behind:
                return await _join(request, behind)
        headers = _of_message(request.headers.items())
        async with http.request(
            request.method,
            URL(front.behind + path, encoded=True),
            headers=headers,
            data=await request.read() or None,
            skip_auto_headers=("Content-Type",),
            allow_redirects=False,
        ) as answer:
            content = await answer.read()
            return web.Response(
                status=answer.status, headers=_of_message(answer.headers.items()), body=content
            )

    application = web.Application()
    application.router.add_route("*", prefix + "/{path:.*}", pass_on)
    async with (
        aiohttp.ClientSession(auto_decompress=False) as http,
        _listening(application) as url,
    ):
        front.url = url + prefix
        yield front


async def _join(
    request: web.Request, behind: aiohttp.ClientWebSocketResponse
) -> web.WebSocketResponse:
    """Pass texts on between two sockets until either ends."""
    before = web.WebSocketResponse()
    await before.prepare(request)

    async def inwards() -> None:
        async for message in before:
            await behind.send_str(message.data)

    async def outwards() -> None:
        async for message in behind:
            await before.send_str(message.data)

    passing = [asyncio.create_task(inwards()), asyncio.create_task(outwards())]
    try:
        await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in passing:
            each.cancel()
    await before.close()
    return before


@contextlib.asynccontextmanager
async def _listening(application: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _of_message(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() not in _OF_THE_HOP}


def _line(content: Any) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _value(outcome: dict[str, Any]) -> Any:
    if "error" in outcome:
        raise ClientError(outcome["error"])
    return outcome.get("value")
