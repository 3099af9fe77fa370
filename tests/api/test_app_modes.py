"""Connecting by installing something at the provider: apps, apps with their user, plugins."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from tests.api.asking import Answer
from tests.api.browser import CALLBACK, Browser, count, message_of, went_wrong
from tests.api.conftest import Desk, Opener
from tests.lifecycle.modes_popup import key_pair

from carrick.testing.clock import FakeClock
from carrick.testing.fake_provider import FakeProvider

REPOSITORIES = "user/installations/${connectionConfig.installation_id}/repositories"
TOKENS = "app/installations/${connectionConfig.installation_id}/access_tokens"


def definitions(url: str) -> dict[str, Any]:
    """Return providers with apps and plugins, all of them the fake one."""
    proxy = {"base_url": url, "headers": {"authorization": "Bearer ${accessToken}"}}
    app = {
        "display_name": "App",
        "auth_mode": "APP",
        "authorization_url": "${connectionConfig.appPublicLink}",
        "token_url": f"{url}/{TOKENS}",
        "proxy": proxy,
    }
    custom = {
        **app,
        "authorization_url": "${appPublicLink}/installations/new",
        "auth_mode": "CUSTOM",
        "token_url": {"OAUTH2": f"{url}/oauth/token", "APP": f"{url}/{TOKENS}"},
        "installation_check_url": f"{url}/{REPOSITORIES}",
    }
    unchecked = {key: value for key, value in custom.items() if key != "installation_check_url"}
    elsewhere = {"OAUTH2": f"{url}/oauth/token", "APP": f"{url}/{TOKENS}?of=app"}
    plugin = {
        "display_name": "Plugin",
        "auth_mode": "INSTALL_PLUGIN",
        "redirect_uri_metadata": ["site"],
        "connection_config": {
            "site": {
                "type": "string",
                "title": "Site",
                "description": "Its name.",
                "pattern": "^00D",
                "automated": True,
            }
        },
        "proxy": {
            "base_url": url,
            "verification": {"method": "GET", "endpoints": ["/api/me"]},
        },
    }
    outbound = {
        "display_name": "Outbound",
        "auth_mode": "OAUTH2",
        "installation": "outbound",
        "disable_pkce": True,
        "authorization_url": f"{url}/oauth/authorize",
        "token_url": f"{url}/oauth/token",
        "redirect_uri_metadata": ["installationId"],
        "proxy": proxy,
    }
    return {
        "app": app,
        "custom": custom,
        "custom-github": unchecked,
        "custom-elsewhere": {**unchecked, "token_url": elsewhere},
        "plugin": plugin,
        "outbound": outbound,
    }


def app_credentials(provider: FakeProvider, mode: str) -> dict[str, str]:
    """Register an app and return what an integration has of it."""
    private, public = key_pair()
    link = provider.register_app(mode, public, CALLBACK, signs_in=mode == "CUSTOM")
    found = {"type": mode, "app_id": mode, "app_link": link, "private_key": private}
    client = {"client_id": provider.client_id, "client_secret": provider.client_secret}
    return {**found, **client} if mode == "CUSTOM" else found


async def furnish(desk: Desk) -> None:
    """Create the integrations, the ordinary way."""
    provider = desk.provider
    client = {"client_id": provider.client_id, "client_secret": provider.client_secret}
    plugins = f"{provider.url}/plugins/new?back={CALLBACK}"
    bodies: list[dict[str, Any]] = [
        {"provider": "app", "credentials": app_credentials(provider, "APP")},
        {"provider": "custom", "credentials": app_credentials(provider, "CUSTOM")},
        {"provider": "plugin", "custom": {"app_link": plugins}},
        {"provider": "outbound", "credentials": {"type": "OAUTH2", **client}},
    ]
    for body in bodies:
        answer = await desk.ask("POST", "/integrations", {"unique_key": body["provider"], **body})
        assert answer.status == 200, answer.body


@pytest.fixture
def catalogue(provider: FakeProvider, tmp_path: Path) -> Path:
    """A providers file."""
    path = tmp_path / "providers.json"
    path.write_text(json.dumps(definitions(provider.url)))
    return path


@pytest.fixture
async def apps(open_desk: Opener, catalogue: Path) -> AsyncIterator[Desk]:
    """A server whose catalogue has providers with apps."""
    async with open_desk(providers_file=catalogue) as desk:
        await furnish(desk)
        yield desk


@pytest.fixture
async def browser(apps: Desk) -> AsyncIterator[Browser]:
    """Somebody with a popup."""
    with apps.app.services.popups.waiting() as waiting:
        yield Browser(apps, waiting)


async def installed(browser: Browser, key: str, **query: str) -> str:
    """Go to the provider, install, and return the query string of the callback."""
    if not list(browser.desk.provider.calls):
        browser.desk.provider.add_account("org-a")
    answer = await browser.begin(await browser.desk.session(), key)
    assert answer.status == 302, answer.body
    more = f"&{urlencode(query)}" if query else ""
    return await browser.consent(answer.headers["location"] + more)


async def shown(desk: Desk, key: str, connection_id: str, more: str = "") -> Any:
    """Return a connection as it is shown."""
    target = f"/connections/{connection_id}?provider_config_key={key}{more}"
    answer = await desk.ask("GET", target)
    assert answer.status == 200, answer.body
    return answer.json


# --- APP ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/oauth/callback", "/app-auth/connect"])
async def test_an_installed_app_is_connected(browser: Browser, path: str) -> None:
    """Either address ends it; the browser's params are nobody's business here."""
    desk = browser.desk
    account = desk.provider.add_account("org-a")
    answer = await browser.begin(
        await desk.session(),
        "app",
        **{"params[installation_id]": "1", "authorization_params[appPublicLink]": "https://evil"},
    )
    assert answer.headers["location"].startswith(f"{desk.provider.url}/apps/app-APP/")
    query = await browser.consent(answer.headers["location"])
    page = await browser.come_back(query, path)
    assert page.status == 200, page.body
    assert browser.frame is not None
    found = await shown(desk, "app", browser.frame["connection_id"])
    number = dict(parse_qsl(query))["installation_id"]
    assert found["connection_config"] == {
        "installation_id": number,
        "appPublicLink": f"{desk.provider.url}/apps/app-APP/installations/new",
    }
    assert found["credentials"]["type"] == "APP"
    assert found["credentials"]["access_token"] == account.access_token
    assert found["credentials"]["expires_at"].endswith("Z")
    assert found["credentials"]["raw"]["permissions"] == {"contents": "read"}


async def test_the_token_of_an_installation_is_minted_again(
    open_desk: Opener, tmp_path: Path
) -> None:
    """A quarter of an hour before it ends there is another, for which the app signs a new JWT."""
    clock = FakeClock(datetime.now(UTC))
    path = tmp_path / "providers.json"
    async with FakeProvider(clock=clock) as provider:
        path.write_text(json.dumps(definitions(provider.url)))
        async with open_desk(providers_file=path, clock=clock) as desk:
            desk.provider = provider
            await furnish(desk)
            number = provider.install_app("APP", provider.add_account("org-a"))
            credentials = {"type": "APP", "app_id": "APP", "installation_id": number}
            body = {
                "provider_config_key": "app",
                "connection_id": "one",
                "credentials": credentials,
            }
            answer = await desk.ask("POST", "/connections", body)
            assert answer.status == 201, answer.body
            assert answer.json["connection_config"] == {}
            before = answer.json["credentials"]["access_token"]
            clock.move(44 * 60)
            assert (await shown(desk, "app", "one"))["credentials"]["access_token"] == before
            clock.move(2 * 60)
            found = await shown(desk, "app", "one")
            assert found["credentials"]["access_token"] != before


async def test_an_app_shows_its_own_token_when_asked(browser: Browser) -> None:
    """`refresh_github_app_jwt_token` mints one for whoever may read credentials; never stored."""
    desk = browser.desk
    await browser.come_back(await installed(browser, "app"))
    assert browser.frame is not None
    connection_id = browser.frame["connection_id"]
    flag = "&refresh_github_app_jwt_token=true"
    found = await shown(desk, "app", connection_id, flag)
    assert found["credentials"]["jwtToken"].count(".") == 2
    assert found["connection_config"]["jwtToken"] == found["credentials"]["jwtToken"]
    assert "jwtToken" not in (await shown(desk, "app", connection_id))["connection_config"]
    key = await desk.key("environment:connections:read")
    target = f"/connections/{connection_id}?provider_config_key=app{flag}"
    assert (await desk.ask("GET", target, key=key)).status == 403


async def test_an_installation_that_has_to_be_approved_is_pending(browser: Browser) -> None:
    """Nothing is connected until the same browser comes back with the installation."""
    desk = browser.desk
    query = await installed(browser, "app", ask="1")
    page = await browser.come_back(query)
    assert page.status == 200, page.body
    assert b"approve" in page.body
    assert browser.frame is not None
    assert browser.frame["is_pending"] is True
    connection_id = browser.frame["connection_id"]
    assert await count(desk) == 0
    account = next(iter(desk.provider._state.accounts))
    number = desk.provider.install_app("APP", account)
    state = dict(parse_qsl(query))["state"]
    later = urlencode({"state": state, "installation_id": number, "setup_action": "install"})
    page = await browser.come_back(later)
    assert page.status == 200, page.body
    assert (await shown(desk, "app", connection_id))["connection_id"] == connection_id
    assert (await browser.come_back(later)).status == 400
    assert await count(desk) == 1


@pytest.mark.parametrize(
    ("changes", "error_type"),
    [
        ({"installation_id": None, "setup_action": "install"}, "callback_err"),
        ({"installation_id": None, "error": "access_denied"}, "callback_err"),
        ({"error": "access_denied"}, "callback_err"),
        ({"installation_id": "99"}, "unknown_err"),
        ({"installation_id": "../../user"}, "unknown_err"),
        ({"installation_id": ".."}, "url_param_err"),
    ],
)
async def test_an_installation_that_is_none_connects_nothing(
    browser: Browser, changes: dict[str, str | None], error_type: str
) -> None:
    """Without number, with an error, with a number that is not the app's, with a path in it."""
    query = {**dict(parse_qsl(await installed(browser, "app"))), **changes}
    left = {name: text for name, text in query.items() if text is not None}
    await went_wrong(browser, await browser.come_back(urlencode(left)), error_type, "app")


async def test_a_key_that_is_not_the_apps_is_refused(browser: Browser) -> None:
    """The provider checks the JWT; what it says reaches the socket without the JWT in it."""
    desk = browser.desk
    link = desk.provider.register_app("OTHER", key_pair()[1], CALLBACK)
    wrong = {"app_id": "UNKNOWN", "app_link": link}
    body = {"credentials": {**app_credentials(desk.provider, "APP"), **wrong}}
    assert (await desk.ask("PATCH", "/integrations/app", body)).status == 200
    message = await went_wrong(
        browser, await browser.come_back(await installed(browser, "app")), "unknown_err", "app"
    )
    assert "could not be decoded" in message
    assert "eyJ" not in message


@pytest.mark.parametrize("suffix", ["", "/", "/installations/new"])
async def test_an_app_is_named_by_its_page(browser: Browser, suffix: str) -> None:
    """Developers give the app's page, or the one where it is installed: both lead there."""
    desk = browser.desk
    private, _ = key_pair()
    page = "https://github.com/apps/carrick-test"
    credentials = {"type": "APP", "app_id": "1", "private_key": private}
    await desk.add("github", "github-app", credentials={**credentials, "app_link": page + suffix})
    answer = await browser.begin(await desk.session(), "github")
    assert answer.status == 302, answer.body
    assert answer.headers["location"].startswith(f"{page}/installations/new?state=")


# --- CUSTOM ---------------------------------------------------------------------------------


async def test_an_app_with_its_user_keeps_both_tokens(browser: Browser) -> None:
    """Calls are made as the installation; the user's token is shown to who may read credentials."""
    desk = browser.desk
    query = await installed(browser, "custom")
    page = await browser.come_back(query)
    assert page.status == 200, page.body
    assert browser.frame is not None
    connection_id = browser.frame["connection_id"]
    found = await shown(desk, "custom", connection_id)
    user = found["connection_config"]["userCredentials"]
    assert user["type"] == "OAUTH2"
    assert user["access_token"] != found["credentials"]["access_token"]
    assert "userCredentials" not in found["credentials"]
    assert "refresh_token" not in user
    whole = await shown(desk, "custom", connection_id, "&refresh_token=true")
    assert whole["connection_config"]["userCredentials"]["refresh_token"]
    key = await desk.key("environment:connections:read")
    target = f"/connections/{connection_id}?provider_config_key=custom"
    config = (await desk.ask("GET", target, key=key)).json["connection_config"]
    assert "userCredentials" not in config
    row = await desk.app.rooms.connections.find(desk.environment.row_id, "custom", connection_id)
    assert row is not None
    assert "userCredentials" not in row.connection_config
    again = await shown(desk, "custom", connection_id, "&force_refresh=true")
    assert again["connection_config"]["userCredentials"] == user
    assert again["credentials"]["access_token"] != found["credentials"]["access_token"]


async def test_nobody_speaks_for_somebody_elses_installation(browser: Browser) -> None:
    """The number stands in an address anybody can write; the signed-in user must have access."""
    desk = browser.desk
    query = dict(parse_qsl(await installed(browser, "custom")))
    other = desk.provider.install_app("CUSTOM", desk.provider.add_account("org-b"))
    page = await browser.come_back(urlencode({**query, "installation_id": other}))
    assert "no access" in await went_wrong(browser, page, "unknown_err", "custom")


@pytest.mark.parametrize("status", [408, 425, 429, 503])
async def test_who_cannot_say_whose_it_is_has_not_refused(browser: Browser, status: int) -> None:
    """Nobody is told that they have no access by a provider that could not look."""
    query = await installed(browser, "custom")
    browser.desk.provider.fail("status", path="/user/installations/*", status=status)
    page = await browser.come_back(query)
    assert "could not say" in await went_wrong(browser, page, "unknown_err", "custom")


@pytest.mark.parametrize("key", ["custom-github", "custom-elsewhere"])
async def test_a_definition_without_a_check_lets_nobody_in(browser: Browser, key: str) -> None:
    """Tokens that come from where GitHub has them imply the check; others connect nobody."""
    desk = browser.desk
    await desk.add(key, key, credentials=app_credentials(desk.provider, "CUSTOM"))
    if key == "custom-elsewhere":
        page = await browser.begin(await desk.session(), key)
        await went_wrong(browser, page, "auth_mode_err", key)
        return
    query = dict(parse_qsl(await installed(browser, key)))
    other = desk.provider.install_app("CUSTOM", desk.provider.add_account("org-b"))
    page = await browser.come_back(urlencode({**query, "installation_id": other}))
    assert "no access" in await went_wrong(browser, page, "unknown_err", key)


async def test_a_user_without_an_installation_is_pending(browser: Browser) -> None:
    """What the user agreed to waits sealed, and a later callback completes it without a code."""
    desk = browser.desk
    query = dict(parse_qsl(await installed(browser, "custom", ask="1")))
    page = await browser.come_back(urlencode(query))
    assert page.status == 200, page.body
    assert browser.frame is not None
    told = {"type": "nango_oauth_callback_success", "payload": browser.frame}
    assert message_of(page) == told
    assert browser.frame["is_pending"] is True
    assert await count(desk) == 0
    account = next(iter(desk.provider._state.accounts))
    number = desk.provider.install_app("CUSTOM", account)
    later = {"state": query["state"], "installation_id": number, "setup_action": "install"}
    page = await browser.come_back(urlencode(later))
    assert page.status == 200, page.body
    found = await shown(desk, "custom", browser.frame["connection_id"])
    assert found["connection_config"]["userCredentials"]["access_token"]


async def test_a_pending_flow_belongs_to_its_browser_and_ends(
    open_desk: Opener, catalogue: Path
) -> None:
    """Another browser cannot complete it, and after a week nobody can."""
    clock = FakeClock(datetime.now(UTC))
    async with open_desk(providers_file=catalogue, clock=clock) as desk:
        await furnish(desk)
        for later, error_type in ((0, "state_cookie_err"), (7 * 86_400 + 1, "state_err")):
            with desk.app.services.popups.waiting() as waiting:
                browser = Browser(desk, waiting)
                query = dict(parse_qsl(await installed(browser, "app", ask="1")))
                await browser.come_back(urlencode(query))
                if not later:
                    browser.cookies.clear()
                clock.move(later)
                query = {"state": query["state"], "installation_id": "1000"}
                page = await browser.come_back(urlencode(query))
                assert page.status == 400
                assert message_of(page)["payload"]["errorType"] == error_type
                assert await count(desk) == 0


@pytest.mark.parametrize("changes", [{"code": None}, {"error": "access_denied"}])
async def test_a_user_who_did_not_sign_in_connects_nothing(
    browser: Browser, changes: dict[str, str | None]
) -> None:
    """Without a code there is no user."""
    query = {**dict(parse_qsl(await installed(browser, "custom"))), **changes}
    left = {name: text for name, text in query.items() if text is not None}
    await went_wrong(browser, await browser.come_back(urlencode(left)), "callback_err", "custom")


# --- INSTALL_PLUGIN -------------------------------------------------------------------------


async def test_an_installed_plugin_is_connected(browser: Browser) -> None:
    """The state travels as `payload`; identifiers become user name and password, shown as BASIC."""
    desk = browser.desk
    account = desk.provider.add_account("org-a")
    answer = await browser.begin(await desk.session(), "plugin")
    assert "payload" in dict(parse_qsl(urlsplit(answer.headers["location"]).query))
    page = await browser.come_back(await browser.consent(answer.headers["location"]))
    assert page.status == 200, page.body
    assert browser.frame is not None
    found = await shown(desk, "plugin", browser.frame["connection_id"])
    expected = {"type": "BASIC", "username": account.username, "password": account.password}
    assert found["credentials"] == expected
    assert found["connection_config"] == {"site": account.organization_id}


@pytest.mark.parametrize(
    ("changes", "error_type"),
    [
        ({"username": None, "password": None, "site": None}, "callback_err"),
        ({"error": "access_denied"}, "callback_err"),
        ({"password": "wrong"}, "connection_validation_failed"),
        ({"site": "elsewhere"}, "url_param_err"),
    ],
)
async def test_a_plugin_that_names_nobody_connects_nothing(
    browser: Browser, changes: dict[str, str | None], error_type: str
) -> None:
    """No identifiers, an error, identifiers that do not work, one that does not fit its field."""
    query = {**dict(parse_qsl(await installed(browser, "plugin"))), **changes}
    left = {name: text for name, text in query.items() if text is not None}
    await went_wrong(browser, await browser.come_back(urlencode(left)), error_type, "plugin")


async def test_an_integration_without_its_link_cannot_begin(browser: Browser) -> None:
    """`provider_config_err` names what is missing."""
    await browser.desk.add("bare", "plugin")
    page = await browser.begin(await browser.desk.session(), "bare")
    assert "app_link" in await went_wrong(browser, page, "provider_config_err", "bare")


# --- outbound -------------------------------------------------------------------------------


async def outbound(desk: Desk, key: str = "outbound", **query: str) -> Answer:
    """Expect an installation."""
    given = {"connect_session_token": await desk.session(), **query}
    return await desk.ask("POST", f"/auth/oauth-outbound/{key}?{urlencode(given)}", key=None)


async def test_an_installation_begun_at_the_provider_completes_what_waits(browser: Browser) -> None:
    """Pending until the callback, which comes without a cookie and after the session ended."""
    desk = browser.desk
    account = desk.provider.add_account("org-a")
    answer = await outbound(desk)
    assert answer.status == 200, answer.body
    assert answer.json["isPending"] is True
    assert answer.json["providerConfigKey"] == "outbound"
    assert await count(desk) == 0
    query = await browser.consent(answer.json["installUrl"])
    page = await browser.come_back(f"{query}&installationId=i1")
    assert page.status == 200, page.body
    found = await shown(desk, "outbound", answer.json["connectionId"])
    assert found["credentials"]["access_token"] == account.access_token
    assert found["connection_config"] == {"installationId": "i1"}
    assert found["end_user"]["id"] == "u1"
    assert (await browser.come_back(query)).status == 400


async def test_only_outbound_providers_are_installed_that_way(apps: Desk) -> None:
    """Any other is refused in JSON, and so is an id in a session."""
    assert (await outbound(apps, "app")).code == "invalid_auth_mode"
    assert (await outbound(apps, "acme")).code == "invalid_auth_mode"
    assert (await outbound(apps, "nothing")).code == "unknown_provider_config"
    assert (await outbound(apps, connection_id="mine")).code == "invalid_query_params"
    answer = await apps.ask("POST", "/auth/oauth-outbound/outbound", key=None)
    assert (answer.status, answer.code) == (401, "missing_public_key")


# --- what integrations hold -----------------------------------------------------------------


@pytest.mark.parametrize("mode", ["APP", "CUSTOM"])
async def test_an_integration_shows_its_app_to_who_may_read_it(apps: Desk, mode: str) -> None:
    """Exactly the documented fields; changing one leaves the others."""
    key = mode.lower()
    target = f"/integrations/{key}?include=credentials"
    before = (await apps.ask("GET", target)).json["data"]["credentials"]
    assert before == app_credentials(apps.provider, mode)
    changed = {**before, "app_link": "https://example.com/apps/other/installations/new"}
    answer = await apps.ask("PATCH", f"/integrations/{key}", {"credentials": changed})
    assert answer.status == 200, answer.body
    assert (await apps.ask("GET", target)).json["data"]["credentials"] == changed


async def test_an_app_without_a_fitting_key_is_refused(apps: Desk) -> None:
    """No credentials, another mode's, and a key in any form but PKCS#1."""
    right = app_credentials(apps.provider, "APP")
    pkcs8 = right["private_key"].replace("RSA PRIVATE KEY", "PRIVATE KEY")
    cases: list[Any] = [
        None,
        {"type": "OAUTH2", "client_id": "a", "client_secret": "b"},
        {**right, "private_key": pkcs8},
        {**right, "private_key": "-----BEGIN RSA PRIVATE KEY-----"},
        {name: text for name, text in right.items() if name != "app_link"},
        {**right, "client_id": "a"},
    ]
    for credentials in cases:
        body = {"unique_key": "second", "provider": "app", "credentials": credentials}
        answer = await apps.ask("POST", "/integrations", body)
        assert (answer.status, answer.code) == (400, "invalid_body"), credentials
    assert (await apps.ask("GET", "/integrations/second")).status == 404
