"""Where a popup comes back to, in which language it ends, and who may send it there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from starlette.websockets import WebSocket
from tests.api.browser import Browser, message_of, went_wrong
from tests.api.conftest import Desk, Opener
from tests.api.test_oauth_popup import begun, integrate

from carrick.api.popups import Popups
from carrick.api.routes.popups import wait_for_outcome
from carrick.model.clock import SystemChance
from carrick.testing.fake_provider import FakeProvider

#: A provider that says what it calls itself.
NAMED = """
named:
  display_name: Named
  auth_mode: OAUTH2
  docs: https://www.rfc-editor.org/rfc/rfc9207
  issuer: ISSUER
  authorization_url: URL/oauth/authorize
  token_url: URL/oauth/token
"""


async def redirect_uri(desk: Desk, host: str) -> str:
    """Return where a popup that is opened under a name comes back to."""
    target = f"/oauth/connect/oauth?{urlencode({'connect_session_token': await desk.session()})}"
    answer = await desk.ask("GET", target, key=None, headers={"host": host})
    assert answer.status == 302, answer.body
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))["redirect_uri"]


async def test_a_popup_comes_back_to_the_name_it_was_opened_under(open_desk: Opener) -> None:
    """Only to one of this machine's own names, while nobody has set the server's address."""
    own = "http://127.0.0.1:3003"
    cases = {
        "localhost:3003": "http://localhost:3003",
        "127.0.0.1:3003": own,
        "[::1]:8080": "http://[::1]:8080",
        "LOCALHOST": "http://localhost",
        "evil.example": own,
        "localhost.evil.example:3003": own,
        "localhost:3003@evil.example": own,
        "localhost:3003/evil": own,
        "192.168.1.5:3003": own,
    }
    async with open_desk(public_url=None) as desk:
        await integrate(desk)
        document = f"/oauth/client-metadata/{desk.environment.uuid}/oauth"
        for host, comes_back_to in cases.items():
            assert await redirect_uri(desk, host) == f"{comes_back_to}/oauth/callback"
            shown = (await desk.ask("GET", document, key=None, headers={"host": host})).json
            assert shown["client_id"] == f"{comes_back_to}{document}"
            assert shown["redirect_uris"] == [f"{comes_back_to}/oauth/callback"]
            page = await desk.ask("GET", "/connect/", key=None, headers={"host": host})
            policy = page.headers["content-security-policy"]
            assert f" {comes_back_to.replace('http', 'ws')}" in policy
            assert "evil" not in policy


async def test_an_address_that_was_set_is_the_only_one(desk: Desk) -> None:
    """With `CARRICK_PUBLIC_URL` no name in a request has a say."""
    await integrate(desk)
    assert await redirect_uri(desk, "localhost:3003") == "https://carrick.example/oauth/callback"


async def test_a_change_at_the_provider_takes_no_fragment_along(desk: Desk) -> None:
    """Browsers carry `#access_token=…` through a redirect that has no fragment of its own."""
    target = "/oauth/callback?setup_action=update&installation_id=1"
    headers = {"referer": "https://github.example/settings"}
    answer = await desk.ask("GET", target, key=None, headers=headers)
    assert answer.headers["location"] == "https://github.example/settings#"


async def test_the_last_page_speaks_the_persons_language(desk: Desk) -> None:
    """As the connect page does, by what the browser asks for; the window is told as before."""
    german = ("de", "Die Verbindung kam nicht zustande", "zu lange gedauert")
    english = ("en", "The connection was not made", "Start again from the app")
    cases = {
        "de-AT,de;q=0.9,en;q=0.8": german,
        "en;q=0.5,fr,de;q=0.6": german,
        "fr": english,
        '"></title><script>': english,
    }
    for wanted, (language, title, reason) in cases.items():
        headers = {"accept-language": wanted}
        page = await desk.ask("GET", "/oauth/callback?code=1", key=None, headers=headers)
        text = page.body.decode()
        assert f'<html lang="{language}">' in text
        assert page.headers["content-language"] == language
        assert f"<h1>{title}</h1>" in text
        assert reason in text
        assert "Start again from the app" in message_of(page)["payload"]["message"]


async def test_a_browser_without_cookies_is_told_in_its_language(desk: Desk) -> None:
    """Also where the connect page's own text would name the provider."""
    await integrate(desk)
    with desk.app.services.popups.waiting() as waiting:
        query = await begun(Browser(desk, waiting))
        headers = {"accept-language": "de"}
        page = await desk.ask("GET", f"/oauth/callback?{query}", key=None, headers=headers)
        assert "in einem anderen Browser begonnen" in page.body.decode()
        assert message_of(page)["payload"]["errorType"] == "state_cookie_err"


async def test_an_ended_session_is_told_in_the_persons_language(desk: Desk) -> None:
    """The window that opened the popup is told as ever."""
    await integrate(desk)
    with desk.app.services.popups.waiting() as waiting:
        browser = Browser(desk, waiting)
        token = await desk.session()
        query = await begun(browser, token)
        await desk.ask("DELETE", "/connect/session", key=token)
        jar = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        headers = {"accept-language": "de", "cookie": jar}
        page = await desk.ask("GET", f"/oauth/callback?{query}", key=None, headers=headers)
        assert "<p>Die Sitzung endete vor der Anmeldung." in page.body.decode()
        assert message_of(page)["payload"]["errorType"] == "unknown_connect_session_token"


async def test_what_others_say_is_not_translated(desk: Desk) -> None:
    """The provider's own words stand in the page as they came."""
    await integrate(desk)
    with desk.app.services.popups.waiting() as waiting:
        browser = Browser(desk, waiting)
        query = dict(parse_qsl(await begun(browser)))
        said = {"error": "access_denied", "error_description": "The user said no"}
        target = f"/oauth/callback?{urlencode({'state': query['state'], **said})}"
        jar = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        headers = {"accept-language": "de", "cookie": jar}
        page = await desk.ask("GET", target, key=None, headers=headers)
        assert "The user said no" in page.body.decode()
        assert "Schließen Sie dieses Fenster." in page.body.decode()


@pytest.mark.parametrize(
    ("said", "error_type"),
    [(None, ""), ("same", ""), ("https://elsewhere.example", "callback_err")],
)
async def test_an_answer_of_another_server_is_refused(
    open_desk: Opener,
    provider: FakeProvider,
    tmp_path: Path,
    said: str | None,
    error_type: str,
) -> None:
    """A definition may name the issuer; `iss` in the callback has to be it (RFC 9207)."""
    providers_file = tmp_path / "providers.yaml"
    issuer = f"{provider.url}/tenant"
    providers_file.write_text(NAMED.replace("ISSUER", issuer).replace("URL", provider.url))
    async with open_desk(providers_file=providers_file) as desk:
        credentials = {
            "type": "OAUTH2",
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
        }
        await desk.add("oauth", "named", credentials=credentials)
        with desk.app.services.popups.waiting() as waiting:
            browser = Browser(desk, waiting)
            query = await begun(browser)
            iss = {"iss": issuer if said == "same" else said} if said else {}
            page = await browser.come_back(f"{query}&{urlencode(iss)}")
            if error_type:
                await went_wrong(browser, page, error_type)
                assert provider.calls_to("POST", "/oauth/token") == []
            else:
                assert page.status == 200, page.body


async def test_a_socket_waits_no_longer_than_a_sign_in_can(desk: Desk) -> None:
    """One that nobody will ever tell anything is closed, so that others find room."""
    popups = Popups(SystemChance(), longest_wait_s=0)
    app = SimpleNamespace(state=SimpleNamespace(services=replace(desk.app.services, popups=popups)))
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        if sent:
            await asyncio.get_running_loop().create_future()  # the other side says nothing
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await wait_for_outcome(WebSocket({"type": "websocket", "app": app}, receive, send))
    assert sent == ["websocket.accept", "websocket.send", "websocket.close"]
