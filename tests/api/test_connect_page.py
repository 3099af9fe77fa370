"""The connect page as the server hands it out, and what it reads of its session."""

from __future__ import annotations

from typing import Any

import pytest
from tests.api.conftest import Desk, Opener

from carrick.connect_page import page_files


async def test_any_product_may_show_the_page_and_nothing_else_may_speak_for_it(
    desk: Desk,
) -> None:
    """It loads its own files and asks its own server; frames are open to everybody."""
    answer = await desk.ask("GET", "/connect/", key=None)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(
        part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "*"
    base = desk.app.services.settings.base_url
    assert policy["connect-src"] == f"'self' {base} {base.replace('http', 'ws', 1)}"
    assert "x-frame-options" not in answer.headers
    assert answer.headers["referrer-policy"] == "no-referrer"


async def test_the_page_has_an_address_that_ends_in_a_slash(desk: Desk) -> None:
    """Without it the page's files would be looked for beside it; what was asked is kept."""
    answer = await desk.ask("GET", "/connect?lang=de", key=None)
    assert (answer.status, answer.headers["location"]) == (307, "connect/?lang=de")
    assert (await desk.ask("GET", "/Connect/?lang=de", key=None)).status == 200


@pytest.mark.parametrize("name", sorted(page_files()))
async def test_files_are_kept_until_they_change(desk: Desk, name: str) -> None:
    """Each has its kind and a mark; who has it already is told so."""
    answer = await desk.ask("GET", f"/connect/assets/{name}", key=None)
    assert answer.status == 200
    assert answer.body == page_files()[name].content
    assert answer.headers["cache-control"] == "no-cache"
    held = {"if-none-match": answer.headers["etag"]}
    again = await desk.ask("GET", f"/connect/assets/{name}", key=None, headers=held)
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "../files.py", "..%2Ffiles.py", "%00"])
async def test_nothing_else_is_handed_out(desk: Desk, name: str) -> None:
    """A path names a file of the page or nothing."""
    answer = await desk.ask("GET", f"/connect/assets/{name}", key=None)
    assert (answer.status, answer.code) == (404, "not_found")


async def test_links_point_to_the_page(desk: Desk) -> None:
    """To this server's own, under the address by which others reach it."""
    made = (await desk.ask("POST", "/connect/sessions", {"end_user": {"id": "u1"}})).json["data"]
    base = desk.app.services.settings.base_url
    assert made["connect_link"] == f"{base}/connect/?session_token={made['token']}"


async def test_links_point_to_a_page_elsewhere(open_desk: Opener) -> None:
    """A setting names another page."""
    async with open_desk(connect_url="https://connect.example/page/") as desk:
        body = {"end_user": {"id": "u1"}}
        made = (await desk.ask("POST", "/connect/sessions", body)).json["data"]
        link = f"https://connect.example/page/?session_token={made['token']}"
        assert made["connect_link"] == link


async def test_the_page_looks_as_the_environment_says(desk: Desk) -> None:
    """What is set is shown in the session, the rest stays as it is by default."""
    body = {
        "connect_ui_settings": {"showWatermark": False, "theme": {"dark": {"primary": "#ABCDEF"}}}
    }
    changed = await desk.ask("PATCH", "/environment/settings", body)
    assert changed.status == 200, changed.body
    expected = {
        "showWatermark": False,
        "defaultTheme": "system",
        "theme": {"light": {"primary": "#00B2E3"}, "dark": {"primary": "#ABCDEF"}},
    }
    assert changed.json["data"]["connect_ui_settings"] == expected
    token = await desk.session()
    shown = await desk.ask("GET", "/connect/session", key=token)
    assert shown.json["data"]["connectUISettings"] == expected
    await desk.ask("PATCH", "/environment/settings", {"connect_ui_settings": None})
    shown = await desk.ask("GET", "/connect/session", key=token)
    assert shown.json["data"]["connectUISettings"]["showWatermark"] is True


@pytest.mark.parametrize(
    ("looks", "path"),
    [
        ({"defaultTheme": "pink"}, ["connect_ui_settings", "defaultTheme"]),
        (
            {"theme": {"light": {"primary": "url(x)"}}},
            ["connect_ui_settings", "theme", "light", "primary"],
        ),
        ({"logo": "x"}, ["connect_ui_settings"]),
    ],
)
async def test_looks_that_are_none_are_refused(
    desk: Desk, looks: dict[str, Any], path: list[str]
) -> None:
    """A colour is a colour and a theme is one of three."""
    answer = await desk.ask("PATCH", "/environment/settings", {"connect_ui_settings": looks})
    assert (answer.status, answer.code) == (400, "invalid_body")
    assert answer.json["error"]["errors"][0]["path"] == path


async def test_what_a_person_does_is_in_the_log_of_the_session(desk: Desk) -> None:
    """Each session has an operation; the page's notes are its messages."""
    token = await desk.session(allowed_integrations=["acme"])
    now = desk.app.rooms.clock.now().isoformat()
    for event, dimensions in (("open", {}), ("view:integration", {"integration": "acme"})):
        body = {"token": token, "event": event, "timestamp": now, "dimensions": dimensions}
        answer = await desk.ask("POST", "/connect/telemetry", body, key=None)
        assert answer.status == 204
    [session] = (await desk.ask("GET", "/operations?action=connect_session")).json["data"]
    assert (session["state"], session["integration_id"]) == ("success", "acme")
    assert session["meta"] == {"end_user_id": "u1"}
    shown = (await desk.ask("GET", f"/operations/{session['id']}")).json["data"]
    assert [(line["message"], line["fields"]["dimensions"]) for line in shown["messages"]] == [
        ("Connect page: open", {}),
        ("Connect page: view:integration", {"integration": "acme"}),
    ]
    assert token not in str(shown)
