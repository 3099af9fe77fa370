"""Connecting through a provider's consent page: out, back, and everything that can go wrong."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import html
import json
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from tests.api.browser import CALLBACK, Browser, count, message_of, went_wrong
from tests.api.conftest import Desk, Opener
from tests.lifecycle.house import SETUP, VALIDATE, House

from carrick.app.housekeeping import Housekeeping
from carrick.auth.authorization_code import demand_code_grant
from carrick.errors import OAuthGrantNotOffered
from carrick.store import oauth_states
from carrick.testing.clock import FakeClock
from carrick.testing.fake_provider import Account
from carrick.vault import hash_token


@pytest.fixture
async def integrated(desk: Desk) -> Desk:
    """A server with an OAuth integration whose provider is the fake one."""
    await integrate(desk)
    return desk


async def integrate(desk: Desk, key: str = "oauth", **changes: Any) -> None:
    """Add an OAuth integration."""
    url, provider = desk.provider.url, desk.provider
    credentials = {
        "type": "OAUTH2",
        "client_id": provider.client_id,
        "client_secret": provider.client_secret,
        "scopes": "read,write",
    }
    config = {
        "authorization_url": f"{url}/oauth/authorize",
        "token_url": f"{url}/oauth/token",
        "base_url": url,
    }
    values = {"credentials": credentials, "integration_config": config, **changes}
    await desk.add(key, "oauth2", **values)


@pytest.fixture
async def browser(integrated: Desk) -> AsyncIterator[Browser]:
    """Somebody with a popup."""
    with integrated.app.services.popups.waiting() as waiting:
        yield Browser(integrated, waiting)


@pytest.fixture
def house(integrated: Desk) -> House:
    """The same server, for deploying to."""
    return House(integrated.app, integrated.provider, integrated.environment)


# --- the way that works ---------------------------------------------------------------------


async def test_consent_makes_a_connection(browser: Browser, house: House) -> None:
    """Redirect, code, callback: validated, promoted, told to the socket and the page, set up."""
    desk = browser.desk
    await house.deploy({"validate": VALIDATE, "setup": SETUP}, integration="oauth")
    account = desk.provider.add_account("org-a")
    answer = await browser.begin(await desk.session())
    assert (answer.status, answer.headers["cache-control"]) == (302, "no-store")
    page = await browser.come_back(await browser.consent(answer.headers["location"], account))
    assert page.status == 200, page.body
    connection_id = browser.frame["connection_id"]
    assert message_of(page) == {
        "type": "nango_oauth_callback_success",
        "payload": browser.frame,
    }
    assert browser.frame == {
        "message_type": "success",
        "provider_config_key": "oauth",
        "connection_id": connection_id,
        "is_pending": False,
    }
    target = f"/connections/{connection_id}?provider_config_key=oauth&refresh_token=true"
    shown = (await desk.ask("GET", target)).json
    assert shown["credentials"]["access_token"] == account.access_token
    assert shown["credentials"]["refresh_token"] == account.refresh_token
    assert shown["tags"]["end_user_id"] == "u1"
    assert shown["end_user"]["id"] == "u1"
    found = await desk.app.rooms.connections.find(desk.environment.row_id, "oauth", connection_id)
    assert found is not None
    assert found.account_id == account.organization_id
    await house.finished(found.row_id)
    assert len(desk.provider.webhooks_of(account)) == 1


async def test_the_consent_page_gets_what_it_needs(browser: Browser) -> None:
    """Client, scopes, state, PKCE and the callback's address; the caller's parameters too."""
    given = {"authorization_params[prompt]": "consent", "authorization_params[state]": "mine"}
    answer = await browser.begin(await browser.desk.session(), **given)
    query = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
    assert query["client_id"] == browser.desk.provider.client_id
    assert query["redirect_uri"] == CALLBACK
    assert (query["scope"], query["prompt"]) == ("read write", "consent")
    assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
    assert len(query["state"]) == 64
    assert query["state"] not in answer.headers["set-cookie"]


async def test_the_code_verifier_fits_what_was_sent(browser: Browser) -> None:
    """The token endpoint gets the secret half of PKCE, and client and address as before."""
    desk = browser.desk
    desk.provider.add_account("org-a")
    answer = await browser.begin(await desk.session())
    sent = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
    await browser.come_back(await browser.consent(answer.headers["location"]))
    body = dict(parse_qsl(desk.provider.calls_to("POST", "/oauth/token")[-1].body))
    assert 43 <= len(body["code_verifier"]) <= 128
    assert body["redirect_uri"] == sent["redirect_uri"]
    assert body["grant_type"] == "authorization_code"


async def test_the_cookie_is_for_this_server_alone(browser: Browser) -> None:
    """HttpOnly, Secure behind https, short-lived; taken back at the end."""
    desk = browser.desk
    desk.provider.add_account("org-a")
    answer = await browser.begin(await desk.session())
    parts = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert parts == {"httponly", "secure", "samesite=none", "path=/", "max-age=600"}
    page = await browser.come_back(await browser.consent(answer.headers["location"]))
    assert "max-age=0" in page.headers["set-cookie"].lower()


async def test_the_page_runs_no_script_but_its_own(browser: Browser) -> None:
    """The policy names the nonce of our script, and what a provider says cannot end it."""
    answer = await browser.begin(await browser.desk.session())
    state = dict(parse_qsl(urlsplit(answer.headers["location"]).query))["state"]
    evil = "</script><script>alert(1)</script>\u2028&"
    page = await browser.come_back(urlencode({"state": state, "error": evil}))
    policy = page.headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([0-9a-f]{32})'", policy)
    assert nonce is not None
    assert "default-src 'none'" in policy
    assert page.body.count(b"<script") == page.body.count(f'<script nonce="{nonce[1]}"'.encode())
    assert page.body.count(b"</script>") == 1
    assert json.loads(message_of(page)["payload"]["message"]) == {"error": evil}


async def test_a_public_key_connects_with_an_id_of_its_own(browser: Browser) -> None:
    """Without a session the caller names the connection, its scopes and its client."""
    desk = browser.desk
    desk.provider.add_account("org-a")
    key = await desk.app.services.environments.public_key(desk.environment.row_id)
    answer = await browser.begin(
        None,
        public_key=key,
        connection_id="a/b",
        **{
            "params[oauth_scopes_override]": "only",
            "credentials[oauth_client_id_override]": desk.provider.client_id,
            "credentials[oauth_client_secret_override]": desk.provider.client_secret,
            "credentials[oauth_refresh_token_override]": "rt",
        },
    )
    assert dict(parse_qsl(urlsplit(answer.headers["location"]).query))["scope"] == "only"
    page = await browser.come_back(await browser.consent(answer.headers["location"]))
    assert page.status == 200, page.body
    target = "/connections/a%2Fb?provider_config_key=oauth&refresh_token=true"
    shown = (await desk.ask("GET", target)).json
    assert shown["credentials"]["refresh_token"] == "rt"
    override = shown["credentials"]["config_override"]
    assert override["client_id"] == desk.provider.client_id


async def test_an_hmac_signs_what_was_sent(browser: Browser) -> None:
    """An absent id is left out of what is signed."""
    desk = browser.desk
    changes = {"hmac_enabled": True, "hmac_key": "k"}
    answer = await desk.ask("PATCH", "/environment/settings", changes)
    assert answer.status == 200, answer.body
    key = await desk.app.services.environments.public_key(desk.environment.row_id)
    signature = hmac.new(b"k", b"oauth", hashlib.sha256).hexdigest()
    assert (await browser.begin(None, public_key=key, hmac=signature)).status == 302
    await went_wrong(browser, await browser.begin(None, public_key=key), "missing_hmac")


async def test_the_environment_names_its_callback(browser: Browser) -> None:
    """`callback_url` of the environment goes to the provider instead of the server's own."""
    desk = browser.desk
    changes = {"callback_url": "https://app.example/back"}
    await desk.app.services.environments.update_settings(desk.environment.row_id, changes)
    answer = await browser.begin(await desk.session())
    query = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
    assert query["redirect_uri"] == "https://app.example/back"


async def test_session_defaults_win(browser: Browser) -> None:
    """What the session's maker set replaces what the browser sends."""
    defaults = {
        "oauth": {
            "user_scopes": "users:read",
            "authorization_params": {"prompt": "none"},
            "connection_config": {"oauth_scopes_override": "few"},
        }
    }
    token = await browser.desk.session(integrations_config_defaults=defaults)
    given = {"authorization_params[prompt]": "login", "user_scope": "all"}
    answer = await browser.begin(token, **given)
    query = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
    assert (query["prompt"], query["scope"], query["user_scope"]) == ("none", "few", "users:read")


async def test_a_browser_asks_for_no_more_than_its_session(browser: Browser) -> None:
    """Neither scopes nor another way to hand codes over come in as parameters of the page."""
    given = {f"authorization_params[{name}]": "x" for name in ("scope", "response_type", "hint")}
    answer = await browser.begin(await browser.desk.session(), **given)
    query = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
    asked = (query["scope"], query["response_type"], query["hint"])
    assert asked == ("read write", "code", "x")


# --- reconnecting ---------------------------------------------------------------------------


async def connected(browser: Browser, account: Account) -> str:
    """Connect and return the connection's id."""
    answer = await browser.begin(await browser.desk.session())
    page = await browser.come_back(await browser.consent(answer.headers["location"], account))
    assert page.status == 200, page.body
    assert browser.frame is not None
    return str(browser.frame["connection_id"])


async def reconnection(desk: Desk, connection_id: str) -> str:
    """Return the token of a session that reconnects."""
    body = {"connection_id": connection_id, "integration_id": "oauth"}
    answer = await desk.ask("POST", "/connect/sessions/reconnect", body)
    return str(answer.json["data"]["token"])


async def test_the_same_account_reconnects(browser: Browser, house: House) -> None:
    """The same connection gets the new tokens."""
    desk = browser.desk
    await house.deploy({"validate": VALIDATE}, integration="oauth")
    account = desk.provider.add_account("org-a")
    connection_id = await connected(browser, account)
    token = await reconnection(desk, connection_id)
    with desk.app.services.popups.waiting() as waiting:
        again = Browser(desk, waiting)
        answer = await again.begin(token)
        page = await again.come_back(await again.consent(answer.headers["location"], account))
        assert page.status == 200, page.body
        assert again.frame is not None
        assert again.frame["connection_id"] == connection_id
    target = f"/connections/{connection_id}?provider_config_key=oauth"
    shown = (await desk.ask("GET", target)).json
    assert shown["credentials"]["access_token"] == account.access_token
    assert await count(desk) == 1


async def test_another_account_is_refused(browser: Browser, house: House) -> None:
    """The frame has the author's message; the old connection must be reconnected."""
    desk = browser.desk
    await house.deploy({"validate": VALIDATE}, integration="oauth")
    connection_id = await connected(browser, desk.provider.add_account("org-a"))
    token = await reconnection(desk, connection_id)
    other = desk.provider.add_account("org-b")
    with desk.app.services.popups.waiting() as waiting:
        again = Browser(desk, waiting)
        answer = await again.begin(token)
        page = await again.come_back(await again.consent(answer.headers["location"], other))
        assert page.status == 400
        frame = again.frame
    assert frame is not None
    assert frame["error_type"] == "connection_validation_failed"
    assert frame["connection_id"] == connection_id
    assert "account" in frame["error_desc"]
    assert message_of(page)["payload"]["message"] == frame["error_desc"]
    target = f"/connections/{connection_id}?provider_config_key=oauth"
    assert (await desk.ask("GET", target)).status == 424


async def test_a_deleted_connection_cannot_be_reconnected(browser: Browser) -> None:
    """Deleted before the popup: JSON and a frame. Deleted while it is open: a page and a frame."""
    desk = browser.desk
    connection_id = await connected(browser, desk.provider.add_account("org-a"))
    token = await reconnection(desk, connection_id)
    with desk.app.services.popups.waiting() as waiting:
        again = Browser(desk, waiting)
        answer = await again.begin(token)
        query = await again.consent(answer.headers["location"])
        target = f"/connections/{connection_id}?provider_config_key=oauth"
        assert (await desk.ask("DELETE", target)).status == 200
        await went_wrong(again, await again.come_back(query), "invalid_connection")
    with desk.app.services.popups.waiting() as waiting:
        again = Browser(desk, waiting)
        answer = await again.begin(token)
        assert (answer.status, answer.code) == (400, "invalid_connection")
        assert again.frame is not None
        assert again.frame["error_type"] == "invalid_connection"


# --- before the provider --------------------------------------------------------------------


async def test_who_may_not_connect_is_told_in_both_ways(browser: Browser) -> None:
    """An unknown session, an id in a session and a forbidden integration: JSON and a frame."""
    desk = browser.desk
    restricted = await desk.session(allowed_integrations=["acme"])
    cases: list[tuple[str, dict[str, str], int, str]] = [
        ("nango_connect_session_" + "0" * 64, {}, 401, "unknown_connect_session_token"),
        (await desk.session(), {"connection_id": "mine"}, 400, "invalid_query_params"),
        (restricted, {}, 400, "integration_not_allowed"),
    ]
    for token, query, status, code in cases:
        with desk.app.services.popups.waiting() as waiting:
            one = Browser(desk, waiting)
            answer = await one.begin(token, **query)
            assert (answer.status, answer.code) == (status, code)
            assert one.frame is not None
            assert one.frame["error_type"] == code


async def test_a_session_token_can_be_deleted(browser: Browser) -> None:
    """A token that was deleted opens no popup."""
    token = await browser.desk.session()
    await browser.desk.ask("DELETE", "/connect/session", key=token)
    answer = await browser.begin(token)
    assert (answer.status, answer.code) == (401, "unknown_connect_session_token")


@pytest.mark.parametrize(
    ("changes", "error_type"),
    [
        ({"key": "acme"}, "auth_mode_err"),
        ({"key": "nothing"}, "provider_config_err"),
        ({"params[token_url]": "https://evil.example/token"}, "url_param_err"),
    ],
)
async def test_what_cannot_be_begun_is_told(
    browser: Browser, changes: dict[str, str], error_type: str
) -> None:
    """A page with 400, and a frame of the documented type."""
    page = await browser.begin(await browser.desk.session(), **changes)
    assert page.status == 400, page.body
    assert browser.frame is not None
    assert browser.frame["error_type"] == error_type
    assert message_of(page)["payload"]["errorType"] == error_type


async def test_an_integration_without_a_client_cannot_begin(browser: Browser) -> None:
    """`provider_config_err` when there is no client secret."""
    desk = browser.desk
    credentials = {"type": "OAUTH2", "client_id": "only"}
    await integrate(desk, "half", credentials=credentials)
    page = await browser.begin(await desk.session(), "half")
    assert page.status == 400
    assert browser.frame is not None
    assert browser.frame["error_type"] == "provider_config_err"
    assert "client_secret" in browser.frame["error_desc"]


async def test_nobody_is_sent_to_a_private_address(browser: Browser) -> None:
    """A consent page at an address the server may not call is refused before the redirect."""
    desk = browser.desk
    config = {
        "authorization_url": "http://10.0.0.1/authorize",
        "token_url": f"{desk.provider.url}/oauth/token",
    }
    await integrate(desk, "inside", integration_config=config)
    page = await browser.begin(await desk.session(), "inside")
    assert page.status == 400
    assert "location" not in page.headers
    assert browser.frame is not None
    assert browser.frame["error_type"] == "url_param_err"


async def test_an_address_that_lacks_a_value_is_told(browser: Browser) -> None:
    """`url_param_err` names what is missing."""
    await integrate(browser.desk, "bare", integration_config={})
    await browser.begin(await browser.desk.session(), "bare")
    assert browser.frame is not None
    assert browser.frame["error_type"] == "url_param_err"
    assert "authorization_url" in browser.frame["error_desc"]


# --- coming back ----------------------------------------------------------------------------


async def begun(browser: Browser, token: str | None = None) -> str:
    """Begin, consent, and return the query string of the callback."""
    desk = browser.desk
    if not desk.provider.calls:
        desk.provider.add_account("org-a")
    answer = await browser.begin(token or await desk.session())
    return await browser.consent(answer.headers["location"])


async def test_a_state_works_once(browser: Browser) -> None:
    """The second callback with it is told on the page alone, and changes nothing."""
    query = await begun(browser)
    assert (await browser.come_back(query)).status == 200
    cookie = hash_token(dict(parse_qsl(query))["state"])[:16]
    assert browser.cookies[f"oauth2-{cookie}"] in ("", '""')
    page = await browser.come_back(query)
    assert page.status == 400
    assert message_of(page)["payload"]["errorType"] == "state_err"
    assert await count(browser.desk) == 1


async def test_looking_at_an_address_uses_nothing_up(browser: Browser) -> None:
    """A HEAD of the callback, as link scanners send it, is refused and leaves the state alone."""
    query = await begun(browser)
    looked = await browser.get(f"/oauth/callback?{query}", "HEAD")
    assert (looked.status, looked.headers["allow"]) == (405, "GET")
    assert (await browser.come_back(query)).status == 200


@pytest.mark.parametrize("name", ["payload", "customField"])
async def test_a_state_may_come_back_under_another_name(browser: Browser, name: str) -> None:
    """Some providers bring it as `payload` or `customField`."""
    query = dict(parse_qsl(await begun(browser)))
    state = query.pop("state")
    assert (await browser.come_back(urlencode({**query, name: state}))).status == 200


async def test_a_change_at_the_provider_goes_back_there(browser: Browser) -> None:
    """`setup_action` without a state is nobody's flow: back to where the person came from."""
    target = "/oauth/callback?setup_action=update&installation_id=1"
    cases = {"https://github.example/settings": 302, "javascript:alert(1)": 400, "": 400}
    for referer, status in cases.items():
        headers = {"referer": referer} if referer else {}
        answer = await browser.desk.ask("GET", target, key=None, headers=headers)
        assert answer.status == status
        assert answer.headers.get("location") == (f"{referer}#" if status == 302 else None)


async def test_only_what_exchanges_codes_can_begin(browser: Browser) -> None:
    """A definition whose token endpoint takes another grant is `grant_type_err`."""
    catalogue = browser.desk.app.rooms.catalogue
    assert catalogue.get("oauth2").definition["token_params"]["grant_type"] == "authorization_code"
    with pytest.raises(OAuthGrantNotOffered):
        demand_code_grant(catalogue.get("oauth2-client-credentials"))


async def test_two_callbacks_at_once_make_one_connection(browser: Browser) -> None:
    """Of two that bring the same state at the same time one is refused."""
    query = await begun(browser)
    pages = await asyncio.gather(browser.come_back(query), browser.come_back(query))
    assert sorted(page.status for page in pages) == [200, 400]
    assert await count(browser.desk) == 1


@pytest.mark.parametrize("query", ["", "code=abc", "code=abc&state=unknown", "state="])
async def test_an_unknown_state_is_refused(browser: Browser, query: str) -> None:
    """A made-up state, or none, gets a page and nothing else."""
    page = await browser.come_back(query)
    assert page.status == 400
    assert message_of(page)["payload"]["errorType"] == "state_err"
    assert browser.frame is None


async def test_a_state_expires(open_desk: Opener) -> None:
    """After ten minutes the sign-in has to be begun again, and the socket hears of it."""
    clock = FakeClock()
    async with open_desk(clock=clock) as desk:
        await integrate(desk)
        with desk.app.services.popups.waiting() as waiting:
            browser = Browser(desk, waiting)
            query = await begun(browser)
            clock.move(601)
            await went_wrong(browser, await browser.come_back(query), "state_err")


async def test_what_never_came_back_is_forgotten(open_desk: Opener) -> None:
    """A late callback still finds its socket for an hour; then nothing is left of the flow."""
    clock = FakeClock()
    async with open_desk(clock=clock) as desk:
        await integrate(desk)
        with desk.app.services.popups.waiting() as waiting:
            browser = Browser(desk, waiting)
            query = await begun(browser)
            store, sessions = desk.app.rooms.store, desk.app.services.sessions
            clock.move(2 * 3600)
            await Housekeeping(store, sessions, clock, retention_days=1).forget()
            assert (await browser.come_back(query)).status == 400
            assert browser.frame is None


async def test_another_browser_cannot_finish(browser: Browser) -> None:
    """Without the cookie, or with that of another flow, nothing is connected; the state is used."""
    query = await begun(browser)
    with browser.desk.app.services.popups.waiting() as waiting:
        other = Browser(browser.desk, waiting)
        other_query = await begun(other)
        page = await other.come_back(query)
        assert message_of(page)["payload"]["errorType"] == "state_cookie_err"
        assert other.frame is None
        await went_wrong(browser, page, "state_cookie_err")
        assert (await browser.come_back(query)).status == 400
        swapped = {**dict(parse_qsl(other_query)), "code": dict(parse_qsl(query))["code"]}
        # Another flow's code does not fit this flow's verifier.
        await went_wrong(other, await other.come_back(urlencode(swapped)), "unknown_err")


async def test_what_the_provider_refused_is_told(browser: Browser) -> None:
    """`error` in the callback: its words go to the socket and, as JSON, to the window."""
    query = dict(parse_qsl(await begun(browser)))
    said = {"error": "access_denied", "error_description": "The user said no"}
    page = await browser.come_back(urlencode({"state": query["state"], **said}))
    assert "The user said no" in await went_wrong(browser, page, "callback_err")
    assert json.loads(message_of(page)["payload"]["message"]) == said


async def test_a_callback_without_code_is_refused(browser: Browser) -> None:
    """`callback_err`, and the failure is in the log."""
    query = dict(parse_qsl(await begun(browser)))
    page = await browser.come_back(urlencode({"state": query["state"]}))
    await went_wrong(browser, page, "callback_err")
    logged = (await browser.desk.ask("GET", "/operations")).json["data"]
    assert any(one["error"]["code"] == "callback_err" for one in logged if one["error"])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("status", {"status": 500}),
        ("status", {"status": 400, "body": {"error": "invalid_grant"}}),
        ("status", {"status": 200, "body": {"token_type": "Bearer"}}),
        ("status", {"status": 200, "body": {"access_token": "t", "scope": "mail calendar"}}),
        ("html", {}),
        ("error_body", {}),
        ("close", {}),
    ],
)
async def test_a_token_endpoint_that_fails_connects_nothing(
    browser: Browser, kind: Any, options: dict[str, Any]
) -> None:
    """500, a refusal, no token, a token for other scopes, HTML, a dropped line: told, no trace."""
    query = await begun(browser)
    browser.desk.provider.fail(kind, path="/oauth/token", times=None, **options)
    page = await browser.come_back(query)
    message = await went_wrong(browser, page, "unknown_err")
    prefix = "Unknown error during the Oauth flow. "
    assert message.startswith(prefix)
    # The person reads what it was; the words of the contract are for the client.
    assert f"<p>{html.escape(message.removeprefix(prefix))}</p>" in page.body.decode()


async def test_an_integration_that_was_deleted_meanwhile_connects_nothing(
    browser: Browser,
) -> None:
    """Deleted, and even made anew under the same id: the flow was begun for another one."""
    query = await begun(browser)
    assert (await browser.desk.ask("DELETE", "/integrations/oauth")).status == 200
    await integrate(browser.desk)
    await went_wrong(browser, await browser.come_back(query), "provider_config_err")


async def test_nothing_of_a_flow_is_stored_in_the_clear(browser: Browser) -> None:
    """The store knows a state by its hash; what it needs later is sealed."""
    answer = await browser.begin(await browser.desk.session())
    state = dict(parse_qsl(urlsplit(answer.headers["location"]).query))["state"]
    stored = await browser.desk.app.rooms.store.write(
        lambda tx: oauth_states.take(tx, hash_token(state))
    )
    assert stored is not None
    assert browser.waiting.id.encode() not in stored.request
    assert b"code_verifier" not in stored.request
    assert stored.cookie_hash not in browser.cookies.values()
