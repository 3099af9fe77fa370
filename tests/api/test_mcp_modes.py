"""Signing in to MCP servers: found out, registered for, and held to what they said."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from tests.api.browser import CALLBACK, Browser, went_wrong
from tests.api.conftest import Desk, Opener

from carrick.testing.fake_provider import FakeProvider


def definitions(url: str) -> dict[str, Any]:
    """Return MCP providers: one whose server the user names, one for each kind of client."""
    server = {
        "type": "string",
        "title": "Server",
        "description": "The MCP server's address.",
        "format": "uri",
    }
    named = {
        "display_name": "Named",
        "auth_mode": "MCP_OAUTH2",
        "authorization_url": f"{url}/tenant/authorize",
        "authorization_params": {"resource": f"{url}/mcp"},
        "token_url": f"{url}/tenant/token",
        "token_params": {"resource": f"{url}/mcp"},
        "proxy": {"base_url": url},
    }
    return {
        "any-mcp": {
            "display_name": "Any",
            "auth_mode": "MCP_OAUTH2_GENERIC",
            "connection_config": {"mcp_server_url": server},
            "proxy": {"base_url": "${connectionConfig.mcp_server_url}"},
        },
        "static-mcp": {**named, "client_registration": "static"},
        "cimd-mcp": {**named, "client_registration": "cimd"},
    }


@pytest.fixture
async def desk(open_desk: Opener, provider: FakeProvider, tmp_path: Path) -> AsyncIterator[Desk]:
    """A server whose catalogue has MCP providers."""
    path = tmp_path / "providers.json"
    path.write_text(json.dumps(definitions(provider.url)))
    async with open_desk(providers_file=path) as opened:
        provider.add_account("org-a")
        for key in ("any-mcp", "cimd-mcp"):
            answer = await opened.ask("POST", "/integrations", {"provider": key, "unique_key": key})
            assert answer.status == 200, answer.body
        yield opened


@pytest.fixture
async def browser(desk: Desk) -> AsyncIterator[Browser]:
    """Somebody with a popup."""
    with desk.app.services.popups.waiting() as waiting:
        yield Browser(desk, waiting)


async def begun(browser: Browser, key: str = "any-mcp", server: str | None = None) -> Any:
    """Open the popup for a server."""
    params = {}
    if key == "any-mcp":
        params = {"params[mcp_server_url]": server or f"{browser.desk.provider.url}/mcp"}
    return await browser.begin(await browser.desk.session(), key, **params)


async def finished(browser: Browser, location: str) -> Any:
    """Consent, come back, and return the connection as it is shown."""
    page = await browser.come_back(await browser.consent(location))
    assert page.status == 200, page.body
    assert browser.frame is not None
    key, connection_id = browser.frame["provider_config_key"], browser.frame["connection_id"]
    target = f"/connections/{connection_id}?provider_config_key={key}"
    return (await browser.desk.ask("GET", target)).json


@pytest.mark.parametrize("is_well_known", [True, False])
async def test_a_server_the_user_names_is_asked_how_to_sign_in(
    browser: Browser, is_well_known: bool
) -> None:
    """Its document, the authorization server's document, a client of its own, a token for it."""
    desk = browser.desk
    desk.provider.mcp.is_well_known = is_well_known
    answer = await begun(browser)
    assert answer.status == 302, answer.body
    query = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
    assert query["resource"] == f"{desk.provider.url}/mcp"
    assert query["scope"] == "tools"
    shown = await finished(browser, answer.headers["location"])
    assert shown["credentials"]["type"] == "OAUTH2"
    override = shown["credentials"]["config_override"]
    assert override["client_id"] in desk.provider.mcp.clients
    assert override["token_url"] == f"{desk.provider.url}/tenant/token"
    assert shown["connection_config"] == {"mcp_server_url": f"{desk.provider.url}/mcp"}
    headers = {"provider-config-key": "any-mcp", "connection-id": shown["connection_id"]}
    called = await desk.ask("POST", "/proxy/", {"jsonrpc": "2.0"}, headers=headers)
    assert called.status == 200, called.body


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://elsewhere.example"},
        {"authorization_endpoint": None},
        {"token_endpoint": "https://evil.example/${clientSecret}"},
        {"token_endpoint": "ftp://evil.example/"},
        {"code_challenge_methods_supported": ["plain"]},
    ],
)
async def test_a_document_that_does_not_hold_is_refused(
    browser: Browser, changes: dict[str, Any]
) -> None:
    """Another issuer, no address, a template for an address, no PKCE: nobody is sent anywhere."""
    browser.desk.provider.mcp.server_changes = changes
    page = await begun(browser)
    assert "location" not in page.headers
    await went_wrong(browser, page, "unknown_err", "any-mcp")


async def test_a_document_about_another_resource_is_refused(browser: Browser) -> None:
    """A server cannot have tokens asked for that open another."""
    browser.desk.provider.mcp.resource_changes = {"resource": "https://bank.example/mcp"}
    await went_wrong(browser, await begun(browser), "unknown_err", "any-mcp")


async def test_a_server_that_registers_nobody_is_told(browser: Browser) -> None:
    """Without a registration endpoint there is no client to go as."""
    browser.desk.provider.mcp.server_changes = {"registration_endpoint": None}
    await went_wrong(browser, await begun(browser), "provider_config_err", "any-mcp")


@pytest.mark.parametrize("server", ["http://10.0.0.1/mcp", "http://169.254.169.254/latest"])
async def test_a_private_server_is_never_asked(browser: Browser, server: str) -> None:
    """What the user names is subject to the policy of addresses."""
    await went_wrong(browser, await begun(browser, server=server), "url_param_err", "any-mcp")


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint"])
async def test_a_server_cannot_send_us_to_a_private_address(browser: Browser, name: str) -> None:
    """Neither the browser nor the code goes to an address inside."""
    browser.desk.provider.mcp.server_changes = {name: "http://10.0.0.1/inside"}
    page = await begun(browser)
    if page.status == 302:
        page = await browser.come_back(await browser.consent(page.headers["location"]))
    await went_wrong(browser, page, "url_param_err", "any-mcp")


async def test_a_code_of_another_server_is_refused(browser: Browser) -> None:
    """`iss` in the callback names the server that was found out (RFC 9207)."""
    answer = await begun(browser)
    query = dict(parse_qsl(await browser.consent(answer.headers["location"])))
    assert query["iss"] == f"{browser.desk.provider.url}/tenant"
    page = await browser.come_back(urlencode({**query, "iss": "https://elsewhere.example"}))
    await went_wrong(browser, page, "callback_err", "any-mcp")


@pytest.mark.parametrize(("promised", "status"), [(True, 400), (False, 200)])
async def test_a_server_that_names_itself_always_does(
    browser: Browser, promised: bool, status: int
) -> None:
    """Where its metadata says that `iss` is there, an answer without one is somebody else's."""
    changes = {"authorization_response_iss_parameter_supported": promised}
    browser.desk.provider.mcp.server_changes = changes
    answer = await begun(browser)
    query = dict(parse_qsl(await browser.consent(answer.headers["location"])))
    del query["iss"]
    page = await browser.come_back(urlencode(query))
    assert page.status == status, page.body
    if promised:
        await went_wrong(browser, page, "callback_err", "any-mcp")


async def test_a_client_may_be_named_by_its_document(browser: Browser) -> None:
    """The authorization server reads who we are at an address that answers anybody."""
    desk = browser.desk
    address = f"/oauth/client-metadata/{desk.environment.uuid}/cimd-mcp"
    document = (await desk.ask("GET", address, key=None)).json
    assert document["client_id"] == f"https://carrick.example{address}"
    assert document["redirect_uris"] == [CALLBACK]
    desk.provider.mcp.know(document)
    answer = await begun(browser, "cimd-mcp")
    shown = await finished(browser, answer.headers["location"])
    assert shown["credentials"]["config_override"]["client_id"] == document["client_id"]
    other = f"/oauth/client-metadata/{desk.environment.uuid}/nothing"
    assert (await desk.ask("GET", other, key=None)).status == 404
    other = "/oauth/client-metadata/00000000-0000-4000-8000-000000000000/cimd-mcp"
    assert (await desk.ask("GET", other, key=None)).status == 404


async def test_a_client_may_be_registered_by_hand(browser: Browser) -> None:
    """`static` takes the integration's own, and cannot begin without."""
    desk = browser.desk
    await desk.add("static", "static-mcp")
    page = await begun(browser, "static")
    await went_wrong(browser, page, "provider_config_err", "static")
    desk.provider.mcp.know(
        {"client_id": "mine", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}
    )
    desk.provider.mcp.clients["mine"].secret = "hush-hush"
    credentials = {"type": "MCP_OAUTH2", "client_id": "mine", "client_secret": "hush-hush"}
    body = {"credentials": credentials}
    answer = await desk.ask("PATCH", "/integrations/static", body)
    assert answer.status == 200, answer.body
    with desk.app.services.popups.waiting() as waiting:
        again = Browser(desk, waiting)
        shown = await finished(again, (await begun(again, "static")).headers["location"])
    assert shown["credentials"]["config_override"]["client_id"] == "mine"
