"""What a connection must know about the account, found out by the connect journey itself."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.lifecycle.conftest import settings_for
from tests.lifecycle.house import House

from carrick.app import running
from carrick.auth import ModeContext, Obtained, Steps
from carrick.environments import NewIntegration
from carrick.errors import (
    ConnectionTestFailed,
    ConnectionValidationUnavailable,
    InvalidConnectionConfig,
)
from carrick.lifecycle.rooms import Timing
from carrick.model.auth import AuthMode, Credentials
from carrick.testing.fake_provider import FakeProvider

CATALOGUE = """
acme:
  display_name: Acme
  auth_mode: API_KEY
  connection_config:
    base_url: {type: string, title: Address, description: Address, format: uri}
    tenant: {type: string, title: T, description: T, pattern: '^org-', automated: true}
    hook: {type: string, title: H, description: H, automated: true, optional: true}
    person: {type: string, title: P, description: P, optional: true}
  credentials:
    apiKey: {type: string, title: Key, description: Key, secret: true}
  connection_facts:
    - endpoint: /api/me
      set: {tenant: '${answer.organization_id}'}
    - endpoint: /webhooks
      choose: {from: webhooks, prefer: {id: '${previous.hook}'}}
      set: {hook: '${answer.id}'}
      optional: true
    - endpoint: /user
      set: {person: '${answer.login}'}
  proxy:
    base_url: ${connectionConfig.base_url}
    headers: {authorization: 'Bearer ${apiKey}', x-tenant: '${connectionConfig.tenant}'}
popup:
  display_name: Popup
  auth_mode: OAUTH2
  authorization_url: https://login.example.com/authorize
  token_url: https://login.example.com/token
  connection_config:
    tenantId: {type: string, title: T, description: T, format: uuid, automated: true}
    region: {type: string, title: R, description: R, automated: true}
  connection_facts:
    - set:
        tenantId: ${claims.tid}
        region: {value: '${tokenResponse.domain}', match: 'api[.]([a-z.]+)$'}
  proxy: {base_url: 'https://api.example.com'}
"""
TENANT = "8eaef023-2b34-4da1-9baa-8bc8c9d6a490"


@pytest.fixture
async def house(
    store_url: str, tmp_path: Path, provider: FakeProvider, timing: Timing
) -> AsyncIterator[House]:
    """A running server whose catalogue has providers with facts to find out."""
    providers_file = tmp_path / "facts.yaml"
    providers_file.write_text(CATALOGUE)
    settings = settings_for(store_url, tmp_path, provider, providers_file=providers_file)
    async with running(settings, timing=timing, migrate_first=True) as app:
        environment = await app.rooms.environments.by_name("dev")
        assert environment is not None
        client = {"type": "OAUTH2", "client_id": "id", "client_secret": "secret"}
        for name, credentials in (("acme", None), ("popup", client)):
            new = NewIntegration(integration_id=name, provider=name, credentials=credentials)
            await app.rooms.integrations.create(environment.row_id, new)
        yield House(app, provider, environment)


def account(house: House, name: str) -> Any:
    return house.provider.add_account(name, organization_id=f"org-{name}")


async def hook(house: House, owner: Any) -> str:
    headers = {"Authorization": f"Bearer {owner.api_key}"}
    body = {"url": "https://app.example/in"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{house.provider.url}/webhooks", headers=headers, json=body) as answer,
    ):
        return str((await answer.json())["id"])


async def test_facts_are_found_out_whatever_the_entrance(house: House) -> None:
    """They are stored with the connection, and its functions and calls can use them."""
    for source in ("import", "form"):
        connected = await house.connect(account(house, source), source, source=source)
        assert connected.connection.connection_config["tenant"] == f"org-{source}"
        assert "hook" not in connected.connection.connection_config


async def test_a_reconnect_finds_them_out_anew(house: House) -> None:
    """Another account has others; nothing of the old one stays in an address."""
    first = account(house, "a")
    await house.connect(first)
    before = len(house.writes("GET", "/api/me"))
    again = await house.connect(account(house, "b"), connection_config=None)
    assert again.connection.connection_config["tenant"] == "org-b"
    assert len(house.writes("GET", "/api/me")) == before + 1


async def test_of_several_the_one_of_before_is_taken_again(house: House) -> None:
    """A reconnect does not move a connection to another site of the same account."""
    owner = account(house, "a")
    chosen = await hook(house, owner)
    assert (await house.connect(owner)).connection.connection_config["hook"] == chosen
    await hook(house, owner)
    other = account(house, "b")
    assert (await house.connect(owner)).connection.connection_config["hook"] == chosen
    assert "hook" not in (await house.connect(other, "two")).connection.connection_config


async def test_what_the_product_has_set_is_not_asked_for(house: House) -> None:
    """An import that brings a value, and a value of the product's own server, stand."""
    config = {"base_url": house.provider.url, "tenant": "org-x"}
    imported = await house.connect(account(house, "a"), connection_config=config)
    assert imported.connection.connection_config["tenant"] == "org-x"
    preset = await house.connect(
        account(house, "b"), "two", source="form", trusted_config={"tenant": "org-y"}
    )
    assert preset.connection.connection_config["tenant"] == "org-y"
    assert house.writes("GET", "/api/me") == []


async def test_what_somebody_has_typed_is_not_asked_for(house: House) -> None:
    """A form may leave it empty; what stands in it is what the person wants."""
    config = {"base_url": house.provider.url}
    empty = await house.connect(account(house, "a"), source="form", connection_config=config)
    assert empty.connection.connection_config["person"] == "a"
    typed = {**config, "person": "me"}
    full = await house.connect(account(house, "b"), "two", source="form", connection_config=typed)
    assert full.connection.connection_config["person"] == "me"
    assert len(house.writes("GET", "/user")) == 1


async def test_a_provider_that_says_no_refuses(house: House) -> None:
    """Nothing is created, and the app gets the provider's answer as the reason."""
    owner = account(house, "a")
    house.provider.fail("status", path="/api/me", status=403)
    with pytest.raises(ConnectionTestFailed, match=r"Acme .* tenant \(it answered 403\)"):
        await house.connect(owner)
    assert await house.find() is None


async def test_an_answer_without_the_value_refuses(house: House) -> None:
    """A connection that could not be called would be of no use."""
    owner = house.provider.add_account("a")
    owner.organization_id = ""
    with pytest.raises(ConnectionTestFailed, match="Acme did not tell tenant"):
        await house.connect(owner)
    assert await house.find() is None


async def test_a_provider_that_is_down_decides_nothing(house: House) -> None:
    """A reconnect leaves the connection as it was; what is optional is no exception."""
    first = await house.connect(account(house, "a"))
    second = account(house, "b")
    for path in ("/api/me", "/webhooks"):
        house.provider.fail("status", path=path, status=503, times=2)
        with pytest.raises(ConnectionValidationUnavailable):
            await house.connect(second)
        with pytest.raises(ConnectionValidationUnavailable):
            await house.connect(second, "new")
    assert await house.find("new") is None
    assert await house.find() == first.connection


async def test_an_optional_fact_may_be_refused(house: House) -> None:
    """Not every scope can read everything."""
    house.provider.fail("status", path="/webhooks", status=403)
    connected = await house.connect(account(house, "a"))
    assert "hook" not in connected.connection.connection_config


async def test_a_value_must_fit_its_field(house: House) -> None:
    """What a provider tells reaches addresses and headers, so it is held to the same rules."""
    owner = house.provider.add_account("a", organization_id="another kind of thing")
    with pytest.raises(InvalidConnectionConfig, match=r"connection_config\.tenant"):
        await house.connect(owner)
    assert await house.find() is None


def token(**claims: Any) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{payload}.sig"


async def popup(house: House, access_token: str) -> Any:
    def obtain(_: ModeContext) -> Steps:
        yield from ()
        raw = {"access_token": access_token, "domain": "https://api.acme.eu"}
        return Obtained(Credentials(AuthMode.OAUTH2, {"access_token": access_token, "raw": raw}))

    return await house.connect(
        house.provider.add_account("nobody"),
        integration_id="popup",
        source="oauth",
        body={},
        obtain=obtain,
        connection_config=None,
    )


async def test_facts_may_come_with_the_token(house: House) -> None:
    """A claim of the token and a part of the token's answer, without asking anybody."""
    connected = await popup(house, token(tid=TENANT))
    config = connected.connection.connection_config
    assert config == {"tenantId": TENANT, "region": "acme.eu"}
    assert house.writes("GET", "/api/me") == []


async def test_a_token_without_the_claim_refuses(house: House) -> None:
    """With the names of what is missing."""
    for text in ("opaque", "a.b.c", token(), token(tid=[1])):
        with pytest.raises(ConnectionTestFailed, match="tenantId"):
            await popup(house, text)
