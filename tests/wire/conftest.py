"""One server, one provider and one browser for all the tests of the official clients.

What a test changes is its own: an integration, accounts and sessions of `accounts`, a page of
`product`. Deploying replaces what the test before has deployed.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, async_playwright
from tests.integration.server import ServerProcess, served
from tests.wire.clients import (
    BrowserClient,
    Front,
    NodeClient,
    front_served,
    missing_clients,
    node_client,
    page_served,
)
from tests.wire.connecting import Product

from carrick.testing.fake_provider import FakeProvider

PROVIDERS = Path(__file__).with_name("providers.yaml")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="session")
def clients_installed() -> None:
    """Skip what needs the official clients where they are not installed."""
    reason = missing_clients()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium(clients_installed: None) -> str:
    """Where the browser is; what needs it is skipped where it is not installed."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium is not installed: Debian's package of that name has it")
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def front(clients_installed: None) -> AsyncIterator[Front]:
    """The web server through which Carrick is reached under a path."""
    async with front_served("/behind/a-path") as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(
    front: Front, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ServerProcess]:
    """A Carrick server that also stands behind the front."""
    directory = tmp_path_factory.mktemp("wire")
    async with (
        FakeProvider(honour_idempotency_keys=True) as provider,
        served(directory, provider, public_url=front.url, providers_file=str(PROVIDERS)) as running,
    ):
        front.behind = running.url
        yield running


@pytest.fixture(params=["at-the-root", "under-a-path"])
def host(request: pytest.FixtureRequest, server: ServerProcess, front: Front) -> str:
    """What a client is given as `host`: the only thing that is not as with any other server."""
    return server.url if request.param == "at-the-root" else front.url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nodes(server: ServerProcess, front: Front) -> AsyncIterator[dict[str, NodeClient]]:
    """An official node client per host."""
    async with (
        node_client(server.url, server.secret_key) as direct,
        node_client(front.url, server.secret_key) as fronted,
    ):
        yield {server.url: direct, front.url: fronted}


@pytest.fixture
def node(host: str, nodes: dict[str, NodeClient]) -> NodeClient:
    """An official node client."""
    return nodes[host]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def page(chromium: str) -> AsyncIterator[Page]:
    """A page in a headless Chromium; it uses the frontend client and keeps nothing."""
    async with page_served() as url, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        opened = await browser.new_page()
        await opened.goto(url)
        await opened.wait_for_function("window.ask !== undefined")
        yield opened
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def app(page: Page) -> AsyncIterator[Page]:
    """The page once more, of another site than Carrick's: that is when browsers are strict."""
    assert page.context.browser is not None
    context = await page.context.browser.new_context()
    opened = await context.new_page()
    await opened.goto(page.url.replace("127.0.0.1", "localhost"))
    await opened.wait_for_function("window.ask !== undefined")
    yield opened
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def product(app: Page, server: ServerProcess) -> AsyncIterator[Product]:
    """A product's page of a test's own, which shows the connect page."""
    opened = await app.context.new_page()
    await opened.goto(app.url)
    await opened.wait_for_function("window.openConnect !== undefined")
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.set_default_timeout(10_000)
    yield Product(opened, server)
    assert faults == []
    await opened.close()


@pytest.fixture
def frontend(page: Page, host: str) -> BrowserClient:
    """An official frontend client in a page of another origin than Carrick's."""
    return BrowserClient(page, host)
