"""The connect page as a person meets it: in a product's page, through `openConnectUI`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from playwright.async_api import FrameLocator, Page
from tests.integration.server import Answer, ServerProcess
from tests.wire.accounts import session

from carrick.testing.fake_provider import Account


@dataclass
class Product:
    """A page of another site than Carrick's that shows the connect page."""

    page: Page
    server: ServerProcess

    @property
    def dialog(self) -> FrameLocator:
        """The connect page."""
        return self.page.frame_locator("#connect-ui")

    async def open(self, token: str | None, **options: Any) -> FrameLocator:
        """Open the connect page with a session's token; options are those of `openConnectUI`."""
        urls = {"baseURL": f"{self.server.url}/connect", "apiURL": self.server.url}
        given = {**urls, "sessionToken": token, "lang": "en", **options}
        await self.page.evaluate(
            "given => { window.ui?.close(); window.openConnect(given); }", given
        )
        return self.dialog

    async def open_for(
        self, key: str, account: Account | None = None, **options: Any
    ) -> FrameLocator:
        """Open the connect page with a new session for one integration.

        Args:
            key: The integration's.
            account: Who signs in at the provider's consent page.
            options: Those of `openConnectUI`.
        """
        hint = {"authorization_params": {"login_hint": account.name}} if account else {}
        defaults = {"integrations_config_defaults": {key: hint}} if account else {}
        token = await session(self.server, allowed_integrations=[key], **defaults)
        return await self.open(token, **options)

    async def takes_keys(self) -> None:
        """Wait until what is typed goes to the dialog.

        It lives in another process than the page, and the browser moves the keys there some time
        after both of them think that it has.
        """
        frame = await (await self.page.wait_for_selector("#connect-ui")).content_frame()
        assert frame is not None
        await frame.evaluate("onkeydown = () => { window.heardKey = true; }")
        async with asyncio.timeout(10):
            while not await frame.evaluate("window.heardKey === true"):
                await self.page.keyboard.press("Shift")

    async def closes_by(self, key: str) -> None:
        """Press a key that closes the dialog, and wait until the product has heard of it.

        A press goes unanswered for ever when the frame that it went to is gone by then.
        """
        pressing = asyncio.create_task(self.page.keyboard.press(key))
        await self.heard("close")
        pressing.cancel()
        await asyncio.wait({pressing})

    async def heard(self, kind: str) -> dict[str, Any]:
        """Wait until the product has heard of an event, and return what it was told."""
        await self.page.wait_for_function(
            "kind => window.events.some(({ type }) => type === kind)", arg=kind
        )
        events: list[dict[str, Any]] = await self.page.evaluate("window.events")
        return next(event for event in events if event["type"] == kind)

    async def kinds(self) -> list[str]:
        """Return what kinds of event the product has heard, the oldest first."""
        found: list[str] = await self.page.evaluate("window.events.map(({ type }) => type)")
        return found

    async def connected(self) -> Answer:
        """Wait until an account is connected, and return the connection."""
        made = (await self.heard("connect"))["payload"]
        assert set(made) == {"connectionId", "providerConfigKey", "isPending"}
        answer = await self.server.get(made["connectionId"], made["providerConfigKey"])
        assert answer.status == 200, answer.text
        return answer

    async def noted(self, *events: str) -> None:
        """Wait until the log of a recent session has these notes of the page, in this order."""
        async with asyncio.timeout(10):
            while not any(_within(events, one) for one in await self._notes()):
                await asyncio.sleep(0.05)

    async def _notes(self) -> list[list[str]]:
        listed = (await self.server.call("GET", "/operations?type=auth&limit=5")).json["data"]
        found = [await self.server.call("GET", f"/operations/{one['id']}") for one in listed]
        return [[line["message"] for line in one.json["data"]["messages"]] for one in found]


async def fill_key(dialog: FrameLocator, account: Account, server: ServerProcess) -> None:
    """Fill the form of the provider with API keys."""
    await dialog.get_by_label("API address").fill(server.provider.url)
    await dialog.get_by_label("API key", exact=True).fill(account.api_key)


def _within(events: tuple[str, ...], messages: list[str]) -> bool:
    left = iter(messages)
    return all(f"Connect page: {event}" in left for event in events)
