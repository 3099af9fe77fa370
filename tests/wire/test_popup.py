"""`@nangohq/frontend` from npm and its popup: out to the provider's consent page, and back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page
from tests.integration.server import ServerProcess, served
from tests.lifecycle.house import SETUP, VALIDATE
from tests.wire.accounts import (
    END_USER,
    REFUSE,
    add_account,
    connections,
    integrate_oauth,
    notified,
    reconnect_session,
    session,
    stored,
)
from tests.wire.clients import PATIENCE_S, BrowserClient, ClientError, Front

from carrick.testing.fake_provider import Account, FakeProvider

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: Keeps what a popup tells the window that opened it, and whether it closes when that is heard.
LISTEN = """url => new Promise((resolve) => {
    const popup = window.open(url, '_blank', 'width=500,height=600');
    window.addEventListener('message', ({ data, source }) => {
        source.postMessage({ type: 'nango_oauth_callback_ack' }, '*');
        const timer = setInterval(() => {
            if (!popup.closed) return;
            clearInterval(timer);
            resolve(data);
        }, 20);
    }, { once: true });
})"""


@pytest.fixture
def client(app: Page, server: ServerProcess) -> BrowserClient:
    """An official frontend client in that page."""
    return BrowserClient(app, server.url)


def signing_in(account: Account) -> dict[str, Any]:
    """Return the options of somebody who signs in at the provider with an account."""
    return {"authorization_params": {"login_hint": account.name}}


async def connection_of(server: ServerProcess, made: dict[str, Any]) -> dict[str, Any]:
    """Return the connection that the client says it made, in these words and no others."""
    assert set(made) == {"connectionId", "providerConfigKey", "isPending"}
    assert made["isPending"] is False
    return await stored(server, made)


async def set_up(server: ServerProcess, made: dict[str, Any]) -> dict[str, Any]:
    """Wait until a connection is set up, and return it."""
    found = await server.until(
        lambda: server.get(made["connectionId"], made["providerConfigKey"]),
        lambda answer: answer.json["setup"] != "pending",
    )
    assert found.json["setup"] == "done", found.text
    return dict(found.json)


@contextlib.asynccontextmanager
async def complaints(page: Page) -> AsyncIterator[list[str]]:
    """Keep what a browser complains of in popups, but for answers whose status is an error."""
    kept: list[str] = []

    def watch(popup: Page) -> None:
        popup.on("pageerror", lambda error: kept.append(str(error)))
        popup.on(
            "console",
            lambda line: kept.append(line.text) if "Failed to load" not in line.text else None,
        )

    page.on("popup", watch)
    yield kept
    page.remove_listener("popup", watch)


async def test_consent_connects_and_sets_up(client: BrowserClient, server: ServerProcess) -> None:
    """`auth` resolves with the connection; it is the end user's, and setup has run for it."""
    account = add_account(server)
    key = await integrate_oauth(server)
    deployed = await server.deploy(
        {"same-organisation": VALIDATE, "register-webhook": SETUP}, integration_id=key
    )
    assert deployed.status == 200, deployed.text
    token = await session(server, allowed_integrations=[key])
    async with complaints(client.page) as complained, client.page.expect_popup() as opening:
        made = await client.call(token, "auth", key, signing_in(account))
    popup = await opening.value
    if not popup.is_closed():
        await popup.wait_for_event("close")
    assert complained == []

    assert made["providerConfigKey"] == key
    connection = await connection_of(server, made)
    assert connection["credentials"]["access_token"] == account.access_token
    assert connection["end_user"]["id"] == END_USER["id"]
    connection = await set_up(server, made)
    [webhook] = server.provider.webhooks_of(account)
    assert connection["metadata"] == {"webhook_id": webhook.id}
    told = (await notified(server, key)).json()
    assert (told["connectionId"], told["operation"]) == (made["connectionId"], "creation")
    assert (told["authMode"], told["success"]) == ("OAUTH2", True)


async def test_a_provider_of_another_site_comes_back_by_a_form(
    client: BrowserClient, server: ServerProcess
) -> None:
    """`response_mode=form_post` works on http, where browsers keep our cookie from such a form."""
    account = add_account(server)
    key = await integrate_oauth(server, consent_at="localhost")
    token = await session(server, allowed_integrations=[key])
    options = {"login_hint": account.name, "response_mode": "form_post"}

    made = await client.call(token, "auth", key, {"authorization_params": options})

    connection = await stored(server, made)
    assert connection["credentials"]["access_token"] == account.access_token


async def test_consent_connects_under_a_path(
    app: Page, server: ServerProcess, front: Front
) -> None:
    """Behind a path the client needs the session's `websocketsPath` as well as `host`."""
    account = add_account(server)
    key = await integrate_oauth(server)
    client, token = BrowserClient(app, front.url), await session(server)
    bearer = {"Authorization": f"Bearer {token}"}
    shown = await server.call("GET", "/connect/session", headers=bearer, signed=False)
    options = {"websocketsPath": shown.json["data"]["websocketsPath"]}
    assert options == {"websocketsPath": f"{front.prefix}/"}
    made = await client.call(token, "auth", key, signing_in(account), **options)
    connection = await connection_of(server, made)
    assert connection["credentials"]["access_token"] == account.access_token


async def test_a_first_popup_on_localhost_works(app: Page, tmp_path: Path) -> None:
    """A server that nobody has configured, called by the name that newcomers write."""
    async with FakeProvider() as provider, served(tmp_path, provider) as fresh:
        account = add_account(fresh)
        key = await integrate_oauth(fresh)
        client = BrowserClient(app, fresh.url.replace("127.0.0.1", "localhost"))
        made = await client.call(await session(fresh), "auth", key, signing_in(account))
        connection = await connection_of(fresh, made)
        assert connection["credentials"]["access_token"] == account.access_token


async def test_the_same_account_reconnects(client: BrowserClient, server: ServerProcess) -> None:
    """`reconnect` renews the session's connection; another account is told it is not the one."""
    account, stranger = add_account(server), add_account(server)
    key = await integrate_oauth(server)
    deployed = await server.deploy({"same-organisation": VALIDATE}, integration_id=key)
    assert deployed.status == 200, deployed.text
    first = await client.call(await session(server), "auth", key, signing_in(account))
    server.provider.revoke(account)

    token = await reconnect_session(server, key, first["connectionId"])
    with pytest.raises(ClientError) as caught:
        await client.call(token, "reconnect", key, signing_in(stranger))
    assert caught.value.type == "connection_validation_failed"
    assert "not the account" in caught.value.message
    again = await client.call(token, "reconnect", key, signing_in(account))
    assert again == first
    connection = await connection_of(server, again)
    assert connection["credentials"]["access_token"] == account.access_token
    assert connection["errors"] == []
    assert len(await connections(server, key)) == 1


async def test_a_refusal_tells_the_author_s_message(
    client: BrowserClient, server: ServerProcess
) -> None:
    """What validate-connection refuses is told to the client, on the page, and leaves nothing."""
    add_account(server)
    key = await integrate_oauth(server)
    deployed = await server.deploy({"refuse": REFUSE}, integration_id=key)
    assert deployed.status == 200, deployed.text
    said = "Ask your administrator for the “Connect” permission first."
    async with complaints(client.page) as complained, client.page.expect_popup() as opening:
        with pytest.raises(ClientError) as caught:
            await client.call(await session(server), "auth", key)
    assert (caught.value.type, caught.value.is_auth_error) == ("connection_validation_failed", True)
    assert caught.value.message == said
    popup = await opening.value
    if not popup.is_closed():
        await popup.wait_for_event("close")
    assert complained == []
    assert await connections(server, key) == []


async def test_the_page_tells_the_window_that_opened_it(app: Page, server: ServerProcess) -> None:
    """Without a socket the message of the page is what there is, and its answer closes it."""
    add_account(server)
    key = await integrate_oauth(server)
    url = f"{server.url}/oauth/connect/{key}?connect_session_token={await session(server)}"
    async with asyncio.timeout(PATIENCE_S):
        told = await app.evaluate(LISTEN, f"{url}&authorization_params[deny]=1")
    assert told == {
        "type": "nango_oauth_callback_error",
        "payload": {"message": '{"error": "access_denied"}', "errorType": "callback_err"},
    }
    async with asyncio.timeout(PATIENCE_S):
        told = await app.evaluate(LISTEN, url)
    [connection] = await connections(server, key)
    assert told == {
        "type": "nango_oauth_callback_success",
        "payload": {
            "message_type": "success",
            "provider_config_key": key,
            "connection_id": connection["connection_id"],
            "is_pending": False,
        },
    }


async def test_a_person_reads_why_and_what_to_do(app: Page, server: ServerProcess) -> None:
    """The error page stays open and can be read."""
    key = await integrate_oauth(server)
    url = f"{server.url}/oauth/connect/{key}?connect_session_token={await session(server)}"
    opened = await app.context.new_page()
    try:
        await opened.goto(f"{url}&authorization_params[deny]=1")
        read = await opened.inner_text("main")
        assert "access_denied" in read
        assert "try again in the app" in read
        styled = "getComputedStyle(document.querySelector('h1')).borderTopStyle"
        assert await opened.evaluate(styled) == "solid"
    finally:
        await opened.close()


async def test_the_provider_s_no_is_told(client: BrowserClient, server: ServerProcess) -> None:
    """`access_denied` at the consent page rejects with the provider's word."""
    add_account(server)
    key = await integrate_oauth(server)
    denied = {"authorization_params": {"deny": "1"}}
    with pytest.raises(ClientError) as caught:
        await client.call(await session(server), "auth", key, denied)
    assert (caught.value.type, caught.value.is_auth_error) == ("callback_err", True)
    assert "access_denied" in caught.value.message
    assert await connections(server, key) == []


async def test_a_closed_window_is_noticed(client: BrowserClient, server: ServerProcess) -> None:
    """`detectClosedAuthWindow` rejects with `window_closed`; the next attempt connects."""
    account = add_account(server)
    key = await integrate_oauth(server)
    options = {**signing_in(account), "detectClosedAuthWindow": True}
    server.provider.fail("html", path="/oauth/authorize")

    async def leave(popup: Page) -> None:
        await popup.wait_for_url(f"{server.provider.url}/oauth/authorize?**")
        await popup.close()

    client.page.once("popup", leave)
    with pytest.raises(ClientError) as caught:
        await client.call(await session(server), "auth", key, options)
    assert (caught.value.type, caught.value.is_auth_error) == ("window_closed", True)
    assert await connections(server, key) == []
    made = await client.call(await session(server), "auth", key, options)
    connection = await connection_of(server, made)
    assert connection["credentials"]["access_token"] == account.access_token


async def test_what_a_session_does_not_permit_is_refused(
    client: BrowserClient, server: ServerProcess
) -> None:
    """Every refusal before the provider is asked rejects the promise with the server's code."""
    key, other = await integrate_oauth(server), await integrate_oauth(server)
    narrow, wide = await session(server, allowed_integrations=[other]), await session(server)
    provider = server.provider
    before = len(provider.calls_to("GET", "/oauth/authorize"))
    refusals = [
        (narrow, [key], "integration_not_allowed"),
        (wide, ["nothing"], "provider_config_err"),
        (wide, [key, "my-id"], "invalid_query_params"),
        ("nonsense", [key], "invalid_connect_session_token_format"),
        (f"nango_connect_session_{'0' * 64}", [key], "unknown_connect_session_token"),
    ]
    for token, args, kind in refusals:
        with pytest.raises(ClientError) as caught:
            await client.call(token, "auth", *args)
        assert (caught.value.type, caught.value.is_auth_error) == (kind, True)
        assert caught.value.message
    assert await connections(server, key) == []
    assert len(provider.calls_to("GET", "/oauth/authorize")) == before
