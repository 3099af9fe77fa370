"""Connect sessions, and connecting from a browser."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.api.conftest import Desk, Opener

from carrick.testing.clock import FakeClock

WHOLE = {
    "end_user": {"id": "u1", "email": "a@b.co", "display_name": "Ann", "tags": {"plan": "pro"}},
    "organization": {"id": "o1", "display_name": "Org"},
    "allowed_integrations": ["acme"],
    "integrations_config_defaults": {"acme": {"connection_config": {"region": "eu"}}},
    "tags": {"Project": "p1"},
}


async def connect(desk: Desk, token: str, query: str = "", **body: Any) -> Any:
    """Connect to `acme` with an API key, as the browser client does."""
    if not body:
        body = {"apiKey": desk.provider.add_account("somebody").api_key}
    params = f"&params[base_url]={desk.provider.url}"
    target = f"/api-auth/api-key/acme?connect_session_token={token}{params}{query}"
    return await desk.ask("POST", target, body, key=None)


# --- sessions -------------------------------------------------------------------------------


async def test_a_session_is_created_and_read(desk: Desk) -> None:
    """201 with token, link and half an hour; GET has `endUser` in camelCase."""
    answer = await desk.ask("POST", "/connect/sessions", WHOLE)
    assert answer.status == 201
    made = answer.json["data"]
    assert made["connect_link"].endswith(f"/?session_token={made['token']}")
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert 29 * 60 < left.total_seconds() <= 30 * 60
    shown = (await desk.ask("GET", "/connect/session", key=made["token"])).json["data"]
    assert shown == {
        "endUser": {
            "id": "u1",
            "display_name": "Ann",
            "email": "a@b.co",
            "tags": {"plan": "pro"},
            "organization": {"id": "o1", "display_name": "Org"},
        },
        "connectUISettings": {
            "showWatermark": True,
            "defaultTheme": "system",
            "theme": {"light": {"primary": "#00B2E3"}, "dark": {"primary": "#00B2E3"}},
        },
        "allowed_integrations": ["acme"],
        "integrations_config_defaults": {"acme": {"connection_config": {"region": "eu"}}},
        "websocketsPath": "/",
    }


async def test_a_deleted_session_is_unknown(desk: Desk) -> None:
    """DELETE answers 204 with nothing in it; the token opens nothing afterwards."""
    token = await desk.session()
    answer = await desk.ask("DELETE", "/connect/session", key=token)
    assert (answer.status, answer.body) == (204, b"")
    answer = await desk.ask("GET", "/connect/session", key=token)
    assert (answer.status, answer.code) == (401, "unknown_connect_session_token")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, ["end_user"]),
        ({"end_user": {"id": "u", "more": 1}}, ["end_user"]),
        ({"tags": {}, "allowed_integrations": ["nope"]}, ["allowed_integrations", "0"]),
        (
            {"tags": {}, "integrations_config_defaults": {"nope": {}}},
            ["integrations_config_defaults", "nope"],
        ),
        ({"tags": {}, "overrides": {"nope": {}}}, ["overrides", "nope"]),
        ({"tags": {}, "webhook_url_override": "ftp://x"}, ["webhook_url_override"]),
        ({"tags": {}, "webhook_url_override": "http://10.0.0.1/"}, ["webhook_url_override"]),
    ],
)
async def test_a_wrong_session_names_the_fault(
    desk: Desk, body: dict[str, Any], path: list[str]
) -> None:
    """Each fault is an issue at its place."""
    answer = await desk.ask("POST", "/connect/sessions", body)
    assert (answer.status, answer.code) == (400, "invalid_body")
    assert answer.json["error"]["errors"][0]["path"] == path


async def test_an_empty_list_of_integrations_means_all(desk: Desk) -> None:
    """`allowed_integrations: []` restricts nothing."""
    token = await desk.session(allowed_integrations=[])
    assert len((await desk.ask("GET", "/integrations", key=token)).json["data"]) == 1
    shown = (await desk.ask("GET", "/connect/session", key=token)).json["data"]
    assert "allowed_integrations" not in shown


async def test_telemetry_is_taken_from_a_known_session_only(desk: Desk) -> None:
    """204; a stale time, an unknown event and an unknown token are refused."""
    token = await desk.session()
    now = datetime.now(UTC).isoformat()
    body = {"token": token, "event": "open", "timestamp": now}
    answer = await desk.ask("POST", "/connect/telemetry", body, key=None)
    assert (answer.status, answer.body) == (204, b"")
    for change, status in (
        ({"timestamp": "2020-01-01T00:00:00Z"}, 400),
        ({"timestamp": "whenever"}, 400),
        ({"event": "dance"}, 400),
        ({"token": ""}, 401),
        ({"token": "nango_connect_session_" + "0" * 64}, 401),
    ):
        answer = await desk.ask("POST", "/connect/telemetry", {**body, **change}, key=None)
        assert answer.status == status, change


# --- connecting -----------------------------------------------------------------------------


async def test_a_session_connects_and_hands_on_what_it_knows(desk: Desk) -> None:
    """200 in camelCase; tags and end user are the session's; its token works again."""
    body = {**WHOLE, "integrations_config_defaults": {}}
    token = (await desk.ask("POST", "/connect/sessions", body)).json["data"]["token"]
    answer = await connect(desk, token)
    assert answer.status == 200, answer.body
    assert set(answer.json) == {"connectionId", "providerConfigKey"}
    target = f"/connections/{answer.json['connectionId']}?provider_config_key=acme"
    shown = (await desk.ask("GET", target)).json
    assert shown["tags"] == {
        "end_user_id": "u1",
        "end_user_email": "a@b.co",
        "end_user_display_name": "Ann",
        "organization_id": "o1",
        "organization_display_name": "Org",
        "plan": "pro",
        "project": "p1",
    }
    assert shown["end_user"]["organization"] == {"id": "o1", "display_name": "Org"}
    again = await connect(desk, token)
    assert again.json["connectionId"] != answer.json["connectionId"]


async def test_a_session_decides_the_id(desk: Desk) -> None:
    """`connection_id` beside a session is refused."""
    answer = await connect(desk, await desk.session(), "&connection_id=mine")
    assert (answer.status, answer.code) == (400, "invalid_query_params")
    assert answer.json["error"]["errors"] == [
        {
            "code": "custom",
            "message": "connection_id is forbidden when using session token",
            "path": ["connection_id"],
        }
    ]


async def test_the_sessions_config_wins_over_the_browsers(desk: Desk) -> None:
    """What the product's server set cannot be replaced, and only it says where webhooks go."""
    defaults = {"acme": {"connection_config": {"base_url": desk.provider.url}}}
    token = await desk.session(integrations_config_defaults=defaults)
    target = (
        f"/api-auth/api-key/acme?connect_session_token={token}"
        "&params[base_url]=http://127.0.0.1:1&params[webhook_url]=https://evil.example"
    )
    key = desk.provider.add_account("a").api_key
    answer = await desk.ask("POST", target, {"apiKey": key}, key=None)
    assert answer.status == 200, answer.body
    shown = (await desk.ask("GET", "/connections")).json["connections"][0]
    target = f"/connections/{shown['connection_id']}?provider_config_key=acme"
    whole = (await desk.ask("GET", target)).json
    assert whole["connection_config"]["base_url"] == desk.provider.url
    assert "webhook_url" not in whole["connection_config"]
    assert whole["webhook_url_override"] is None


async def test_a_browser_cannot_set_what_the_provider_does_not_ask_for(desk: Desk) -> None:
    """Undeclared keys of connection_config are refused, not stored."""
    answer = await connect(desk, await desk.session(), "&params[anything]=x")
    assert (answer.status, answer.code) == (400, "invalid_connection_config")


async def test_the_wrong_integration_mode_or_credentials_have_their_codes(desk: Desk) -> None:
    """The order is: integration, mode, permission."""
    await desk.add("plain", "basic")
    token = await desk.session(allowed_integrations=["plain"])
    ask = f"connect_session_token={token}"
    client = {"client_id": "a", "client_secret": "b"}
    for path, body, status, code in (
        ("/api-auth/api-key/nope", {"apiKey": "k"}, 404, "unknown_provider_config"),
        ("/api-auth/api-key/plain", {"apiKey": "k"}, 400, "invalid_auth_mode"),
        ("/api-auth/api-key/acme", {"apiKey": "k"}, 400, "integration_not_allowed"),
        ("/api-auth/basic/plain", {"username": "only"}, 400, "invalid_body"),
        ("/api-auth/api-key/acme", {"apiKey": ""}, 400, "invalid_body"),
        ("/api-auth/api-key/a%25b", {"apiKey": "k"}, 400, "invalid_uri_params"),
        ("/oauth2/auth/nope", client, 400, "unknown_provider_config"),
        ("/oauth2/auth/acme", {"client_secret": "b"}, 400, "missing_client_id"),
        ("/oauth2/auth/acme", {"client_id": "a"}, 400, "missing_client_secret"),
    ):
        answer = await desk.ask("POST", f"{path}?{ask}", body, key=None)
        assert (answer.status, answer.code) == (status, code), (path, answer.body)
        assert answer.json["error"]["message"]


async def test_client_credentials_are_exchanged_or_refused(desk: Desk) -> None:
    """The provider's no is 400 `client_credentials_fetch_error`, and no secret is in it."""
    await desk.add("cc", "oauth2-client-credentials")
    token = await desk.session()
    url = desk.provider.url
    target = (
        f"/oauth2/auth/cc?connect_session_token={token}"
        f"&params[token_url]={url}/oauth/token&params[base_url]={url}"
    )
    body = {"client_id": "stranger", "client_secret": "cc-very-secret"}
    answer = await desk.ask("POST", target, body, key=None)
    assert (answer.status, answer.code) == (400, "client_credentials_fetch_error")
    assert b"cc-very-secret" not in answer.body


async def test_a_provider_without_credentials_is_connected_with_an_empty_post(desk: Desk) -> None:
    """The browser client sends a content type and no body at all."""
    await desk.add("free", "none")
    names = (await desk.ask("GET", "/providers/none")).json["data"].get("connection_config", {})
    params = "".join(f"&params[{name}]={desk.provider.url}" for name in names)
    token = await desk.session()
    target = f"/auth/unauthenticated/free?connect_session_token={token}{params}"
    headers = {"content-type": "application/json", "content-length": "0"}
    answer = await desk.ask("POST", target, key=None, headers=headers)
    assert answer.status == 200, answer.body
    answer = await desk.ask("POST", target, {"apiKey": "x"}, key=None)
    assert (answer.status, answer.code) == (400, "invalid_body")


async def test_a_reconnect_session_always_reconnects_the_same_connection(desk: Desk) -> None:
    """It is bound to the row: the same id every time, and its tags replace the old ones."""
    first = await desk.connected("mine", tags={"old": "1"})
    body = {"connection_id": "mine", "integration_id": "acme", "tags": {"new": "2"}}
    answer = await desk.ask("POST", "/connect/sessions/reconnect", body)
    assert answer.status == 201
    token = answer.json["data"]["token"]
    shown = (await desk.ask("GET", "/connect/session", key=token)).json["data"]
    assert shown["isReconnecting"] is True
    assert shown["allowed_integrations"] == ["acme"]
    answer = await connect(desk, token)
    assert answer.json == {"connectionId": "mine", "providerConfigKey": "acme"}
    target = "/connections/mine?provider_config_key=acme"
    whole = (await desk.ask("GET", target)).json
    assert whole["id"] == first["id"]
    assert whole["tags"] == {"new": "2"}
    await desk.ask("DELETE", target)
    answer = await connect(desk, token)
    assert (answer.status, answer.code) == (400, "invalid_connection")


async def test_a_reconnect_session_needs_a_connection(desk: Desk) -> None:
    """An unknown pair is 400 `invalid_body`."""
    body = {"connection_id": "nobody", "integration_id": "acme"}
    answer = await desk.ask("POST", "/connect/sessions/reconnect", body)
    assert (answer.status, answer.code) == (400, "invalid_body")


# --- public keys ----------------------------------------------------------------------------


async def test_a_public_key_connects_under_the_id_it_names(desk: Desk) -> None:
    """Public keys are deprecated and still work."""
    public = await desk.app.services.environments.public_key(desk.environment.row_id)
    key = desk.provider.add_account("a").api_key
    target = (
        f"/api-auth/api-key/acme?public_key={public}&connection_id=mine"
        f"&params[base_url]={desk.provider.url}"
    )
    answer = await desk.ask("POST", target, {"apiKey": key}, key=None)
    assert answer.json == {"connectionId": "mine", "providerConfigKey": "acme"}


async def test_an_environment_may_demand_an_hmac_of_public_keys(desk: Desk) -> None:
    """Without it 400 `missing_hmac`, with a wrong one `invalid_hmac`; sessions need none."""
    answer = await desk.ask("PATCH", "/environment/settings", {"hmac_enabled": True})
    assert (answer.status, answer.code) == (400, "invalid_body")
    body = {"hmac_enabled": True, "hmac_key": "shared"}
    shown = (await desk.ask("PATCH", "/environment/settings", body)).json["data"]
    assert shown["hmac_enabled"] is True
    assert "shared" not in str(shown)
    query = (
        f"?public_key={shown['public_key']}&connection_id=mine&params[base_url]={desk.provider.url}"
    )
    key = {"apiKey": desk.provider.add_account("a").api_key}
    right = hmac.new(b"shared", b"acme:mine", hashlib.sha256).hexdigest()
    for extra, status, code in (
        ("", 400, "missing_hmac"),
        ("&hmac=00", 400, "invalid_hmac"),
        ("&hmac=é", 400, "invalid_hmac"),
        (f"&hmac={right}", 200, ""),
    ):
        target = f"/api-auth/api-key/acme{query}{extra}".replace("é", "%C3%A9")
        answer = await desk.ask("POST", target, key, key=None)
        assert answer.status == status
        assert status == 200 or answer.code == code
    assert (await connect(desk, await desk.session())).status == 200


async def test_a_session_ends_after_half_an_hour(open_desk: Opener, clock: FakeClock) -> None:
    """An expired session is unknown."""
    async with open_desk(clock=clock) as desk:
        token = await desk.session()
        clock.move(30 * 60 - 1)
        assert (await desk.ask("GET", "/connect/session", key=token)).status == 200
        clock.move(1)
        answer = await desk.ask("GET", "/connect/session", key=token)
        assert (answer.status, answer.code) == (401, "unknown_connect_session_token")
