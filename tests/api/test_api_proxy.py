"""Calls to a provider through `/proxy/`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from tests.api.conftest import Desk

from carrick.store import connections as rows
from carrick.store.unit import Tx

STEER = {"provider-config-key": "acme", "connection-id": "one"}


class Upstream:
    """A provider that says back what it was asked, on loopback."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        body = await request.read()
        self.seen.append(
            {
                "method": request.method,
                "target": request.raw_path,
                "headers": dict(request.headers),
                "body": body,
            }
        )
        if request.path.startswith("/status/"):
            return web.Response(
                status=int(request.path.rsplit("/", 1)[-1]),
                text="<b>no</b>",
                content_type="text/html",
                headers={"X-Their": "1"},
            )
        if request.path == "/headers":
            headers = {
                "Set-Cookie": "a=b",
                "Access-Control-Allow-Origin": "https://evil.example",
                "Content-Security-Policy": "script-src *",
                "X-Request-Id": "42",
            }
            return web.Response(status=201, text="made", headers=headers)
        if request.path == "/stream":
            streamed = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await streamed.prepare(request)
            for _ in range(3):
                await streamed.write(b"x" * 100_000)
            await streamed.write_eof()
            return streamed
        return web.json_response({"ok": True})


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """Serve it."""
    found = Upstream()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    found.url = f"http://127.0.0.1:{port}"
    yield found
    await runner.cleanup()


async def point(desk: Desk, base_url: str) -> None:
    """Let the one connection there is talk to another address, whatever is behind it."""
    row_id = (await desk.ask("GET", "/connections")).json["connections"][0]["id"]

    async def unit(tx: Tx) -> None:
        await rows.change(tx, row_id, {"connection_config": {"base_url": base_url}})

    await desk.app.rooms.store.write(unit)


@pytest.fixture
async def call(desk: Desk, upstream: Upstream) -> Any:
    """Call through the proxy, for a connection whose base URL is the upstream."""
    await desk.connected()
    await point(desk, upstream.url)

    async def ask(method: str, target: str, body: Any = None, **options: Any) -> Any:
        headers = {**STEER, **options.pop("headers", {})}
        return await desk.ask(method, target, body, headers=headers, **options)

    return ask


@pytest.mark.parametrize(
    "method", ["GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "REPORT", "HEAD"]
)
async def test_every_method_goes_through(call: Any, upstream: Upstream, method: str) -> None:
    """Path and query arrive as they were sent, with the connection's credentials."""
    answer = await call(method, "/proxy/v1/a%20b/c%2Fd/?x=1&y[z]=2&q=a+b")
    assert answer.status == 200
    seen = upstream.seen[-1]
    assert seen["method"] == method
    assert seen["target"] == "/v1/a%20b/c%2Fd/?x=1&y[z]=2&q=a+b"
    assert "key-" in seen["headers"]["Authorization"]


async def test_only_prefixed_headers_and_the_body_go_upstream(
    call: Any, upstream: Upstream
) -> None:
    """`Nango-Proxy-X: v` becomes `X: v`; our own key and the steering headers stay here."""
    headers = {
        "nango-proxy-x-custom": "1",
        "x-private": "2",
        "base-url-override": "",
        "nango-activity-log-id": "",
        "cookie": "a=b",
    }
    body = {"a": 1}
    answer = await call("POST", "/proxy/items", body, headers=headers)
    assert answer.status == 200
    seen = upstream.seen[-1]
    lowered = {name.lower(): value for name, value in seen["headers"].items()}
    assert lowered["x-custom"] == "1"
    assert lowered["content-type"] == "application/json"
    assert json.loads(seen["body"]) == body
    for absent in ("x-private", "cookie", "provider-config-key", "connection-id"):
        assert absent not in lowered
    assert "3c2f8a56" not in str(lowered)


async def test_a_body_of_any_type_arrives_byte_by_byte(call: Any, upstream: Upstream) -> None:
    """Not only JSON: `/proxy` has no rule about content types."""
    raw = bytes(range(256)) * 10
    answer = await call("PUT", "/proxy/blob", raw=raw, headers={"content-type": "image/png"})
    assert answer.status == 200
    assert upstream.seen[-1]["body"] == raw
    assert upstream.seen[-1]["headers"]["Content-Type"] == "image/png"


async def test_the_providers_answer_comes_back_as_it_is(call: Any, upstream: Upstream) -> None:
    """Status, headers and body are the provider's; cookies and policies are not passed on."""
    answer = await call("GET", "/proxy/status/404")
    assert (answer.status, answer.body) == (404, b"<b>no</b>")
    assert answer.headers["x-their"] == "1"
    assert answer.headers["content-type"].startswith("text/html")
    answer = await call("GET", "/proxy/headers")
    assert (answer.status, answer.body) == (201, b"made")
    assert answer.headers["x-request-id"] == "42"
    assert "set-cookie" not in answer.headers
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    answer = await call("GET", "/proxy/stream")
    assert len(answer.body) == 300_000


async def test_a_call_that_cannot_be_steered_says_what_is_missing(desk: Desk) -> None:
    """Headers are checked first, then integration, then connection."""
    answer = await desk.ask("GET", "/proxy/x")
    assert (answer.status, answer.code) == (400, "invalid_headers")
    paths = [each["path"] for each in answer.json["error"]["errors"]]
    assert paths == [["provider-config-key"], ["connection-id"]]
    for change, status, code in (
        ({"retries": "many"}, 400, "invalid_headers"),
        ({"retry-on": "5xx"}, 400, "invalid_headers"),
        ({"base-url-override": "ftp://x"}, 400, "invalid_headers"),
        ({"decompress": "perhaps"}, 400, "invalid_headers"),
        ({"provider-config-key": "nope"}, 404, "unknown_provider_config"),
        ({"connection-id": "nobody"}, 400, "server_error"),
    ):
        answer = await desk.ask("GET", "/proxy/x", headers={**STEER, **change})
        assert (answer.status, answer.code) == (status, code), change


async def test_credentials_go_to_the_providers_own_hosts_only(call: Any) -> None:
    """Another address needs permission on the integration."""
    answer = await call("GET", "/proxy/x", headers={"base-url-override": "https://evil.example"})
    assert (answer.status, answer.code) == (400, "base_url_override_not_allowed")


async def test_a_provider_that_does_not_answer_is_told_flat_and_in_the_envelope(
    desk: Desk, call: Any, upstream: Upstream
) -> None:
    """500 with `message`, `code`, `status` and `method` beside the usual `error`."""
    await point(desk, "http://127.0.0.1:1")
    answer = await call("GET", "/proxy/x")
    assert answer.status == 500
    assert answer.json["code"] == answer.code == "provider_unreachable"
    assert answer.json["method"] == "GET"


async def test_every_call_is_an_operation_without_its_query(desk: Desk, call: Any) -> None:
    """The log names method, path and status, and never what stood in the query string."""
    await call("GET", "/proxy/status/404?token=very-secret")
    answer = await desk.ask("GET", "/operations?type=proxy")
    operation = answer.json["data"][0]
    assert operation["action"] == "call"
    assert operation["state"] == "failed"
    assert operation["connection_id"] == "one"
    assert operation["meta"] == {"method": "GET", "endpoint": "/status/404", "status": 404}
    assert b"very-secret" not in answer.body


async def test_the_proxy_needs_its_own_scope(desk: Desk, call: Any) -> None:
    """A key that may read connections may not call providers."""
    key = await desk.key("environment:connections:*")
    answer = await call("GET", "/proxy/x", key=key)
    assert (answer.status, answer.code) == (403, "forbidden")
