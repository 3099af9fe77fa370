"""Every auth mode through the connect page: its form or its window, refused once and then taken.

The rows are those of `tests/lifecycle/modes.py`. The provider verifies whatever it is sent, so
what a person typed has arrived, and what comes back from its pages was the right thing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import FrameLocator, Page, expect
from tests.integration.server import ServerProcess, served
from tests.lifecycle.mode_stage import CHECK, ModeCase
from tests.lifecycle.modes import CASES, providers_file
from tests.wire.accounts import add_account, connections, integrate, session
from tests.wire.connecting import Product
from tests.wire.test_connect_page_looks import faults_of

from carrick.model.auth import AuthMode
from carrick.testing.fake_provider import Account, FakeProvider

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORMS = [case for case in CASES if case.form is not None]
WINDOWS = [case for case in CASES if case.form is None]
#: What a form may ask and need not be told.
OPTIONAL = {"external_id", "region"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def provider() -> AsyncIterator[FakeProvider]:
    """A provider that speaks every mode."""
    async with FakeProvider() as running:
        yield running


@pytest.fixture(scope="module")
def first(provider: FakeProvider) -> Account:
    """The account that windows sign in with, because not all of them take a hint."""
    return provider.add_account("first")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server(
    chromium: str,
    provider: FakeProvider,
    first: Account,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[ServerProcess]:
    """A server with an integration for every row."""
    directory = tmp_path_factory.mktemp("every-mode")
    path = providers_file(directory / "providers.yaml", provider.url)
    async with served(directory / "server", provider, providers_file=str(path)) as running:
        for case in CASES:
            await _integrate(running, case)
        yield running


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def stillness(product: Product) -> None:
    """Pictures, and whoever judges contrasts, are to find nothing half faded in."""
    await product.page.emulate_media(reduced_motion="reduce")


async def _integrate(server: ServerProcess, case: ModeCase) -> None:
    given = dict(case.integration(server.provider, f"{server.url}/oauth/callback"))
    if credentials := given.pop("credentials", None):
        given["credentials"] = {"type": case.auth_mode.value, **credentials}
    await server.integrate(case.key, provider=case.key, **given)


@pytest.mark.parametrize("case", FORMS, ids=lambda case: case.key)
async def test_a_form_of_every_mode_connects(
    product: Product, server: ServerProcess, case: ModeCase, tmp_path: Path
) -> None:
    """It asks what the mode needs, keeps it while a try is refused, and sends what was typed."""
    account = add_account(server)
    stage: Any = server  # what a row asks of its stage is the provider
    assert case.form is not None
    typed = {**case.config(account), **case.form(stage, account)}
    typed.pop("type", None)
    dialog = await product.open_for(case.key)
    await dialog.get_by_role("button", name="Connect", exact=True).wait_for()
    assert await _asked(dialog) - OPTIONAL == set(typed)

    await _fill(dialog, typed)
    server.provider.fail("status", path=case.check(account), status=401)
    await dialog.get_by_role("button", name="Connect", exact=True).click()
    refused = f"{case.key} did not accept these details"
    await expect(dialog.get_by_role("alert")).to_contain_text(refused)
    await _judge(product, tmp_path / f"{case.key}.png")
    await dialog.get_by_role("button", name="Try again").click()

    await _connected(product, account.organization_id)


@pytest.mark.parametrize("case", WINDOWS, ids=lambda case: case.key)
async def test_a_window_of_every_mode_connects(
    product: Product, server: ServerProcess, first: Account, case: ModeCase, tmp_path: Path
) -> None:
    """Nothing is asked; the window goes out and comes back, is refused once, and then is not."""
    dialog = await product.open_for(case.key)
    await dialog.get_by_role("button", name=f"Continue to {case.key}").wait_for()
    assert await _asked(dialog) == set()
    before = await _ids(server, case.key)

    server.provider.fail("status", path=CHECK, status=401)
    await dialog.get_by_role("button", name=f"Continue to {case.key}").click()
    alert = dialog.get_by_role("alert")
    await expect(alert).to_contain_text("This account cannot be connected")
    await expect(alert).to_contain_text("did not accept these credentials")
    await _judge(product, tmp_path / f"{case.key}.png")
    assert await _ids(server, case.key) == before
    await dialog.get_by_role("button", name="Try again").click()

    await _connected(product, first.organization_id)


async def test_the_user_names_an_mcp_server(
    product: Product, server: ServerProcess, first: Account, tmp_path: Path
) -> None:
    """The built-in entry asks for an address; what is there decides where the window goes."""
    key = await integrate(server, provider="mcp-generic", display_name="Tools")
    dialog = await product.open_for(key)
    await dialog.get_by_label("Server address").fill(f"{server.provider.url}/nothing")
    await dialog.get_by_role("button", name="Continue to Tools").click()
    said = ["Something went wrong", "127.0.0.1 does not say how to sign in."]
    await expect(dialog.locator("[role=alert] p")).to_have_text(said)
    await _judge(product, tmp_path / "mcp-generic.png")
    await dialog.get_by_label("Server address").fill(f"{server.provider.url}/mcp")
    await dialog.get_by_role("button", name="Try again").click()

    made = (await product.connected()).json
    assert made["connection_config"]["mcp_server_url"] == f"{server.provider.url}/mcp"
    assert made["credentials"]["access_token"] == first.access_token


async def test_an_installation_that_somebody_has_to_approve(
    product: Product, server: ServerProcess, tmp_path: Path
) -> None:
    """The page says that it is not over, tells the product so, and nothing is connected yet."""
    [case] = [one for one in WINDOWS if one.auth_mode is AuthMode.APP]
    server.provider.fail("html", path="/apps/*")
    dialog = await product.open_for(case.key)
    popup = await _opened(product, case, f"{server.provider.url}/apps/**")
    await popup.goto(f"{popup.url}&ask=1")

    await expect(dialog.get_by_role("heading")).to_have_text("Almost done")
    await expect(dialog.get_by_text("has to approve it first")).to_be_visible()
    await _judge(product, tmp_path / "approval.png")
    told = (await product.heard("connect"))["payload"]
    assert (told["providerConfigKey"], told["isPending"]) == (case.key, True)
    assert told["connectionId"] not in await _ids(server, case.key)


async def test_a_session_that_is_deleted_while_the_window_is_open(
    product: Product, server: ServerProcess
) -> None:
    """The sign-in connects nothing; the page says that the session has ended, and so it has."""
    [case] = [one for one in WINDOWS if one.auth_mode is AuthMode.OAUTH2]
    token = await session(server, allowed_integrations=[case.key])
    before = await _ids(server, case.key)
    server.provider.fail("html", path="/oauth/authorize")
    dialog = await product.open(token)
    popup = await _opened(product, case, f"{server.provider.url}/oauth/authorize?**")
    bearer = {"Authorization": f"Bearer {token}"}
    await server.call("DELETE", "/connect/session", headers=bearer, signed=False)
    await popup.reload()

    await expect(dialog.get_by_role("heading")).to_have_text("This session has ended")
    told = (await product.heard("error"))["payload"]
    assert told["errorType"] == "unknown_connect_session_token"
    assert await _ids(server, case.key) == before


async def _opened(product: Product, case: ModeCase, address: str) -> Page:
    """Open the window and return it once it is at an address of the provider's."""
    async with product.page.expect_popup() as opening:
        await product.dialog.get_by_role("button", name=f"Continue to {case.key}").click()
    popup = await opening.value
    await popup.wait_for_url(address)
    return popup


async def _ids(server: ServerProcess, key: str) -> set[str]:
    return {one["connection_id"] for one in await connections(server, key)}


async def _asked(dialog: FrameLocator) -> set[str]:
    """Return the names of what a form asks for."""
    found = await dialog.locator("form [name]:visible").evaluate_all(
        "all => all.map(({ name }) => name)"
    )
    return set(found)


async def _fill(dialog: FrameLocator, typed: Mapping[str, str]) -> None:
    for name, text in typed.items():
        await dialog.locator(f"form [name='{name}']").fill(text)


async def _judge(product: Product, picture: Path) -> None:
    """Keep a picture, and have an accessibility checker find nothing."""
    await product.page.screenshot(path=picture)
    assert await faults_of(product) == []


async def _connected(product: Product, organization_id: str) -> None:
    """Wait until an account is connected, and check whose calls it makes."""
    made = (await product.connected()).json
    headers = {
        "Provider-Config-Key": made["provider_config_key"],
        "Connection-Id": made["connection_id"],
    }
    answer = await product.server.call("GET", "/proxy/api/me", headers=headers)
    assert (answer.status, answer.json["organization_id"]) == (200, organization_id), answer.text
