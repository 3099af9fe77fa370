"""Callbacks that come by a form, as `response_mode=form_post` asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, urlencode

import pytest
from tests.api.asking import Answer
from tests.api.browser import Browser, count, went_wrong
from tests.api.conftest import Desk
from tests.api.test_oauth_popup import begun, integrate

FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def browser(desk: Desk) -> AsyncIterator[Browser]:
    """Somebody with a popup."""
    await integrate(desk)
    with desk.app.services.popups.waiting() as waiting:
        yield Browser(desk, waiting)


async def posted(desk: Desk, body: str, target: str = "/oauth/callback") -> Answer:
    """Come by another site's form: without cookies."""
    return await desk.ask("POST", target, key=None, headers=FORM, raw=body.encode())


async def test_a_form_is_sent_on_as_a_link(browser: Browser) -> None:
    """What it brought comes again in the query, tokens left out; then all is as ever."""
    query = await begun(browser)
    form = f"{query}&user=%7B%22name%22%3A%22%C3%84nn%22%7D&id_token=secret&access_token=secret"

    answer = await posted(browser.desk, form)

    assert (answer.status, answer.headers["cache-control"]) == (303, "no-store")
    on = answer.headers["location"]
    assert dict(parse_qsl(on.removeprefix("?"))) == {
        **dict(parse_qsl(query)),
        "user": '{"name":"Änn"}',
    }
    assert await count(browser.desk) == 0
    assert (await browser.come_back(on.removeprefix("?"))).status == 200
    assert await count(browser.desk) == 1


async def test_a_form_that_brings_an_error(browser: Browser) -> None:
    """It is told as it is when a link brings it."""
    state = dict(parse_qsl(await begun(browser)))["state"]
    answer = await posted(browser.desk, urlencode({"state": state, "error": "user_cancelled"}))
    page = await browser.come_back(answer.headers["location"].removeprefix("?"))
    assert "user_cancelled" in await went_wrong(browser, page, "callback_err")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("state=a&code=" + "x" * 8_000, id="too-long-for-an-address"),
        pytest.param("state=a&id_token=" + "x" * 70_000, id="too-long-to-read"),
        pytest.param("a=&" * 1_001, id="too-many-fields"),
    ],
)
async def test_a_form_that_is_no_answer_to_a_sign_in(browser: Browser, body: str) -> None:
    """A page says so, and no state is used."""
    query = await begun(browser)
    answer = await posted(browser.desk, body)
    assert answer.status == 400
    assert answer.headers["content-type"].startswith("text/html")
    assert browser.frame is None
    assert (await browser.come_back(query)).status == 200


@pytest.mark.parametrize("given", ["application/json", "text/plain", "multipart/form-data"])
async def test_other_content_types_are_refused(browser: Browser, given: str) -> None:
    """415, in JSON."""
    headers = {"content-type": given}
    answer = await browser.desk.ask(
        "POST", "/oauth/callback", key=None, headers=headers, raw=b"state=a&code=b"
    )
    assert (answer.status, answer.code) == (415, "invalid_content_type")


async def test_a_form_cannot_begin_a_flow(browser: Browser) -> None:
    """The rest of `/oauth` takes JSON alone, as ever."""
    answer = await posted(browser.desk, "a=b", "/oauth/connect/oauth")
    assert (answer.status, answer.code) == (415, "invalid_content_type")
