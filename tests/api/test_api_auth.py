"""Who is asking, and what they may do."""

from __future__ import annotations

import pytest
from tests.api.conftest import KEY, PROD_KEY, Desk, Opener

STRANGER = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "missing_auth_header"),
        ("Bearer ", "malformed_auth_header"),
        ("", "malformed_auth_header"),
        ("Bearer not-a-uuid", "invalid_secret_key_format"),
        (f"Bearer {STRANGER}", "unknown_account"),
        ("Bearer nango_connect_session_" + "0" * 64, "invalid_secret_key_format"),
    ],
)
async def test_a_key_that_is_none_is_named(desk: Desk, header: str | None, code: str) -> None:
    """Each way of not having a key has its own code, and a legacy `payload`."""
    headers = {} if header is None else {"authorization": header}
    answer = await desk.ask("GET", "/connections", key=None, headers=headers)
    assert (answer.status, answer.code) == (401, code)
    assert answer.json["error"]["payload"] == {}


async def test_a_bare_key_works_without_bearer(desk: Desk) -> None:
    """The text after the last `Bearer ` is the key; a bare key is one too, in any case."""
    for header in (KEY, f"Bearer Bearer {KEY}", f"Bearer {KEY.upper()}"):
        headers = {"authorization": header}
        assert (await desk.ask("GET", "/connections", key=None, headers=headers)).status == 200


async def test_a_key_sees_its_own_environment_only(desk: Desk) -> None:
    """An integration of dev is not there for a key of prod."""
    answer = await desk.ask("GET", "/integrations/acme", key=PROD_KEY)
    assert (answer.status, answer.code) == (404, "not_found")


async def test_a_key_needs_one_of_the_routes_scopes(desk: Desk) -> None:
    """403 names the scopes that would do."""
    key = await desk.key("environment:connections:list")
    answer = await desk.ask("GET", "/connections", key=key)
    assert answer.status == 200
    answer = await desk.ask("GET", "/integrations/acme", key=key)
    assert (answer.status, answer.code) == (403, "forbidden")
    assert answer.json["error"]["message"] == (
        "Insufficient scope. Required one of: environment:integrations:read or "
        "environment:integrations:read_credentials"
    )
    answer = await desk.ask("DELETE", "/integrations/acme", key=key)
    assert answer.json["error"]["message"] == (
        "Insufficient scope. Required: environment:integrations:delete"
    )
    key = await desk.key("environment:integrations:*")
    assert (await desk.ask("GET", "/integrations/acme", key=key)).status == 200


async def test_a_session_lists_integrations_and_providers_and_no_more(desk: Desk) -> None:
    """A connect session in the header may list what it allows, and read nothing else."""
    await desk.add("other", "none")
    token = await desk.session(allowed_integrations=["acme"])
    answer = await desk.ask("GET", "/integrations", key=token)
    assert [each["unique_key"] for each in answer.json["data"]] == ["acme"]
    assert (await desk.ask("GET", "/providers/github", key=token)).status == 200
    assert (await desk.ask("GET", "/connections", key=token)).status == 401
    unknown = "nango_connect_session_" + "a" * 64
    answer = await desk.ask("GET", "/integrations", key=unknown)
    assert (answer.status, answer.code) == (401, "unknown_connect_session_token")


async def test_a_session_route_does_not_take_an_api_key(desk: Desk) -> None:
    """A secret key where a session belongs is the wrong shape of token."""
    answer = await desk.ask("GET", "/connect/session")
    assert (answer.status, answer.code) == (401, "invalid_connect_session_token_format")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "missing_public_key"),
        ("?public_key=nope", "invalid_public_key"),
        (f"?public_key={STRANGER}", "unknown_account"),
        ("?connect_session_token=nope", "invalid_connect_session_token_format"),
        (
            "?connect_session_token=nango_connect_session_" + "0" * 64,
            "unknown_connect_session_token",
        ),
    ],
)
async def test_a_browser_asks_in_the_query_string(desk: Desk, query: str, code: str) -> None:
    """Browser routes ignore the header and read the query string."""
    answer = await desk.ask("POST", f"/api-auth/api-key/acme{query}", {"apiKey": "k"})
    assert (answer.status, answer.code) == (401, code)


async def test_a_key_makes_no_key_that_may_do_more(desk: Desk) -> None:
    """What a key does not have, it cannot grant."""
    key = await desk.key("environment:api_keys:*", "environment:connections:read")
    body = {"display_name": "more", "scopes": ["environment:*"]}
    answer = await desk.ask("POST", "/environment/api-keys", body, key=key)
    assert (answer.status, answer.code) == (403, "forbidden")
    body["scopes"] = ["environment:connections:read"]
    answer = await desk.ask("POST", "/environment/api-keys", body, key=key)
    assert answer.status == 200
    body = {"display_name": "account", "scopes": ["account:*"]}
    assert (await desk.ask("POST", "/environment/api-keys", body)).status == 403
    assert (await desk.ask("POST", "/environments", {"name": "staging"})).status == 403


async def test_calls_are_limited_when_a_limit_is_set(open_desk: Opener) -> None:
    """Headers count down; beyond the limit 429 says which call and when to come back."""
    async with open_desk(rate_limit_per_minute=2) as desk:
        first = await desk.ask("GET", "/connections")
        assert first.headers["x-ratelimit-limit"] == "2"
        assert first.headers["x-ratelimit-remaining"] == "1"
        assert int(first.headers["x-ratelimit-reset"]) > 1_000_000_000
        assert (await desk.ask("GET", "/connections")).status == 200
        answer = await desk.ask("GET", "/connections?limit=1")
        assert (answer.status, answer.code) == (429, "too_many_request")
        assert answer.json["error"]["method"] == "GET"
        assert answer.json["error"]["path"] == "/connections"
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert (await desk.ask("GET", "/connections", key=PROD_KEY)).status == 200
        stranger = await desk.ask("GET", "/connections", key=STRANGER)
        assert stranger.status == 429


async def test_nothing_is_limited_by_default(desk: Desk) -> None:
    """Without a setting there are no rate limit headers."""
    answer = await desk.ask("GET", "/connections")
    assert "x-ratelimit-limit" not in answer.headers
