"""Whom the connect page serves: eyes, ears and fingers, in both themes and both languages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Frame, Page, expect
from tests.integration.server import ServerProcess
from tests.wire.accounts import add_account, integrate, integrate_oauth, session
from tests.wire.clients import PACKAGES
from tests.wire.connecting import Product

pytestmark = pytest.mark.asyncio(loop_scope="session")

AXE = PACKAGES.parent / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
FAULTS = """async rules => {
    const found = await axe.run(document, { runOnly: rules });
    const say = ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`;
    return found.violations.map(say);
}"""
#: What sticks out of the window at either side.
OVERFLOWING = """() => [...document.querySelectorAll('.card *')]
    .filter((one) => one.offsetParent && !one.classList.contains('unseen'))
    .filter((one) => {
        const { left, right } = one.getBoundingClientRect();
        return left < -1 || right > innerWidth + 1;
    })
    .map((one) => one.outerHTML.slice(0, 80))"""
#: What the official client would send; nothing is sent.
SENT_BY_CLIENT = """async ({ key, options }) => {
    const { default: Nango } = await import('/client/index.js');
    const nango = new Nango({ host: 'https://api.example', connectSessionToken: 'token' });
    const real = window.fetch;
    let sent;
    window.fetch = async (address, { body }) => {
        sent = { path: new URL(address).pathname, body: body ? JSON.parse(body) : null };
        return new Response(JSON.stringify({ connectionId: '1', providerConfigKey: key }));
    };
    try {
        await (options.credentials ? nango.auth(key, options) : nango.create(key));
    } finally {
        window.fetch = real;
    }
    return sent;
}"""
SENT_BY_PAGE = """async ({ url, key, provider, credentials, assertion }) => {
    const { routeOf, bodyOf } = await import(`${url}/connect/assets/modes.js`);
    return { path: `/${routeOf(provider)}/${key}`, body: bodyOf(provider, credentials, assertion) };
}"""

Look = Callable[..., Awaitable[Product]]


@pytest_asyncio.fixture(loop_scope="session")
async def look(app: Page, server: ServerProcess) -> AsyncIterator[Look]:
    """Opens a product's page with a browser of certain habits."""
    browser = app.context.browser
    assert browser is not None
    contexts = []

    async def opened(**habits: Any) -> Product:
        context = await browser.new_context(reduced_motion="reduce", **habits)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = await context.new_page()
        await page.goto(app.url)
        await page.wait_for_function("window.openConnect !== undefined")
        return Product(page, server)

    yield opened
    for context in contexts:
        await context.close()


async def many(server: ServerProcess, *keys: str) -> str:
    """Open a session that allows so many integrations that they can be searched."""
    others = [await integrate(server, display_name=f"Planner {at}") for at in range(7)]
    names = [*keys, *others]
    return await session(server, allowed_integrations=names)


def frame_of(product: Product) -> Frame:
    """Return the connect page's own frame."""
    return product.page.frames[1]


async def faults_of(product: Product) -> list[str]:
    """Return what an accessibility checker has against what is shown."""
    frame = frame_of(product)
    if not await frame.evaluate("'axe' in window"):
        await frame.evaluate(AXE.read_text())
    found: list[str] = await frame.evaluate(FAULTS, RULES)
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_view_can_be_read_by_everybody(
    look: Look, server: ServerProcess, theme: str, tmp_path: Path
) -> None:
    """An accessibility checker finds nothing, in either theme; pictures are kept of all views."""
    product = await look(color_scheme=theme, viewport={"width": 900, "height": 800})
    key, oauth = await integrate(server, provider="desk"), await integrate_oauth(server)
    account = add_account(server)

    async def judge(view: str) -> None:
        assert await faults_of(product) == [], view
        picture = await product.page.screenshot(path=tmp_path / f"{theme}-{view}.png")
        assert len(picture) > 10_000

    dialog = await product.open(await many(server))
    await dialog.get_by_role("searchbox").fill("planner 6")
    await expect(dialog.get_by_role("listitem")).to_have_count(1)
    await judge("list")
    background = "getComputedStyle(document.querySelector('.card')).backgroundColor"
    shade = "rgb(255, 255, 255)" if theme == "light" else "rgb(23, 26, 33)"
    assert await frame_of(product).evaluate(background) == shade
    dialog = await product.open_for(key)
    await dialog.get_by_label("Team", exact=True).wait_for()
    await judge("form")
    await dialog.get_by_label("Region").select_option("us")
    await dialog.get_by_role("button", name="Connect", exact=True).click()
    await judge("form-with-faults")
    dialog = await product.open_for(oauth, account)
    server.provider.fail("html", path="/oauth/authorize")
    async with product.page.expect_popup() as opening:
        await dialog.get_by_role("button", name="Continue").click()
    popup = await opening.value
    await popup.wait_for_url(f"{server.provider.url}/oauth/authorize?**")
    await judge("waiting")
    await dialog.get_by_role("button", name="Cancel").click()
    if not popup.is_closed():
        await popup.wait_for_event("close")
    server.provider.fail("status", path="/oauth/token", status=400)
    async with product.page.expect_popup():
        await dialog.get_by_role("button", name="Continue").click()
    await dialog.get_by_role("alert").wait_for()
    await judge("refused")
    async with product.page.expect_popup():
        await dialog.get_by_role("button", name="Try again").click()
    await dialog.get_by_role("button", name="Finish").wait_for()
    await judge("success")
    dialog = await product.open(f"nango_connect_session_{'0' * 64}")
    await dialog.get_by_text("This session has ended").wait_for()
    await judge("ended")


async def test_a_keyboard_is_enough(look: Look, server: ServerProcess) -> None:
    """Everything is reached and left by keys, and focus stays inside the dialog."""
    product = await look()
    press = product.page.keyboard.press
    key, account = await integrate(server, display_name="Acme"), add_account(server)
    dialog = await product.open(await many(server, key))
    # By its name: while the page loads there is another heading and nothing to tab to.
    await expect(dialog.get_by_role("heading", name="Connect an account")).to_be_focused()
    await product.takes_keys()
    await press("Tab")
    await expect(dialog.get_by_role("searchbox")).to_be_focused()
    await product.page.keyboard.type("acme")
    await expect(dialog.get_by_role("listitem")).to_have_count(1)
    await press("Tab")
    await expect(dialog.get_by_role("button", name="Acme")).to_be_focused()
    await press("Enter")
    await expect(dialog.get_by_role("heading", name="Connect Acme")).to_be_focused()
    await press("Tab")
    await product.page.keyboard.type(server.provider.url)
    await press("Tab")
    await product.page.keyboard.type(account.api_key)
    await press("Tab")
    await expect(dialog.get_by_role("button", name="Show API key")).to_be_focused()
    await press("Tab")
    await expect(dialog.get_by_role("button", name="Connect", exact=True)).to_be_focused()
    await press("Tab")
    await expect(dialog.get_by_role("button", name="Close")).to_be_focused()
    await press("Shift+Tab")
    await press("Enter")
    connection = (await product.connected()).json
    assert connection["credentials"]["apiKey"] == account.api_key
    await expect(dialog.get_by_role("heading", name="Acme is connected")).to_be_focused()
    await press("Tab")
    await product.closes_by("Enter")

    dialog = await product.open_for(key)
    await expect(dialog.get_by_role("heading", name="Connect Acme")).to_be_focused()
    await product.takes_keys()
    await product.closes_by("Escape")
    await expect(product.page.locator("#connect-ui")).to_have_count(0)


async def test_a_slip_beside_the_dialog_loses_nothing(look: Look, server: ServerProcess) -> None:
    """A click beside it closes it, but not once something was filled in."""
    product = await look(viewport={"width": 900, "height": 700})
    key = await integrate(server)
    dialog = await product.open_for(key)
    address = dialog.get_by_label("API address")
    await address.fill("https://api.example.com")
    await product.page.mouse.click(20, 20)
    await expect(address).to_have_value("https://api.example.com")
    await address.fill("")
    await product.page.mouse.click(20, 20)
    await product.heard("close")


async def test_a_narrow_window_is_wide_enough(look: Look, server: ServerProcess) -> None:
    """At 320 px, which is also 640 px at 200 %, nothing sticks out and the button is reached."""
    product = await look(viewport={"width": 320, "height": 560})
    key = await integrate(server, provider="desk", display_name="Donaudampfschifffahrt " * 3)
    dialog = await product.open_for(key, lang="de")
    await dialog.get_by_role("button", name="Verbinden", exact=True).click()
    assert await frame_of(product).evaluate(OVERFLOWING) == []
    assert await frame_of(product).evaluate("document.documentElement.scrollWidth") <= 320
    button = dialog.get_by_role("button", name="Verbinden", exact=True)
    await button.scroll_into_view_if_needed()
    await expect(button).to_be_in_viewport()


async def test_it_speaks_german(look: Look, server: ServerProcess) -> None:
    """By the product's `lang`, else by the browser's languages; the provider's texts as well."""
    key = await integrate(server)
    product = await look(locale="de-AT")
    dialog = await product.open_for(key, lang="")
    await expect(dialog.get_by_role("button", name="Verbinden", exact=True)).to_be_visible()
    assert await frame_of(product).evaluate("document.documentElement.lang") == "de"
    dialog = await product.open_for(key, lang="en-GB")
    await expect(dialog.get_by_role("button", name="Connect", exact=True)).to_be_visible()
    product = await look(locale="fi-FI")
    dialog = await product.open_for(key, lang="")
    await expect(dialog.get_by_role("button", name="Connect", exact=True)).to_be_visible()


async def test_the_environment_decides_how_it_looks(look: Look, server: ServerProcess) -> None:
    """Its colour, theme and watermark; what cannot be read on a colour is not written on it."""
    looks = {
        "showWatermark": False,
        "defaultTheme": "dark",
        "theme": {"dark": {"primary": "#1a1a66"}},
    }
    body = {"connect_ui_settings": looks}
    changed = await server.call("PATCH", "/environment/settings", body)
    assert changed.status == 200, changed.text
    try:
        product = await look(color_scheme="light")
        dialog = await product.open_for(await integrate(server, provider="desk"))
        button = dialog.get_by_role("button", name="Connect", exact=True)
        await expect(button).to_have_css("background-color", "rgb(26, 26, 102)")
        await expect(button).to_have_css("color", "rgb(255, 255, 255)")
        await expect(dialog.get_by_text("Secured by Carrick")).to_be_hidden()
        assert await faults_of(product) == []
        dialog = await product.open_for(await integrate(server), themeOverride="light")
        await expect(dialog.locator(".card")).to_have_css("background-color", "rgb(255, 255, 255)")
    finally:
        reset = await server.call("PATCH", "/environment/settings", {"connect_ui_settings": None})
        assert reset.json["data"]["connect_ui_settings"]["showWatermark"] is True


SENT = {
    "NONE": {},
    "API_KEY": {"apiKey": "k"},
    "BASIC": {"username": "u", "password": ""},
    "OAUTH2_CC": {"client_id": "i", "client_secret": "s"},
    "TBA": {"token_id": "i", "token_secret": "s"},
    "JWT": {"privateKey": "k", "issuerId": "i"},
    "TWO_STEP": {"user": "u", "secret": "s"},
    "SIGNATURE": {"username": "u", "password": "p"},
    "BILL": {"username": "u", "password": "p", "organization_id": "o", "dev_key": "d"},
    "AWS_SIGV4": {"role_arn": "arn:aws:iam::1:role/a", "region": "eu-central-1"},
}


@pytest.mark.parametrize("mode", SENT)
async def test_it_sends_what_the_official_client_sends(
    app: Page, server: ServerProcess, mode: str
) -> None:
    """For every auth mode with a form: the same route, the same body."""
    credentials = SENT[mode]
    options: dict[str, Any] = {"credentials": {**credentials, "type": mode}} if credentials else {}
    assertion = {"subject": "me"} if mode == "TWO_STEP" else {}
    if assertion:
        options["assertionOption"] = assertion
    expected = await app.evaluate(SENT_BY_CLIENT, {"key": "acme", "options": options})
    given = {
        "url": server.url,
        "key": "acme",
        "provider": {"auth_mode": mode},
        "credentials": credentials,
        "assertion": assertion,
    }
    assert await app.evaluate(SENT_BY_PAGE, given) == expected
