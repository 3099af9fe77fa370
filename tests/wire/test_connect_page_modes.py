"""Forms of the connect page that are more than a key or a password."""

from __future__ import annotations

import pytest
from playwright.async_api import expect
from tests.integration.server import ServerProcess
from tests.wire.accounts import add_account, connections, integrate, integrate_oauth
from tests.wire.connecting import Product

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_login_in_two_steps_connects(product: Product, server: ServerProcess) -> None:
    """What the provider's login refuses is told as such, and can be corrected."""
    key, account = await integrate(server, provider="vault"), add_account(server)
    dialog = await product.open_for(key)
    await dialog.get_by_label("API address").fill(server.provider.url)
    await dialog.get_by_label("User name").fill(account.username)
    await dialog.get_by_label("Password", exact=True).fill("wrong")
    await dialog.get_by_role("button", name="Connect", exact=True).click()
    await expect(dialog.get_by_role("alert")).to_contain_text("Vault did not accept these details")
    told = (await product.heard("error"))["payload"]
    assert told["errorType"] == "two_step_credentials_fetch_error"
    await dialog.get_by_label("Password", exact=True).fill(account.password)
    await dialog.get_by_role("button", name="Try again").click()
    credentials = (await product.connected()).json["credentials"]
    assert (credentials["type"], credentials["username"]) == ("TWO_STEP", account.username)
    assert credentials["token"]


async def test_a_role_trusts_the_id_that_is_shown(product: Product, server: ServerProcess) -> None:
    """The id to write into the role's trust policy is there before the role is assumed."""
    key_id, secret = server.provider.aws_keys
    config = {
        "aws_access_key_id": key_id,
        "aws_secret_access_key": secret,
        "service": "execute-api",
        "default_region": "eu-central-1",
        "sts_endpoint": f"{server.provider.url}/sts",
        "base_url": server.provider.url,
    }
    key = await integrate(server, provider="aws-sigv4", integration_config=config)
    dialog = await product.open_for(key)
    shown = dialog.get_by_role("textbox", name="External ID")
    await expect(shown).to_have_attribute("readonly", "")
    external_id = await shown.input_value()
    role = server.provider.role_of(add_account(server))
    await dialog.get_by_role("textbox", name="Role ARN").fill(role)
    await dialog.get_by_role("button", name="Connect", exact=True).click()
    connection = (await product.connected()).json
    assert connection["connection_config"]["external_id"] == external_id
    assert connection["credentials"]["role_arn"] == role


async def test_an_installation_elsewhere_is_pending(
    product: Product, server: ServerProcess
) -> None:
    """The person is sent to the provider, and the connection is there when it was made."""
    key = await integrate_oauth(server, "marketplace")
    account = add_account(server)
    dialog = await product.open_for(key, account)
    await dialog.get_by_role("button", name="Connect", exact=True).click()
    await expect(dialog.get_by_role("heading")).to_have_text("Almost done")
    made = (await product.heard("connect"))["payload"]
    assert (made["providerConfigKey"], made["isPending"]) == (key, True)
    assert await connections(server, key) == []
    async with product.page.context.expect_page() as opening:
        await dialog.get_by_role("link", name="Continue to Marketplace").click()
    installed = await opening.value
    await expect(installed.get_by_role("heading")).to_have_text("You are connected")
    [connection] = await connections(server, key)
    assert connection["connection_id"] == made["connectionId"]
