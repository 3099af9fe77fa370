"""Whatever goes wrong is answered in one envelope, with headers, and says no secrets."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs
from tests.api.asking import Asking
from tests.api.conftest import KEY, Desk, Opener

from carrick.api import create_api
from carrick.errors import StoreUnavailable


async def test_an_unknown_path_is_answered_in_the_envelope(desk: Desk) -> None:
    """404 and 405 are JSON with an `error`, like everything else."""
    answer = await desk.ask("GET", "/nowhere")
    assert (answer.status, answer.code) == (404, "not_found")
    answer = await desk.ask("PUT", "/integrations")
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert answer.headers["allow"]


async def test_the_wrong_content_type_is_refused_before_anybody_asks_who_is_there(
    desk: Desk,
) -> None:
    """415 comes before 401, on the listed prefixes only, and only when a type is sent."""
    text = {"content-type": "text/plain"}
    answer = await desk.ask("POST", "/connections", key=None, headers=text, raw=b"x")
    assert (answer.status, answer.code) == (415, "invalid_content_type")
    answer = await desk.ask("POST", "/connections", key=None)
    assert (answer.status, answer.code) == (401, "missing_auth_header")
    answer = await desk.ask("POST", "/oauth2/auth/acme", key=None, headers=text, raw=b"{}")
    assert answer.status == 401
    answer = await desk.ask("GET", "/connections", headers={"content-type": "application/json"})
    assert answer.status == 200


async def test_malformed_json_is_named(desk: Desk) -> None:
    """A body that is not JSON is 400 `invalid_json`, also when it is not even UTF-8."""
    headers = {"content-type": "application/json"}
    for raw in (b"{", b'{"a": \xff}', b"[1,"):
        answer = await desk.ask("POST", "/integrations", headers=headers, raw=raw)
        assert (answer.status, answer.code) == (400, "invalid_json"), answer.body


async def test_a_body_that_does_not_fit_names_each_fault(desk: Desk) -> None:
    """Issues have zod's words and paths of texts; the message sums them up."""
    answer = await desk.ask("POST", "/integrations", {"provider": "x", "extra": 1})
    assert (answer.status, answer.code) == (400, "invalid_body")
    assert {tuple(each["path"]) for each in answer.json["error"]["errors"]} == {
        ("unique_key",),
        (),
    }
    assert "unique_key" in answer.json["error"]["message"]


async def test_an_unexpected_query_string_is_refused(desk: Desk) -> None:
    """A route without a query string refuses one."""
    answer = await desk.ask("GET", "/integrations?foo=1")
    assert (answer.status, answer.code) == (400, "invalid_query_params")
    assert answer.json["error"]["errors"] == [
        {"code": "unrecognized_keys", "message": 'Unrecognized key: "foo"', "path": []}
    ]


async def test_a_body_that_is_too_large_is_refused_while_it_arrives(open_desk: Opener) -> None:
    """413 comes as soon as the limit is passed, whatever length was announced."""
    async with open_desk(max_body_bytes=1000) as desk:

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"[" * 400

        headers = {"content-type": "application/json"}
        answer = await desk.ask("POST", "/connections", headers=headers, raw=endless())
        assert (answer.status, answer.code) == (413, "body_too_large")
        assert len(desk.ask.sent) == 3
        desk.ask.sent.clear()
        announced = {**headers, "content-length": "5000"}
        answer = await desk.ask("POST", "/connections", headers=announced, raw=b"{}")
        assert (answer.status, answer.code) == (413, "body_too_large")
        assert desk.ask.sent == []
        steered = {"provider-config-key": "acme", "connection-id": "one"}
        answer = await desk.ask("POST", "/proxy/x", headers=steered, raw=endless())
        assert answer.status in (400, 413)


async def test_an_unknown_exception_says_only_a_number(desk: Desk) -> None:
    """What an exception says is in the log; the caller gets a reference to it."""

    async def broken() -> None:
        raise RuntimeError("secret detail")

    api = create_api(dataclasses.replace(desk.app.services, ping=broken))
    with capture_logs() as logs:
        answer = await Asking(api)("GET", "/ready")
    assert (answer.status, answer.code) == (500, "generic_error_support")
    reference = answer.json["error"]["payload"]
    assert reference in answer.json["error"]["message"]
    assert b"secret detail" not in answer.body
    assert answer.headers["referrer-policy"] == "strict-origin"
    assert any(line.get("reference") == reference for line in logs)


async def test_a_store_that_is_away_says_when_to_come_back(desk: Desk) -> None:
    """503 carries Retry-After, on /health and /ready as well; /live does not ask the store."""

    async def away() -> None:
        raise StoreUnavailable

    ask = Asking(create_api(dataclasses.replace(desk.app.services, ping=away, ping_writes=away)))
    for path in ("/health", "/ready"):
        answer = await ask("GET", path)
        assert (answer.status, answer.code) == (503, "store_unavailable")
        assert answer.headers["retry-after"] == "1"
    assert (await ask("GET", "/live")).json == {"result": "ok"}


@pytest.mark.parametrize("target", ["/health", "/nowhere", "/connections", "/integrations?x=1"])
async def test_every_answer_has_the_security_and_cors_headers(desk: Desk, target: str) -> None:
    """Errors have the same headers as everything else."""
    answer = await desk.ask("GET", target, key=None)
    assert answer.headers["referrer-policy"] == "strict-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["strict-transport-security"] == "max-age=5184000"
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert "content-security-policy" in answer.headers
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "X-RateLimit-Reset" in answer.headers["access-control-expose-headers"]


async def test_a_preflight_is_answered_everywhere(open_desk: Opener) -> None:
    """204 with what a browser may send; telemetry alone is for the connect page's origin."""
    async with open_desk(connect_url="https://connect.example/page") as desk:
        asked = {"origin": "https://shop.example", "access-control-request-method": "POST"}
        for path in ("/api-auth/api-key/acme", "/proxy/x", "/nowhere"):
            answer = await desk.ask("OPTIONS", path, key=None, headers=asked)
            assert answer.status == 204
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "Content-Type" in answer.headers["access-control-allow-headers"]
            assert answer.headers["access-control-max-age"] == "600"
        answer = await desk.ask("OPTIONS", "/connect/telemetry", key=None, headers=asked)
        assert answer.headers["access-control-allow-origin"] == "https://connect.example"
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["access-control-max-age"] == "36000"


async def test_paths_match_in_any_case_and_with_a_slash_at_the_end(desk: Desk) -> None:
    """There are no redirects: some clients drop their Authorization header on one."""
    for target in ("/Integrations", "/integrations/", "/INTEGRATIONS/acme", "/integrations/acme/"):
        assert (await desk.ask("GET", target)).status == 200, target
    assert (await desk.ask("HEAD", "/integrations")).status == 200


async def test_what_is_not_offered_says_so(desk: Desk) -> None:
    """Parts of the contract that do not exist here answer 501 in the envelope."""
    for method, target in (
        ("POST", "/action/trigger"),
        ("GET", "/records/?model=X"),
        ("POST", "/sync/start"),
        ("POST", "/functions/compile"),
        ("POST", "/connection"),
        ("GET", "/oauth/client-metadata/acme"),
    ):
        answer = await desk.ask(method, target)
        assert (answer.status, answer.code) == (501, "not_implemented"), target


async def test_another_method_of_what_is_offered_is_405(desk: Desk) -> None:
    """Also beside paths below which nothing else is offered."""
    for method, target in (
        ("PUT", "/oauth/connect/acme"),
        ("DELETE", "/app-auth/connect"),
        ("PUT", "/connection"),
        ("PATCH", "/integrations"),
    ):
        answer = await desk.ask(method, target)
        assert (answer.status, answer.code) == (405, "method_not_allowed"), target


async def test_the_access_log_has_templates_only(desk: Desk) -> None:
    """No line of the log holds an address, a session token or a key."""
    token = await desk.session()
    with capture_logs() as logs:
        await desk.ask(
            "POST",
            f"/api-auth/api-key/acme?connect_session_token={token}",
            {"apiKey": "key-of-the-customer"},
            key=None,
        )
        await desk.ask("GET", f"/connections/{token}?provider_config_key=acme")
        await desk.ask("GET", f"/proxy/{token}")
    text = json.dumps(logs, default=str)
    assert [line["route"] for line in logs if line["event"] == "request"] == [
        "/api-auth/api-key/{key}",
        "/connections/{connection_id:path}",
        "/proxy/{path:path}",
    ]
    for secret in (token, KEY, "key-of-the-customer"):
        assert secret not in text


async def test_openapi_is_served_and_documents_queries_and_errors(desk: Desk) -> None:
    """The document names every route with its query string, security and error envelope."""
    answer = await desk.ask("GET", "/openapi.json", key=None)
    document = answer.json
    listing = document["paths"]["/connections"]["get"]
    names = {parameter["name"] for parameter in listing["parameters"]}
    assert {"connectionId", "integrationId", "tags", "limit", "page", "cursor"} <= names
    assert listing["security"] == [{"apiKey": []}]
    assert "4XX" in listing["responses"]
    assert not any(
        "422" in each.get("responses", {})
        for path in document["paths"].values()
        for each in path.values()
    )
    assert "/proxy/{path}" not in document["paths"]
    for path in ("/operations", "/cleanups", "/deployments", "/dryruns", "/health"):
        assert path in document["paths"]
