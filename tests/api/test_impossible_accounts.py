"""Accounts that could be kept and never used: refused while somebody is there to hear it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import pytest
from tests.api.browser import Browser, count, went_wrong
from tests.api.conftest import Desk, Opener
from tests.api.test_oauth_popup import begun, integrate

INSIDE = "http://169.254.169.254"
#: A form that is filled in, and an import.
ENTRANCES = ("form", "import")
CRLF = "org-a-key\r\nX-Evil: 1"


async def connect(desk: Desk, entrance: str, base_url: str, api_key: str) -> Any:
    """Connect by an API key, one way or the other."""
    if entrance == "import":
        body = {
            "provider_config_key": "acme",
            "connection_id": "one",
            "connection_config": {"base_url": base_url},
            "credentials": {"type": "API_KEY", "apiKey": api_key},
        }
        return await desk.ask("POST", "/connections", body)
    query = {"connect_session_token": await desk.session(), "params[base_url]": base_url}
    target = f"/api-auth/api-key/acme?{urlencode(query, quote_via=quote)}"
    return await desk.ask("POST", target, {"apiKey": api_key}, key=None)


@pytest.mark.parametrize("entrance", ENTRANCES)
async def test_an_address_inside_is_no_account(open_desk: Opener, entrance: str) -> None:
    """However it is written, it is refused at once, and nothing is kept."""
    async with open_desk(egress_allow=()) as desk:
        cases = (INSIDE, "http://10.0.0.1:8080/api", "http://[::1]", "http://[::ffff:10.0.0.1]")
        for base_url in (*cases, "http://2130706433", "http://127.1", "http://0"):
            answer = await connect(desk, entrance, base_url, "key")
            assert (answer.status, answer.code) == (400, "egress_denied"), base_url
        assert await count(desk) == 0
        assert (await connect(desk, entrance, "https://api.example.com", "key")).status < 300


@pytest.mark.parametrize("entrance", ENTRANCES)
async def test_a_key_that_ends_its_line_is_no_key(desk: Desk, entrance: str) -> None:
    """It would put another header into every call; a connection that is there stays as it is."""
    url = desk.provider.url
    answer = await connect(desk, entrance, url, CRLF)
    assert (answer.status, answer.code) == (400, "invalid_body")
    assert "header" in answer.json["error"]["message"]
    assert "Evil" not in answer.body.decode()
    assert await count(desk) == 0
    before = (await desk.connected())["credentials"]
    assert (await connect(desk, "import", url, CRLF)).status == 400
    shown = (await desk.ask("GET", "/connections/one?provider_config_key=acme")).json
    assert shown["credentials"] == before
    assert desk.provider.calls == []


async def test_a_popup_ends_at_no_address_inside(open_desk: Opener) -> None:
    """Also where consent worked: the API that a session names is inside."""
    async with open_desk(egress_allow=("127.0.0.1/32",)) as desk:
        url = desk.provider.url
        urls = {"authorization_url": f"{url}/oauth/authorize", "token_url": f"{url}/oauth/token"}
        await integrate(desk, integration_config=urls)
        defaults = {"oauth": {"connection_config": {"base_url": INSIDE}}}
        with desk.app.services.popups.waiting() as waiting:
            browser = Browser(desk, waiting)
            token = await desk.session(integrations_config_defaults=defaults)
            page = await browser.come_back(await begun(browser, token))
            await went_wrong(browser, page, "url_param_err")
