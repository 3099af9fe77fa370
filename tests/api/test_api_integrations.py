"""Integrations and the provider catalogue over HTTP."""

from __future__ import annotations

import pytest
from tests.api.conftest import Desk

OAUTH = {"type": "OAUTH2", "client_id": "cid", "client_secret": "sec", "scopes": "repo,user"}


async def test_creating_an_integration_answers_200_with_it(desk: Desk) -> None:
    """POST answers 200, not 201; nothing secret is in the answer."""
    body = {"provider": "github", "unique_key": "gh", "credentials": OAUTH}
    answer = await desk.ask("POST", "/integrations", body)
    assert answer.status == 200
    shown = answer.json["data"]
    assert shown["unique_key"] == "gh"
    assert shown["display_name"] == "GitHub"
    assert shown["logo"] == "https://carrick.example/images/template-logos/github.svg"
    assert shown["forward_webhooks"] is True
    assert shown["created_at"].endswith("Z")
    assert "credentials" not in shown
    assert "sec" not in answer.body.decode().replace("secret", "")


async def test_secrets_are_shown_only_to_who_may_and_asks(desk: Desk) -> None:
    """`include=credentials` is silently without effect for a key that may not read them."""
    await desk.add("gh", "github", credentials=OAUTH)
    target = "/integrations/gh?include=webhook&include=credentials"
    shown = (await desk.ask("GET", target)).json["data"]
    assert shown["credentials"] == {**OAUTH, "webhook_secret": None}
    assert shown["webhook_url"] is None
    key = await desk.key("environment:integrations:read")
    shown = (await desk.ask("GET", target, key=key)).json["data"]
    assert "credentials" not in shown
    only_last = (await desk.ask("GET", "/integrations/gh?include=credentials")).json["data"]
    assert "webhook_url" not in only_last
    answer = await desk.ask("GET", "/integrations/gh?include=everything")
    assert (answer.status, answer.code) == (400, "invalid_query_params")


async def test_a_taken_id_and_an_unknown_provider_are_issues(desk: Desk) -> None:
    """Both are 400 `invalid_body` with the contract's own paths."""
    answer = await desk.ask("POST", "/integrations", {"provider": "api-key", "unique_key": "acme"})
    assert (answer.status, answer.code) == (400, "invalid_body")
    assert answer.json["error"]["errors"][0]["path"] == ["uniqueKey"]
    for odd in ("", " x", "x ", "a/b", "%41"):
        answer = await desk.ask("POST", "/integrations", {"provider": "api-key", "unique_key": odd})
        assert (answer.status, answer.code) == (400, "invalid_body"), odd
    answer = await desk.ask("POST", "/integrations", {"provider": "nope", "unique_key": "n"})
    assert answer.json["error"]["errors"] == [
        {"code": "invalid_string", "message": "Invalid provider", "path": ["provider"]}
    ]


@pytest.mark.parametrize(
    "credentials",
    [
        None,
        {"type": "APP", "app_id": "1", "app_link": "x", "private_key": "y"},
        {**OAUTH, "scopes": "a b"},
        {"type": "OAUTH2", "client_id": "cid"},
        {**OAUTH, "more": 1},
        "text",
    ],
)
async def test_credentials_must_fit_the_provider(desk: Desk, credentials: object) -> None:
    """Missing, foreign and malformed credentials are refused."""
    body = {"provider": "github", "unique_key": "gh", "credentials": credentials}
    answer = await desk.ask("POST", "/integrations", body)
    assert (answer.status, answer.code) == (400, "invalid_body")


async def test_an_integration_is_changed_and_renamed_while_it_has_no_connections(
    desk: Desk,
) -> None:
    """PATCH changes what it names; renaming what is connected is refused."""
    answer = await desk.ask("PATCH", "/integrations/acme", {"display_name": "Acme"})
    assert answer.json["data"]["display_name"] == "Acme"
    answer = await desk.ask("PATCH", "/integrations/acme", {"unique_key": "acme 2"})
    assert answer.json["data"]["unique_key"] == "acme 2"
    assert (await desk.ask("GET", "/integrations/acme%202")).status == 200
    await desk.ask("PATCH", "/integrations/acme%202", {"unique_key": "acme"})
    await desk.connected()
    answer = await desk.ask("PATCH", "/integrations/acme", {"unique_key": "other"})
    assert (answer.status, answer.code) == (400, "invalid_body")
    answer = await desk.ask("PATCH", "/integrations/nope", {"display_name": "x"})
    assert (answer.status, answer.code) == (404, "not_found")


async def test_deleting_an_integration_removes_its_connections(desk: Desk) -> None:
    """DELETE answers success and what became of the cleanups; a second one is 404."""
    await desk.connected()
    answer = await desk.ask("DELETE", "/integrations/acme")
    assert answer.status == 200
    assert answer.json == {"success": True, "cleanup": "done"}
    assert (await desk.ask("GET", "/connections")).json == {"connections": []}
    answer = await desk.ask("DELETE", "/integrations/acme")
    assert (answer.status, answer.code) == (404, "not_found")


async def test_quickstart_is_refused_with_a_reason(desk: Desk) -> None:
    """There are no shared apps here."""
    body = {"provider": "github", "unique_key": "gh"}
    answer = await desk.ask("POST", "/integrations/quickstart", body)
    assert (answer.status, answer.code) == (400, "invalid_body")


async def test_functions_are_an_empty_page_before_a_deploy(desk: Desk) -> None:
    """Nothing deployed: an empty page, an empty script list, and 404 for one by name."""
    answer = await desk.ask("GET", "/integrations/acme/functions?type=on-event&limit=5")
    assert answer.json == {"data": [], "pagination": {"total": 0, "page": 0, "limit": 5}}
    assert (await desk.ask("GET", "/scripts/config")).json == []
    answer = await desk.ask("GET", "/integrations/acme/functions/setup")
    assert (answer.status, answer.code) == (404, "not_found")
    answer = await desk.ask("GET", "/integrations/nope/functions")
    assert (answer.status, answer.code) == (404, "not_found")
    answer = await desk.ask("GET", "/integrations/acme/functions?limit=101")
    assert (answer.status, answer.code) == (400, "invalid_query_params")


async def test_the_catalogue_is_listed_searched_and_shown(desk: Desk) -> None:
    """Providers come with name and logo; search is a pattern on the name."""
    answer = await desk.ask("GET", "/providers")
    names = [each["name"] for each in answer.json["data"]]
    assert "github" in names
    assert "salesforce" in names
    answer = await desk.ask("GET", "/providers?search=GIT.UB")
    assert "github" in [each["name"] for each in answer.json["data"]]
    shown = (await desk.ask("GET", "/providers/github")).json["data"]
    assert shown["auth_mode"] == "OAUTH2"
    assert shown["logo_url"].startswith("https://carrick.example/images/")
    answer = await desk.ask("GET", "/providers/unknown-one")
    assert (answer.status, answer.code) == (404, "not_found")
    answer = await desk.ask("GET", "/providers/with%20space")
    assert (answer.status, answer.code) == (400, "invalid_uri_params")
    answer = await desk.ask("GET", "/providers?foo=1")
    assert (answer.status, answer.code) == (400, "invalid_query_params")
    assert (await desk.ask("GET", "/providers.json", key=None)).json["github"]["auth_mode"]
    assert (await desk.ask("GET", "/providers/github/templates")).json == {"data": []}
    logo = await desk.ask("GET", "/images/template-logos/github.svg", key=None)
    assert logo.headers["content-type"].startswith("image/svg+xml")
