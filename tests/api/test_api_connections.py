"""Connections over HTTP: import, list, get, metadata, change, delete."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import pytest
from tests.api.conftest import Desk

ODD_IDS = (
    "..",
    "../x",
    "a//b",
    "a/b",
    "a@b.co",
    '{"x":1}',
    "metadata",
    "with space",
    "a\\b",
    "[x]",
    "a+b",
    "e/metadata",
)


async def get(desk: Desk, connection_id: str, key: str | None = "", **query: str) -> Any:
    """Ask for a connection of `acme`."""
    fields = urlencode({"provider_config_key": "acme", **query})
    return await desk.ask("GET", f"/connections/{quote(connection_id)}?{fields}", key=key)


async def test_an_import_answers_201_with_the_whole_connection(desk: Desk) -> None:
    """POST writes times with `Z`, shows credentials and Carrick's own `setup`."""
    shown = await desk.connected(
        metadata={"a": 1},
        end_user={"id": "u1", "email": "a@b.co", "display_name": "Ann"},
        tags={"Plan": "pro"},
    )
    assert shown["created_at"].endswith("Z")
    assert shown["credentials"]["type"] == "API_KEY"
    assert shown["credentials"]["apiKey"]
    assert shown["metadata"] == {"a": 1}
    assert shown["errors"] == []
    assert shown["setup"] == "done"
    assert shown["tags"] == {
        "end_user_id": "u1",
        "end_user_email": "a@b.co",
        "end_user_display_name": "Ann",
        "plan": "pro",
    }
    assert shown["end_user"] == {
        "id": "u1",
        "display_name": "Ann",
        "email": "a@b.co",
        "tags": None,
        "organization": None,
    }


async def test_an_import_of_an_existing_id_overwrites_it(desk: Desk) -> None:
    """The row stays; metadata and tags stay unless new ones come."""
    first = await desk.connected(metadata={"a": 1}, tags={"x": "1"})
    second = await desk.connected()
    assert second["id"] == first["id"]
    assert second["metadata"] == {"a": 1}
    assert second["tags"] == {"x": "1"}
    assert second["credentials"]["apiKey"] != first["credentials"]["apiKey"]


async def test_an_id_is_made_when_none_is_given(desk: Desk) -> None:
    """A generated id is a UUID."""
    shown = await desk.connected(connection_id=None)
    assert len(shown["connection_id"]) == 36


@pytest.mark.parametrize("connection_id", ODD_IDS)
async def test_ids_may_hold_what_the_client_does_not_encode(desk: Desk, connection_id: str) -> None:
    """Slashes, quotes, braces, blanks and the word `metadata` are ids like any other."""
    await desk.connected(connection_id)
    answer = await get(desk, connection_id)
    assert answer.status == 200, answer.body
    assert answer.json["connection_id"] == connection_id
    headers = {"Connection-Id": connection_id, "Provider-Config-Key": "acme"}
    assert (await desk.ask("GET", "/proxy/api/me", headers=headers)).status == 200
    raw = connection_id.replace(" ", "%20")
    answer = await desk.ask("GET", f"/connection/{raw}?provider_config_key=acme")
    assert answer.json["connection_id"] == connection_id
    body = {"connection_id": connection_id, "provider_config_key": "acme", "metadata": {"k": 1}}
    assert (await desk.ask("POST", "/connections/metadata", body)).status == 201
    target = f"/connections/{quote(connection_id)}?provider_config_key=acme"
    answer = await desk.ask("DELETE", target)
    assert answer.json == {"success": True, "cleanup": "done"}


async def test_a_trailing_slash_is_style_but_an_encoded_one_is_part_of_the_id(desk: Desk) -> None:
    """Only a literal slash at the end is dropped."""
    await desk.connected("a/")
    await desk.connected("b")
    answer = await desk.ask("GET", "/connections/a%2F?provider_config_key=acme")
    assert answer.json["connection_id"] == "a/"
    answer = await desk.ask("GET", "/connections/b/?provider_config_key=acme")
    assert answer.json["connection_id"] == "b"


async def test_getting_one_writes_times_with_an_offset(desk: Desk) -> None:
    """`+00:00` in GET one and in lists, where the key is `created`."""
    await desk.connected()
    shown = (await get(desk, "one")).json
    assert shown["created_at"].endswith("+00:00")
    item = (await desk.ask("GET", "/connections")).json["connections"][0]
    assert item["created"].endswith("+00:00")
    for absent in ("credentials", "connection_config", "created_at"):
        assert absent not in item


async def test_what_is_missing_has_the_contracts_codes(desk: Desk) -> None:
    """An unknown integration is 400, an unknown connection 404, a missing parameter 400."""
    answer = await get(desk, "nobody")
    assert (answer.status, answer.code) == (404, "not_found")
    answer = await desk.ask("GET", "/connections/one?provider_config_key=nope")
    assert (answer.status, answer.code) == (400, "unknown_provider_config")
    answer = await desk.ask("GET", "/connections/one")
    assert (answer.status, answer.code) == (400, "invalid_query_params")
    answer = await desk.ask("GET", "/connections/%3Cone%3E?provider_config_key=acme")
    assert (answer.status, answer.code) == (400, "invalid_uri_params")
    answer = await desk.ask("DELETE", "/connections/nobody?provider_config_key=acme")
    assert (answer.status, answer.code) == (400, "unknown_connection")
    answer = await desk.ask("PATCH", "/connections/nobody?provider_config_key=acme", {})
    assert (answer.status, answer.code) == (404, "not_found")


async def test_getting_one_is_lenient_about_parameters_it_does_not_know(desk: Desk) -> None:
    """A newer client may send more; booleans are words, and other words are refused."""
    await desk.connected()
    answer = await get(desk, "one", force_refresh="false", refresh_token="FALSE", brand_new="1")
    assert answer.status == 200
    answer = await get(desk, "one", force_refresh="maybe")
    assert (answer.status, answer.code) == (400, "invalid_query_params")


async def test_a_key_without_read_credentials_sees_none(desk: Desk) -> None:
    """Credentials are `{}`; asking for a refresh is refused."""
    await desk.connected()
    key = await desk.key("environment:connections:read")
    answer = await get(desk, "one", key=key)
    assert answer.json["credentials"] == {}
    answer = await get(desk, "one", key=key, force_refresh="true")
    assert (answer.status, answer.code) == (403, "forbidden")


async def oauth2(desk: Desk, **credentials: Any) -> Any:
    """Import an OAuth 2 connection of the integration `gh`."""
    app = {"type": "OAUTH2", "client_id": "c", "client_secret": "s"}
    await desk.add("gh", "google", credentials=app)  # it has no check that would be made here
    body = {
        "provider_config_key": "gh",
        "connection_id": "one",
        "credentials": {"type": "OAUTH2", "access_token": "at-secret", **credentials},
    }
    return await desk.ask("POST", "/connections", body)


async def test_refresh_tokens_are_hidden_unless_asked_for(desk: Desk) -> None:
    """However it is spelled and wherever it stands, GET hides it by default."""
    answer = await oauth2(desk, refresh_token="rt-secret")
    assert answer.status == 201, answer.body
    assert answer.json["credentials"]["refresh_token"] == "rt-secret"
    answer = await desk.ask("GET", "/connections/one?provider_config_key=gh")
    assert answer.json["credentials"]["access_token"] == "at-secret"
    assert b"rt-secret" not in answer.body
    target = "/connections/one?provider_config_key=gh&refresh_token=true"
    answer = await desk.ask("GET", target)
    assert answer.json["credentials"]["refresh_token"] == "rt-secret"


async def test_an_expired_token_without_a_refresh_token_is_still_200(desk: Desk) -> None:
    """There is nothing to refresh it with, so it is shown as it is, even when forced."""
    answer = await oauth2(desk, expires_at="2020-01-01T00:00:00Z")
    assert answer.status == 201, answer.body
    target = "/connections/one?provider_config_key=gh&force_refresh=true"
    answer = await desk.ask("GET", target)
    assert answer.status == 200
    assert answer.json["credentials"]["expires_at"] == "2020-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("change", "code", "status"),
    [
        ({"provider_config_key": "nope"}, "not_found", 404),
        ({"credentials": {"type": "BASIC", "username": "a", "password": "b"}}, "invalid_body", 400),
        ({"credentials": {"type": "API_KEY"}}, "invalid_body", 400),
        ({"credentials": {"type": "NOPE"}}, "invalid_body", 400),
        ({"credentials": {"type": "JWT", "privateKey": "x"}}, "invalid_body", 400),
        ({"metadata": "text"}, "invalid_body", 400),
        ({"tags": {"1x": "a"}}, "invalid_body", 400),
        ({"tags": {"a": "1", "A": "2"}}, "invalid_body", 400),
        ({"tags": {f"t{n}": "x" for n in range(11)}}, "invalid_body", 400),
        ({"tags": {"end_user_email": "nope"}}, "invalid_body", 400),
        ({"end_user": {"id": ""}}, "invalid_body", 400),
        ({"webhook_url_override": "not a url"}, "invalid_body", 400),
        ({"webhook_url_override": "http://169.254.169.254/x"}, "invalid_body", 400),
        ({"webhook_url_override": "https://api.nango.dev/x"}, "invalid_body", 400),
        ({"connection_config": {"oauth_scopes_override": "a"}}, "invalid_body", 400),
        ({"connection_id": "x" * 256}, "invalid_body", 400),
        ({"connection_id": ""}, "invalid_body", 400),
        ({"connection_id": "%41"}, "invalid_body", 400),
        ({"connection_id": "b\u00e4r"}, "invalid_body", 400),
        ({"connection_id": " x"}, "invalid_body", 400),
        ({"connection_id": "x "}, "invalid_body", 400),
        ({"unknown": 1}, "invalid_body", 400),
    ],
)
async def test_a_wrong_import_is_refused_and_leaves_nothing(
    desk: Desk, change: dict[str, Any], code: str, status: int
) -> None:
    """Each fault has its code, and nothing is half written."""
    body = {
        "provider_config_key": "acme",
        "connection_id": "one",
        "credentials": {"type": "API_KEY", "apiKey": "k"},
        "connection_config": {"base_url": desk.provider.url},
        **change,
    }
    answer = await desk.ask("POST", "/connections", body)
    assert (answer.status, answer.code) == (status, code), answer.body
    assert (await desk.ask("GET", "/connections")).json == {"connections": []}


async def test_a_list_is_filtered_by_everything_given(desk: Desk) -> None:
    """Filters hold together; the newest comes first; limit and page cut."""
    await desk.connected("c1", end_user={"id": "u1", "email": "ann@b.co"}, tags={"Plan": "pro"})
    await desk.connected("c2", end_user={"id": "u2", "display_name": "Bob"})
    await desk.connected("c3")

    async def ids(query: str) -> list[str]:
        answer = await desk.ask("GET", f"/connections?{query}")
        assert answer.status == 200, answer.body
        return [each["connection_id"] for each in answer.json["connections"]]

    assert await ids("") == ["c3", "c2", "c1"]
    assert await ids("connectionId=c2") == ["c2"]
    assert await ids("search=BOB") == ["c2"]
    assert await ids("search=ann%40") == ["c1"]
    assert await ids("endUserId=u1") == ["c1"]
    assert await ids("integrationId=nope%2C+acme&endUserId=u2") == ["c2"]
    assert await ids("tags%5Bplan%5D=pro") == ["c1"]
    assert await ids("tags[PLAN]=pro&tags[end_user_id]=u1") == ["c1"]
    assert await ids("tags[plan]=pro&endUserId=u2") == []
    assert await ids("limit=2") == ["c3", "c2"]
    assert await ids("limit=2&page=1") == ["c1"]
    for wrong in ("limit=0", "limit=2001", "page=-1", "limit=x", "foo=1", "search="):
        answer = await desk.ask("GET", f"/connections?{wrong}")
        assert (answer.status, answer.code) == (400, "invalid_query_params"), wrong


async def test_metadata_is_replaced_by_post_and_merged_by_patch(desk: Desk) -> None:
    """201 and 200, the body echoed; several ids are all or nothing."""
    await desk.connected("c1", metadata={"a": 1, "b": {"x": 1}})
    await desk.connected("c2")
    body = {"connection_id": "c1", "provider_config_key": "acme", "metadata": {"b": {"y": 2}}}
    answer = await desk.ask("PATCH", "/connections/metadata", body)
    assert (answer.status, answer.json) == (200, body)
    assert (await get(desk, "c1")).json["metadata"] == {"a": 1, "b": {"y": 2}}
    answer = await desk.ask("POST", "/connections/metadata", body)
    assert (answer.status, answer.json) == (201, body)
    assert (await get(desk, "c1")).json["metadata"] == {"b": {"y": 2}}
    body = {"connection_id": ["c2", "c9"], "provider_config_key": "acme", "metadata": {"z": 1}}
    answer = await desk.ask("PATCH", "/connections/metadata", body)
    assert (answer.status, answer.code) == (404, "unknown_connection")
    assert (await get(desk, "c2")).json["metadata"] is None


async def test_metadata_may_be_sent_the_deprecated_way(desk: Desk) -> None:
    """The body is the metadata; the integration comes in a header or the query string."""
    await desk.connected("a/b")
    header = {"provider-config-key": "acme"}
    answer = await desk.ask("POST", "/connection/a/b/metadata", {"k": 1}, headers=header)
    assert (answer.status, answer.json) == (201, {"k": 1})
    target = "/connection/a/b/metadata?provider_config_key=acme"
    assert (await desk.ask("PATCH", target, {"l": 2})).status == 200
    assert (await get(desk, "a/b")).json["metadata"] == {"k": 1, "l": 2}
    answer = await desk.ask("POST", "/connection/a/b/metadata", {"k": 1})
    assert (answer.status, answer.code) == (400, "invalid_headers")


async def test_a_patch_replaces_tags_and_clears_the_webhook_address(desk: Desk) -> None:
    """Tags of the end user and explicit ones replace the whole set; `""` clears the address."""
    await desk.connected(tags={"old": "1"}, webhook_url_override="https://app.example/hook")
    target = "/connections/one?provider_config_key=acme"
    body = {"end_user": {"id": "u9"}, "tags": {"New": "2"}, "webhook_url_override": ""}
    answer = await desk.ask("PATCH", target, body)
    assert answer.json == {"success": True}
    shown = (await get(desk, "one")).json
    assert shown["tags"] == {"end_user_id": "u9", "new": "2"}
    assert shown["end_user"]["id"] == "u9"
    assert shown["webhook_url_override"] is None


async def test_a_webhook_address_that_is_null_is_cleared(desk: Desk) -> None:
    """Whoever sends back what was shown gets what it says; leaving it out changes nothing."""
    await desk.connected(webhook_url_override="https://app.example/hook")
    target = "/connections/one?provider_config_key=acme"
    for body, left in (
        ({"tags": {"team": "x"}}, "https://app.example/hook"),
        ({"webhook_url_override": None}, None),
    ):
        assert (await desk.ask("PATCH", target, body)).json == {"success": True}
        assert (await get(desk, "one")).json["webhook_url_override"] == left


async def test_a_refresh_that_fails_shows_the_connection_without_credentials(desk: Desk) -> None:
    """400 `invalid_credentials`, then 424 while backing off, both with the whole connection."""
    desk.provider.fail("status", path="/oauth/token", status=400, times=50)
    answer = await cc_import(desk)
    assert answer.status == 201, answer.body
    target = "/connections/one?provider_config_key=cc"
    answer = await desk.ask("GET", target)
    assert (answer.status, answer.code) == (400, "invalid_credentials"), answer.body
    shown = answer.json["error"]["payload"]["connection"]
    assert shown["connection_id"] == "one"
    assert shown["credentials"] == {}
    assert shown["errors"][0]["type"] == "auth"
    assert b"cc-secret" not in answer.body
    answer = await desk.ask("GET", target)
    assert (answer.status, answer.code) == (424, "invalid_credentials")


async def cc_import(desk: Desk) -> Any:
    """Import client credentials whose token has expired."""
    await desk.add("cc", "oauth2-client-credentials")
    provider = await desk.ask("GET", "/providers/oauth2-client-credentials")
    names = provider.json["data"]["connection_config"]
    config = {name: desk.provider.url for name in names if "url" in name}
    config = {
        name: f"{url}/oauth/token" if "token" in name else url for name, url in config.items()
    }
    body = {
        "provider_config_key": "cc",
        "connection_id": "one",
        "credentials": {
            "type": "OAUTH2_CC",
            "token": "old",
            "client_id": "id",
            "client_secret": "cc-secret",
            "expires_at": "2020-01-01T00:00:00Z",
        },
        "connection_config": config,
    }
    return await desk.ask("POST", "/connections", body)
