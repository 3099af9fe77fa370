"""Whatever goes wrong in a popup on the way to a reconnect, the connection stays as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from tests.api.browser import Browser, count, message_of, went_wrong
from tests.api.conftest import Desk, Opener
from tests.api.test_oauth_popup import connected, integrate, reconnection

from carrick.auth.authorization_code import demand_code
from carrick.environments.sessions import LIFETIME
from carrick.errors import OAuthCallbackInvalid
from carrick.model.auth import AuthMode
from carrick.model.provider import Provider
from carrick.testing.clock import FakeClock

INSIDE = "http://169.254.169.254/latest/meta-data"


@dataclass
class Attempt:
    """A reconnect whose browser has consented and not come back."""

    browser: Browser
    connection_id: str
    query: dict[str, str]
    before: Any

    async def come_back(self, **changes: str | None) -> Any:
        """Come to the callback, with something changed; `None` leaves it out."""
        query = {**self.query, **changes}
        left = {name: text for name, text in query.items() if text is not None}
        return await self.browser.come_back(urlencode(left))


async def shown(desk: Desk, connection_id: str) -> Any:
    """Return a connection as it is shown, without when that was."""
    target = f"/connections/{connection_id}?provider_config_key=oauth&refresh_token=true"
    answer = await desk.ask("GET", target)
    assert answer.status == 200, answer.body
    return {name: value for name, value in answer.json.items() if name != "last_fetched_at"}


@pytest.fixture
async def attempt(desk: Desk) -> AsyncIterator[Attempt]:
    """A connection, and somebody who is about to reconnect it."""
    await integrate(desk)
    account = desk.provider.add_account("org-a")
    with desk.app.services.popups.waiting() as waiting:
        connection_id = await connected(Browser(desk, waiting), account)
    before = await shown(desk, connection_id)
    with desk.app.services.popups.waiting() as waiting:
        browser = Browser(desk, waiting)
        answer = await browser.begin(await reconnection(desk, connection_id))
        query = dict(parse_qsl(await browser.consent(answer.headers["location"], account)))
        yield Attempt(browser, connection_id, query, before)


async def untouched(attempt: Attempt) -> None:
    """Check that the connection is what it was, to the last field."""
    assert await shown(attempt.browser.desk, attempt.connection_id) == attempt.before
    assert await count(attempt.browser.desk) == 1


@pytest.mark.parametrize(
    ("changes", "error_type"),
    [
        ({"code": None}, "callback_err"),
        ({"code": ""}, "callback_err"),
        ({"error": "access_denied"}, "callback_err"),
        ({"code": None, "error": "server_error", "error_description": "x" * 5000}, "callback_err"),
        ({"code": "made-up"}, "unknown_err"),
    ],
)
async def test_a_callback_that_brings_nothing(
    attempt: Attempt, changes: dict[str, str | None], error_type: str
) -> None:
    """No code, an error beside a code, an error of any length, a code nobody issued."""
    page = await attempt.come_back(**changes)
    message = await went_wrong(attempt.browser, page, error_type, left=1)
    assert len(message) < 1200
    await untouched(attempt)


@pytest.mark.parametrize("state", ["0" * 64, "'; DROP TABLE oauth_states; --", "\x00"])
async def test_a_wrong_state(attempt: Attempt, state: str) -> None:
    """It is nobody's: a page, no frame; the right one still works afterwards."""
    page = await attempt.come_back(state=state)
    assert page.status == 400
    assert message_of(page)["payload"]["errorType"] == "state_err"
    assert attempt.browser.frame is None
    await untouched(attempt)
    assert (await attempt.come_back()).status == 200


async def test_another_browsers_cookie(attempt: Attempt) -> None:
    """Refused and told to the one who waits; the state is used up."""
    desk = attempt.browser.desk
    with desk.app.services.popups.waiting() as waiting:
        other = Browser(desk, waiting)
        await other.begin(await desk.session())
        # The other's cookie under the name of this flow, and under its own.
        (name,), (mine,) = attempt.browser.cookies, other.cookies.values()
        other.cookies[name] = mine
        page = await other.come_back(urlencode(attempt.query))
        assert other.frame is None
    await went_wrong(attempt.browser, page, "state_cookie_err", left=1)
    assert (await attempt.come_back()).status == 400
    await untouched(attempt)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("status", {"status": 500}),
        ("html", {}),
        ("status", {"status": 200, "body": {"access_token": "t", "scope": "mail calendar"}}),
        ("status", {"status": 302, "headers": {"Location": INSIDE}}),
        ("status", {"status": 307, "headers": {"Location": INSIDE}}),
        ("large", {}),
    ],
)
async def test_a_token_endpoint_that_answers_something_else(
    attempt: Attempt, kind: Any, options: dict[str, Any]
) -> None:
    """500, HTML, other scopes, a redirect to an address inside (never followed), too much."""
    attempt.browser.desk.provider.fail(kind, path="/oauth/token", **options)
    page = await attempt.come_back()
    message = await went_wrong(attempt.browser, page, "unknown_err", left=1)
    assert "169.254" not in message
    await untouched(attempt)


@pytest.mark.parametrize("ending", ["deleted", "expired"])
@pytest.mark.parametrize("reconnects", [False, True])
async def test_a_session_that_ended_meanwhile(
    open_desk: Opener, ending: str, reconnects: bool
) -> None:
    """The popup was open: its connect or reconnect ends as the session did, and is told so."""
    clock = FakeClock()
    async with open_desk(clock=clock) as desk:
        await integrate(desk)
        account = desk.provider.add_account("org-a")
        with desk.app.services.popups.waiting() as waiting:
            connection_id = await connected(Browser(desk, waiting), account)
        before = await shown(desk, connection_id)
        token = await reconnection(desk, connection_id) if reconnects else await desk.session()
        with desk.app.services.popups.waiting() as waiting:
            browser = Browser(desk, waiting)
            clock.move(LIFETIME.total_seconds() - 60)
            answer = await browser.begin(token)
            assert answer.status == 302, answer.body
            query = await browser.consent(answer.headers["location"], account)
            asked = len(desk.provider.calls_to("POST", "/oauth/token"))
            if ending == "deleted":
                await desk.ask("DELETE", "/connect/session", key=token)
            else:
                clock.move(60)
            page = await browser.come_back(query)
            message = await went_wrong(browser, page, "unknown_connect_session_token", left=1)
            assert "session ended" in message
        assert len(desk.provider.calls_to("POST", "/oauth/token")) == asked
        assert await shown(desk, connection_id) == before


async def test_a_session_lasts_until_its_last_moment(open_desk: Opener) -> None:
    """Somebody who comes back a second before it ends is connected."""
    clock = FakeClock()
    async with open_desk(clock=clock) as desk:
        await integrate(desk)
        account = desk.provider.add_account("org-a")
        token = await desk.session()
        with desk.app.services.popups.waiting() as waiting:
            browser = Browser(desk, waiting)
            clock.move(LIFETIME.total_seconds() - 60)
            answer = await browser.begin(token)
            query = await browser.consent(answer.headers["location"], account)
            clock.move(59)
            assert (await browser.come_back(query)).status == 200
            assert browser.frame is not None
            assert browser.frame["message_type"] == "success"


async def test_a_session_that_expired_opens_no_popup(open_desk: Opener) -> None:
    """After thirty minutes: 401 in JSON, and the socket hears of it."""
    clock = FakeClock()
    async with open_desk(clock=clock) as desk:
        await integrate(desk)
        token = await desk.session()
        clock.move(30 * 60 + 1)
        with desk.app.services.popups.waiting() as waiting:
            browser = Browser(desk, waiting)
            answer = await browser.begin(token)
            assert (answer.status, answer.code) == (401, "unknown_connect_session_token")
            assert browser.frame is not None
            assert browser.frame["error_type"] == "unknown_connect_session_token"


@pytest.mark.parametrize("name", ["authorization_url", "token_url"])
@pytest.mark.parametrize("address", [INSIDE, "http://[::1]:1/x"])
async def test_an_address_inside_is_reached_by_nobody(
    open_desk: Opener, name: str, address: str
) -> None:
    """Also one that comes with the connection's config: neither browser nor code goes there."""
    async with open_desk(egress_allow=("127.0.0.1/32",)) as desk:
        await integrate(desk, integration_config={})
        desk.provider.add_account("org-a")
        urls = {
            "authorization_url": f"{desk.provider.url}/oauth/authorize",
            "token_url": f"{desk.provider.url}/oauth/token",
            name: address,
        }
        defaults = {"oauth": {"connection_config": urls}}
        with desk.app.services.popups.waiting() as waiting:
            browser = Browser(desk, waiting)
            page = await browser.begin(await desk.session(integrations_config_defaults=defaults))
            if name == "token_url":
                assert page.status == 302, page.body
                page = await browser.come_back(await browser.consent(page.headers["location"]))
            assert page.status == 400
            assert "location" not in page.headers
            assert browser.frame is not None
            assert browser.frame["error_type"] == "url_param_err"
            assert await count(desk) == 0


async def test_scopes_of_a_session_may_be_a_list(desk: Desk) -> None:
    """`oauth_scopes_override` as imports write it."""
    await integrate(desk)
    config = {"oauth_scopes_override": ["a", "b"]}
    defaults = {"oauth": {"connection_config": config}}
    with desk.app.services.popups.waiting() as waiting:
        browser = Browser(desk, waiting)
        token = await desk.session(integrations_config_defaults=defaults)
        answer = await browser.begin(token, **{"params[oauth_scopes_override]": "mine"})
    assert "scope=a%20b&" in answer.headers["location"]


def test_a_code_may_have_another_name() -> None:
    """`authorization_code_param_in_callback` comes first, `code` is still understood."""
    definition = {"authorization_code_param_in_callback": "spapi_oauth_code"}
    provider = Provider("example", "Example", AuthMode.OAUTH2, definition)
    assert demand_code(provider, {"spapi_oauth_code": "a", "code": "b"}) == "a"
    assert demand_code(provider, {"code": "b"}) == "b"
    with pytest.raises(OAuthCallbackInvalid):
        demand_code(provider, {"spapi_oauth_code": ""})
