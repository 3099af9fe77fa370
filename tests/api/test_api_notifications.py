"""Notifications over HTTP: which are sent, what is kept of them, and sending one again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from structlog.testing import capture_logs
from tests.api.browser import Browser
from tests.api.conftest import Desk, Opener

from carrick.testing.fake_provider import FakeProvider

WHICH = "provider_config_key=acme"


@pytest.fixture
async def desk(open_desk: Opener, provider: FakeProvider) -> AsyncIterator[Desk]:
    """A server that tells the provider's sink what happens."""
    async with open_desk(webhook_urls={"dev": f"{provider.notification_url}?key=hidden"}) as opened:
        yield opened


async def told(desk: Desk, count: int) -> list[Any]:
    """Come back when the app has heard that many things, and return them."""
    heard = desk.provider.notifications
    await desk.provider.until(lambda: len(heard) >= count)
    return [one.json() for one in heard]


async def notification(desk: Desk, state: str, **wanted: str) -> Any:
    """Come back when there is a notification in a state, and return the newest."""
    query = urlencode({"state": state, **wanted})
    for _ in range(200):
        found = (await desk.ask("GET", f"/notifications?{query}")).json["data"]
        if found:
            return found[0]
        await desk.app.rooms.clock.sleep(0.02)
    raise AssertionError(f"no notification is {state}")


async def test_an_address_of_no_environment_is_named_at_start(open_desk: Opener) -> None:
    """CARRICK_WEBHOOK_URL_PRD would else be missed when the first notification is."""
    urls = dict.fromkeys(("dev", "prd"), "https://app.example/hook")
    with capture_logs() as lines:
        async with open_desk(webhook_urls=urls):
            pass
    unused = [line["setting"] for line in lines if line["event"] == "webhook_url_unused"]
    assert unused == ["CARRICK_WEBHOOK_URL_PRD"]


async def test_a_notification_shows_what_became_of_it(desk: Desk) -> None:
    """Listed by state and connection; whole with its body, every attempt, and no secret."""
    await desk.connected("one")
    await told(desk, 1)
    listed = await notification(desk, "delivered", connection_id="one")
    assert (listed["kind"], listed["attempts"]) == ("connection_create", 1)
    assert listed["url"] == desk.provider.notification_url
    assert listed["next_attempt_at"] is None

    answer = await desk.ask("GET", f"/notifications/{listed['id']}")

    shown = answer.json["data"]
    assert shown["body"] == desk.provider.notifications[0].json()
    assert [(one["number"], one["status"], one["error"]) for one in shown["history"]] == [
        (1, 200, None)
    ]
    assert desk.provider.notifications[0].headers["webhook-id"] == listed["id"]
    assert b"hidden" not in answer.body
    assert (await desk.ask("GET", "/notifications?connection_id=other")).json["data"] == []


async def test_a_notification_that_was_given_up_is_sent_again(desk: Desk) -> None:
    """`retry` sends at once, under the same id; what was delivered is refused."""
    desk.provider.fail("status", path="/app/webhooks", status=404)
    await desk.connected("one")
    failed = await notification(desk, "failed")
    assert failed["last_answer"] == {"status": 404}

    answer = await desk.ask("POST", f"/notifications/{failed['id']}/retry")

    assert answer.json == {"data": {"success": True}}
    again = await notification(desk, "delivered")
    assert (again["id"], again["attempts"]) == (failed["id"], 2)
    refused = await desk.ask("POST", f"/notifications/{failed['id']}/retry")
    assert (refused.status, refused.code) == (400, "operation_not_retryable")


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("GET", "/notifications?state=lost", 400, "invalid_query_params"),
        ("GET", "/notifications?limit=1000", 400, "invalid_query_params"),
        ("GET", "/notifications/nothing", 404, "not_found"),
        ("POST", "/notifications/nothing/retry", 404, "not_found"),
    ],
)
async def test_what_cannot_be_is_refused(
    desk: Desk, method: str, target: str, status: int, code: str
) -> None:
    """In the documented shape."""
    answer = await desk.ask(method, target)
    assert (answer.status, answer.code) == (status, code)


async def test_reading_takes_one_scope_and_sending_another(desk: Desk) -> None:
    """A key for the log cannot send, one for connections cannot read, nobody sees prod's."""
    await desk.connected("one")
    listed = await notification(desk, "delivered")
    reader = await desk.key("environment:logs:read")
    sender = await desk.key("environment:connections:update")
    target = f"/notifications/{listed['id']}"
    assert (await desk.ask("GET", target, key=reader)).status == 200
    assert (await desk.ask("POST", f"{target}/retry", key=reader)).status == 403
    assert (await desk.ask("GET", target, key=sender)).status == 403
    prod = desk.app.settings.secret_keys["prod"].get_secret_value()
    assert (await desk.ask("GET", target, key=prod)).status == 404


async def test_deletions_are_told_to_those_who_ask(desk: Desk) -> None:
    """Off by default, on by the environment's setting."""
    await desk.connected("one")
    await desk.ask("DELETE", f"/connections/one?{WHICH}")
    settings = {"on_connection_deletion": True, "on_auth_creation": False}
    assert (await desk.ask("PATCH", "/environment/settings", settings)).status == 200
    await desk.connected("two")
    await desk.ask("DELETE", f"/connections/two?{WHICH}")

    heard = await told(desk, 2)

    assert [(one["operation"], one["connectionId"]) for one in heard] == [
        ("creation", "one"),
        ("deletion", "two"),
    ]


async def test_every_gate_is_a_setting(desk: Desk) -> None:
    """All five can be changed and are shown."""
    gates = (
        "on_auth_creation",
        "on_auth_refresh_error",
        "on_connection_deletion",
        "on_setup_failed",
        "on_cleanup_parked",
    )
    shown = (await desk.ask("GET", "/environment/settings")).json["data"]
    assert [shown[gate] for gate in gates] == [True, True, False, True, True]
    changes = {gate: not shown[gate] for gate in gates}
    changed = (await desk.ask("PATCH", "/environment/settings", changes)).json["data"]
    assert {gate: changed[gate] for gate in gates} == changes


async def test_a_connections_own_address_stands_in_for_the_others(
    desk: Desk, provider: FakeProvider
) -> None:
    """Neither the server's nor the environment's addresses hear of it."""
    spare = {"secondary_url": f"{provider.url}/api/echo"}
    assert (await desk.ask("PATCH", "/environment/settings", spare)).status == 200
    await desk.connected("one", webhook_url_override=f"{provider.url}/webhooks-of-one")
    listed = await notification(desk, "failed")
    assert listed["url"] == f"{provider.url}/webhooks-of-one"
    assert len((await desk.ask("GET", "/notifications")).json["data"]) == 1


# --- failures nobody expects ------------------------------------------------------------------


async def test_a_fault_of_this_server_is_told_to_the_app(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connect that breaks in our hands is a failed creation, with nothing of the inside in it."""

    async def broken(*_: Any, **__: Any) -> None:
        raise ValueError("inside")

    monkeypatch.setattr(desk.app.rooms.proxy, "verify", broken)
    body = {
        "provider_config_key": "acme",
        "connection_id": "one",
        "credentials": {"type": "API_KEY", "apiKey": "k"},
        "connection_config": {"base_url": desk.provider.url},
    }
    assert (await desk.ask("POST", "/connections", body)).status == 500

    [heard] = await told(desk, 1)

    assert heard == {
        "authMode": "API_KEY",
        "connectionId": "one",
        "environment": "dev",
        "error": {"description": "Something went wrong on the server.", "type": "server_error"},
        "from": "nango",
        "operation": "creation",
        "provider": "api-key",
        "providerConfigKey": "acme",
        "success": False,
        "type": "auth",
    }
    assert (await desk.ask("GET", f"/connections/one?{WHICH}")).status == 404


@pytest.mark.parametrize(
    ("fault", "answer", "kind"),
    [
        ({}, {"error": "access_denied"}, "invalid_callback"),
        ({"kind": "html"}, None, "unable_to_parse_token_response"),
        ({"kind": "status", "status": 400, "body": {"error": "invalid_client"}}, None, "unknown"),
    ],
)
async def test_a_consent_that_comes_to_nothing_is_told_to_the_app(
    desk: Desk, fault: dict[str, Any], answer: dict[str, str] | None, kind: str
) -> None:
    """The person in front of the popup can do nothing about it; the developer can."""
    url, provider = desk.provider.url, desk.provider
    await desk.add(
        "oauth",
        "oauth2",
        credentials={
            "type": "OAUTH2",
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
        },
        integration_config={
            "authorization_url": f"{url}/oauth/authorize",
            "token_url": f"{url}/oauth/token",
        },
    )
    provider.add_account("org-a")
    if fault:
        provider.fail(fault.pop("kind"), path="/oauth/token", **fault)
    with desk.app.services.popups.waiting() as waiting:
        browser = Browser(desk, waiting)
        begun = await browser.begin(await desk.session())
        location = begun.headers["location"]
        if answer is None:
            back = await browser.consent(location)
        else:
            state = dict(parse_qsl(urlsplit(location).query))["state"]
            back = urlencode({**answer, "state": state})
        await browser.come_back(back)

    [heard] = await told(desk, 1)

    assert (heard["operation"], heard["success"]) == ("creation", False)
    assert heard["error"]["type"] == kind
    assert (heard["provider"], heard["providerConfigKey"]) == ("oauth2", "oauth")
    assert not {"tags", "endUser"} & heard.keys()


async def test_what_was_to_be_expected_is_not_told(desk: Desk) -> None:
    """A body that does not fit, an integration that is not there: whoever asked knows already."""
    body = {"provider_config_key": "acme", "credentials": {"type": "API_KEY"}}
    assert (await desk.ask("POST", "/connections", body)).status == 400
    assert (await desk.ask("GET", "/notifications")).json["data"] == []
