"""The connect page in Chromium, shown by the official client's `openConnectUI` on another site."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Page, expect
from tests.integration.server import ServerProcess
from tests.lifecycle.house import VALIDATE
from tests.wire.accounts import (
    REFUSE,
    add_account,
    connections,
    integrate,
    integrate_oauth,
    reconnect_session,
    session,
)
from tests.wire.clients import Front
from tests.wire.connecting import Product, fill_key

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: Makes frames as a strict product would: nothing in them may open a window.
NO_WINDOWS = """() => {
    const create = document.createElement.bind(document);
    document.createElement = (tag) => {
        const made = create(tag);
        if (tag === 'iframe') made.sandbox = 'allow-scripts allow-same-origin allow-forms';
        return made;
    };
}"""


async def test_an_api_key_connects(product: Product, server: ServerProcess) -> None:
    """The only integration is shown at once; the product hears of it all, and it can be closed."""
    key, account = await integrate(server, display_name="Acme"), add_account(server)
    dialog = await product.open_for(key)
    await expect(dialog.get_by_role("heading", name="Connect Acme")).to_be_focused()
    await fill_key(dialog, account, server)
    await dialog.get_by_role("button", name="Connect", exact=True).click()
    await expect(dialog.get_by_role("heading", name="Acme is connected")).to_be_focused()
    connection = (await product.connected()).json
    assert connection["credentials"]["apiKey"] == account.api_key
    assert connection["connection_config"] == {"base_url": server.provider.url}
    assert connection["end_user"]["id"] == "u1"
    frame = product.page.frames[1]
    assert "nango_connect_session" not in frame.url
    await dialog.get_by_role("button", name="Finish").click()
    await product.heard("close")
    await expect(product.page.locator("#connect-ui")).to_have_count(0)
    assert await product.kinds() == ["ready", "connect", "close"]
    await product.noted("open", "view:integration", "click:connect", "view:success", "click:finish")


async def test_a_form_asks_what_the_definition_says(
    product: Product, server: ServerProcess
) -> None:
    """In order, with examples and help; what is automated, hidden or preset is not asked."""
    key, account = await integrate(server, provider="desk"), add_account(server)
    dialog = await product.open_for(key)
    await dialog.get_by_role("button", name="Connect", exact=True).click()
    labels = await dialog.locator("form label:visible").all_inner_texts()
    assert labels == ["Team", "Region", "API address", "User name", "API token"]
    faults = dialog.locator(".fault:visible")
    assert await faults.all_inner_texts() == [
        "This is needed.",
        "Choose one of these.",
        *["This is needed."] * 3,
    ]
    team = dialog.get_by_label("Team", exact=True)
    await expect(team).to_be_focused()
    await expect(team).to_have_attribute("placeholder", "acme")
    await team.fill("My Company")
    await expect(faults.first).to_have_text(
        "This does not have the expected form. It looks like this: acme"
    )
    await team.fill("https://my-company.customers.desk.example")
    await dialog.get_by_label("Region").select_option("us")
    await expect(dialog.get_by_text("Support answers in English only.")).to_be_visible()
    await dialog.get_by_label("Cluster (optional)").fill("left alone")
    await dialog.get_by_label("Region").select_option("eu")
    await expect(dialog.get_by_label("Cluster (optional)")).to_be_hidden()
    await dialog.get_by_label("API address").fill("api.example.com")
    await dialog.get_by_label("User name").fill(account.username)
    await expect(faults.first).to_have_text(
        "Enter a whole address, such as https://api.example.com."
    )
    await dialog.get_by_label("API address").fill(server.provider.url)
    await dialog.get_by_label("API token", exact=True).fill(account.password)
    await expect(dialog.get_by_label("API token", exact=True)).to_have_attribute("type", "password")
    await dialog.get_by_role("button", name="Show API token").click()
    await expect(dialog.get_by_label("API token", exact=True)).to_have_attribute("type", "text")
    guide = dialog.get_by_role("link", name="Where do I find this? Team")
    await expect(guide).to_have_attribute("href", "https://docs.example.com/desk#address")
    guide = dialog.get_by_role("link", name="How to connect Desk")
    await expect(guide).to_have_attribute("href", "https://docs.example.com/desk")
    await dialog.get_by_role("button", name="Connect", exact=True).click()
    connection = (await product.connected()).json
    assert connection["connection_config"] == {
        "team": "my-company",
        "region": "eu",
        "base_url": server.provider.url,
        "edition": "standard",
    }


async def test_what_the_session_decides_is_not_asked(
    product: Product, server: ServerProcess
) -> None:
    """Defaults of the session win without a question, and its guide replaces the definition's."""
    key, account = await integrate(server, provider="desk"), add_account(server)
    config = {"team": "acme", "region": "us", "base_url": server.provider.url}
    token = await session(
        server,
        allowed_integrations=[key],
        integrations_config_defaults={key: {"connection_config": config}},
        overrides={key: {"docs_connect": "https://acme.example/help"}},
    )
    dialog = await product.open(token)
    await expect(dialog.get_by_role("link", name="How to")).to_have_attribute(
        "href", "https://acme.example/help"
    )
    await dialog.get_by_label("User name").fill(account.username)
    await dialog.get_by_label("API token", exact=True).fill(account.password)
    labels = await dialog.locator("form label:visible").all_inner_texts()
    assert labels == ["User name", "API token"]
    await dialog.get_by_role("button", name="Connect", exact=True).click()
    connection = (await product.connected()).json
    assert connection["connection_config"] == {**config, "edition": "standard"}


async def test_nothing_that_is_shown_is_run(product: Product, server: ServerProcess) -> None:
    """Names, guides and messages are texts, whatever a developer, author or provider wrote."""
    evil = "<img src=x onerror='parent.postMessage({type: `run`}, `*`)'>"
    key, account = await integrate(server, display_name=evil), add_account(server)
    refuse = REFUSE.replace("Ask your administrator", f"Ask {evil}")
    assert (await server.deploy({"refuse": refuse}, integration_id=key)).status == 200
    guide = {key: {"docs_connect": "javascript:parent.postMessage({type:'run'},'*')"}}
    token = await session(server, allowed_integrations=[key], overrides=guide)
    dialog = await product.open(token)
    await expect(dialog.get_by_role("heading", name=evil)).to_be_visible()
    await expect(dialog.get_by_role("link")).to_have_count(0)
    await fill_key(dialog, account, server)
    await dialog.get_by_role("button", name="Connect", exact=True).click()
    await expect(dialog.get_by_role("alert")).to_contain_text(f"Ask {evil}")
    await expect(dialog.locator("img[src=x]")).to_have_count(0)
    assert await product.kinds() == ["ready", "error"]


async def test_a_refusal_says_why_and_lets_try_again(
    product: Product, server: ServerProcess
) -> None:
    """The author's message is shown, the form stays filled, and the next try may succeed."""
    key, account = await integrate(server), add_account(server)
    assert (await server.deploy({"refuse": REFUSE}, integration_id=key)).status == 200
    dialog = await product.open_for(key)
    await fill_key(dialog, account, server)
    await dialog.get_by_role("button", name="Connect", exact=True).click()
    said = "Ask your administrator for the “Connect” permission first."
    alert = dialog.get_by_role("alert")
    await expect(alert).to_contain_text(said)
    await expect(alert).to_be_focused()
    assert (await product.heard("error"))["payload"] == {
        "errorType": "connection_validation_failed",
        "errorMessage": said,
    }
    assert await connections(server, key) == []
    await expect(dialog.get_by_label("API key", exact=True)).to_have_value(account.api_key)
    assert (await server.deploy({"same": VALIDATE}, integration_id=key)).status == 200
    await dialog.get_by_role("button", name="Try again").click()
    await product.connected()
    await product.noted("click:connect", "view:credentials_error", "click:connect", "view:success")


async def test_a_key_the_provider_refuses_can_be_corrected(
    product: Product, server: ServerProcess
) -> None:
    """A failed check says so; when the provider is down, that it can be tried again as it is."""
    key, account = await integrate(server, provider="verified"), add_account(server)
    dialog = await product.open_for(key)
    await fill_key(dialog, account, server)
    await dialog.get_by_label("API key", exact=True).fill("wrong")
    await dialog.get_by_role("button", name="Connect", exact=True).click()
    alert = dialog.get_by_role("alert")
    await expect(alert).to_contain_text("did not accept these details")
    assert (await product.heard("error"))["payload"]["errorType"] == "connection_test_failed"
    await dialog.get_by_label("API key", exact=True).fill(account.api_key)
    server.provider.fail("status", path="/api/me", status=503)
    await dialog.get_by_role("button", name="Try again").click()
    await expect(alert).to_contain_text("could not be checked right now")
    await dialog.get_by_role("button", name="Try again").click()
    await product.connected()


async def test_another_account_is_refused_on_reconnect(
    product: Product, server: ServerProcess
) -> None:
    """A reconnect session says so, refuses a stranger, and renews the connection it is for."""
    key, account = await integrate(server, display_name="Acme"), add_account(server)
    assert (await server.deploy({"same": VALIDATE}, integration_id=key)).status == 200
    made = await server.connect(account, provider_config_key=key)
    assert made.status == 201, made.text
    dialog = await product.open(await reconnect_session(server, key, "one"))
    await expect(dialog.get_by_role("heading")).to_have_text("Reconnect Acme")
    await fill_key(dialog, add_account(server), server)
    await dialog.get_by_role("button", name="Reconnect").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("not the account")
    await fill_key(dialog, account, server)
    await dialog.get_by_role("button", name="Try again").click()
    await expect(dialog.get_by_role("heading")).to_have_text("Acme is connected again")
    assert (await product.connected()).json["connection_id"] == "one"


async def test_consent_in_a_window_connects(product: Product, server: ServerProcess) -> None:
    """The window opens on the click, closes when it is done, and the connection is there."""
    key, account = await integrate_oauth(server), add_account(server)
    dialog = await product.open_for(key, account)
    async with product.page.expect_popup() as opening:
        await dialog.get_by_role("button", name="Continue to OAuth 2.0").click()
    popup = await opening.value
    connection = (await product.connected()).json
    assert connection["credentials"]["access_token"] == account.access_token
    if not popup.is_closed():
        await popup.wait_for_event("close")
    await expect(dialog.get_by_role("heading", name="OAuth 2.0 is connected")).to_be_focused()


async def test_the_page_works_under_a_path(
    product: Product, server: ServerProcess, front: Front
) -> None:
    """Behind a path the page finds its files, the API and the socket."""
    key, account = await integrate_oauth(server), add_account(server)
    urls = {"baseURL": f"{front.url}/connect", "apiURL": front.url}
    dialog = await product.open_for(key, account, **urls)
    async with product.page.expect_popup():
        await dialog.get_by_role("button", name="Continue to OAuth 2.0").click()
    connection = (await product.connected()).json
    assert connection["credentials"]["access_token"] == account.access_token


async def test_a_lost_socket_loses_no_connection(
    product: Product, server: ServerProcess, front: Front
) -> None:
    """Without its socket the page hears of the outcome from the window's last page."""
    key, account = await integrate_oauth(server), add_account(server)
    await product.page.route_web_socket(re.compile("^ws"), lambda socket: socket.close())
    urls = {"baseURL": f"{front.url}/connect", "apiURL": front.url}
    dialog = await product.open_for(key, account, **urls)
    async with product.page.expect_popup():
        await dialog.get_by_role("button", name="Continue to OAuth 2.0").click()
    await product.connected()


async def test_what_the_provider_says_no_to_is_told(
    product: Product, server: ServerProcess
) -> None:
    """A refusal in the window closes it and is told in the dialog, where it can be tried again."""
    key = await integrate_oauth(server)
    add_account(server)
    assert (await server.deploy({"refuse": REFUSE}, integration_id=key)).status == 200
    dialog = await product.open_for(key)
    async with product.page.expect_popup() as opening:
        await dialog.get_by_role("button", name="Continue to OAuth 2.0").click()
    popup = await opening.value
    await expect(dialog.get_by_role("alert")).to_contain_text("Ask your administrator")
    payload = (await product.heard("error"))["payload"]
    assert payload["errorType"] == "connection_validation_failed"
    if not popup.is_closed():
        await popup.wait_for_event("close")
    await expect(dialog.get_by_role("button", name="Try again")).to_be_visible()


@pytest.mark.parametrize("strict", [False, True], ids=["lenient", "strict"])
async def test_a_closed_window_is_noticed(
    product: Product, server: ServerProcess, strict: bool
) -> None:
    """It is told as `window_closed` where the product asks for that; anyway it can be reopened."""
    key = await integrate_oauth(server)
    add_account(server)
    server.provider.fail("html", path="/oauth/authorize")
    dialog = await product.open_for(key, detectClosedAuthWindow=strict)
    async with product.page.expect_popup() as opening:
        await dialog.get_by_role("button", name="Continue to OAuth 2.0").click()
    popup = await opening.value
    await popup.wait_for_url(f"{server.provider.url}/oauth/authorize?**")
    await expect(dialog.get_by_role("button", name="Show the window")).to_be_visible()
    await popup.close()
    if strict:
        await expect(dialog.get_by_role("alert")).to_contain_text("window was closed")
        assert (await product.heard("error"))["payload"]["errorType"] == "window_closed"
    else:
        await expect(dialog.get_by_role("status").first).to_contain_text("seems to be closed")
    again = dialog.get_by_role("button", name="Try again" if strict else "Open it again")
    async with product.page.expect_popup():
        await again.click()
    await product.connected()
    await product.noted("click:connect", "popup:closed_early", "click:connect", "view:success")


async def test_a_blocked_window_is_told(product: Product, server: ServerProcess) -> None:
    """Where the browser opens no window, the person reads what to do about it."""
    key = await integrate_oauth(server)
    await product.page.evaluate(NO_WINDOWS)
    dialog = await product.open_for(key)
    await dialog.get_by_role("button", name="Continue to OAuth 2.0").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("Allow pop-up windows")
    assert (await product.heard("error"))["payload"]["errorType"] == "blocked_by_browser"
    await product.noted("click:connect", "popup:blocked_by_browser")


async def test_an_ended_session_is_told_and_replaced(
    product: Product, server: ServerProcess
) -> None:
    """At the start or in the middle; the product may send another token and it goes on."""
    key, account = await integrate(server), add_account(server)
    token = await session(server, allowed_integrations=[key])
    dialog = await product.open(token)
    await fill_key(dialog, account, server)
    bearer = {"Authorization": f"Bearer {token}"}
    await server.call("DELETE", "/connect/session", headers=bearer, signed=False)
    await dialog.get_by_role("button", name="Connect", exact=True).click()
    await expect(dialog.get_by_role("heading")).to_have_text("This session has ended")
    payload = (await product.heard("error"))["payload"]
    assert payload["errorType"] == "unknown_connect_session_token"

    dialog = await product.open(token)
    await expect(dialog.get_by_role("heading")).to_have_text("This session has ended")
    fresh = await session(server, allowed_integrations=[key])
    await product.page.evaluate("token => window.ui.setSessionToken(token)", fresh)
    await fill_key(dialog, account, server)
    await dialog.get_by_role("button", name="Connect", exact=True).click()
    await product.connected()


async def test_a_link_needs_no_product_page(app: Page, server: ServerProcess, front: Front) -> None:
    """The token leaves the address bar, no address tells it on, and a reload still finds it."""
    key, account = await integrate(server), add_account(server)
    body = {"end_user": {"id": "u1"}, "allowed_integrations": [key]}
    made = (await server.call("POST", "/connect/sessions", body)).json["data"]
    assert made["connect_link"] == f"{front.url}/connect/?session_token={made['token']}"
    referrers: list[Any] = []
    opened = await app.context.new_page()
    opened.on("request", lambda request: referrers.append(request.headers.get("referer")))
    try:
        await opened.goto(made["connect_link"])
        await opened.get_by_label("API key", exact=True).wait_for()
        assert opened.url == f"{front.url}/connect/"
        await opened.reload()
        await opened.get_by_label("API address").fill(server.provider.url)
        await opened.get_by_label("API key", exact=True).fill(account.api_key)
        await opened.get_by_role("button", name="Connect", exact=True).click()
        await expect(opened.get_by_role("heading")).to_contain_text("is connected")
        assert not any(referrers)
        await opened.goto(f"{front.url}/connect")
        await expect(opened.get_by_role("heading")).to_have_text("This link is not complete")
    finally:
        await opened.close()
    [connection] = await connections(server, key)
    assert connection["end_user"]["id"] == "u1"


async def test_no_other_server_gets_what_is_typed_here(
    product: Product, server: ServerProcess, front: Front
) -> None:
    """An address that names another API, however willing, shows nothing to be filled in."""
    key = await integrate(server)
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    async with server.http.get(f"{elsewhere}/live") as answer:
        assert answer.status == 200
    dialog = await product.open_for(key, baseURL=f"{front.url}/connect", apiURL=elsewhere)
    await expect(dialog.get_by_role("heading")).to_have_text("The server cannot be reached")
    assert (await product.heard("error"))["payload"]["errorType"] == "unreachable"
