"""`oidc-provider` from npm: PKCE, rotation of refresh tokens, and every way to be a client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from tests.integration.server import served
from tests.real.browser import browser
from tests.real.oidc import (
    BASIC,
    BRIEF,
    CLIENTS,
    HERE,
    KEY,
    MACHINE_BASIC,
    MACHINE_KEY,
    MACHINE_POST,
    POST,
    Client,
    House,
    issuing,
    missing_oidc_provider,
    sign_in,
)
from yarl import URL

from carrick.testing.fake_provider import FakeProvider

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

#: Where the server found a client's proof, by what the client is registered with.
WAYS = {"client_secret_post": "body", "client_secret_basic": "header", "private_key_jwt": "key"}
VALIDATE = """
from carrick import EventContext, create_on_event

@create_on_event(event="validate-connection", description="The same account only")
async def function(ctx: EventContext) -> None:
    me = await ctx.get("/api/me")
    await ctx.require_same_account(me.data["account"])
"""
REVOKE = """
from carrick import EventContext, create_on_event

@create_on_event(
    event="pre-connection-deletion",
    description="Revoke what the end user granted",
    credentials=True,
    variables=["CLIENT_SECRET"],
)
async def function(ctx: EventContext) -> None:
    connection = await ctx.get_connection()
    variables = await ctx.get_environment_variables()
    await ctx.fetch(
        "ISSUER/token/revocation",
        method="POST",
        form={
            "token": connection["credentials"]["refresh_token"],
            "client_id": "app-post",
            "client_secret": variables["CLIENT_SECRET"],
        },
    )
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """Carrick, and the server that knows it as several clients."""
    if reason := missing_oidc_provider():
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("oidc")
    providers = str(HERE / "providers.yaml")
    async with (
        FakeProvider() as app,  # where Carrick's notifications arrive
        served(directory, app, providers_file=providers) as server,
        issuing(f"{server.url}/oauth/callback") as issuer,
    ):
        both = House(server, issuer)
        for client in CLIENTS:
            await both.integrate(client)
        variables = {"variables": {"CLIENT_SECRET": POST.secret}}
        assert (await server.call("POST", "/environment-variables", variables)).status == 200
        revoke = REVOKE.replace("ISSUER", issuer.url)
        functions = {
            POST.id: {"validate": VALIDATE, "revoke": revoke},
            BASIC.id: {"validate": VALIDATE},
            KEY.id: {"validate": VALIDATE},
        }
        await both.deploy(directory / "project", functions)
        yield both


@pytest.mark.parametrize("client", [POST, BASIC, KEY], ids=lambda client: client.method)
async def test_consent_connects_and_the_account_is_held_to(house: House, client: Client) -> None:
    """However the client authenticates: connect, come back, and be refused as somebody else."""
    connection_id, account = await house.connected(client.id)
    first = (await house.get(client.id, connection_id)).json["credentials"]
    page, made = await house.consent(client.id, account, connection_id)
    assert (page.status, made) == (200, None)
    again = (await house.get(client.id, connection_id)).json["credentials"]
    assert again["refresh_token"] != first["refresh_token"]

    page, made = await house.consent(client.id, f"not-{account}", connection_id)
    assert (page.status, made) == (400, None)
    assert "not the account" in page.html
    assert (await house.get(client.id, connection_id)).status == 424
    page, _ = await house.consent(client.id, account, connection_id)
    assert page.status == 200
    refreshed = await house.get(client.id, connection_id, force=True)
    assert refreshed.status == 200, refreshed.text
    me = await house.me(client.id, connection_id)
    assert me.json == {"account": account, "client": client.id, "scope": "openid offline_access"}
    by = {one["by"] for one in await house.issuer.happened() if one["client"] == client.id}
    assert by == {WAYS[client.method]}


async def test_the_server_may_answer_by_a_form(house: House) -> None:
    """With `response_mode=form_post` its own page sends code, state and issuer on."""
    before = await house.connections(POST.id)
    by_form = {"authorization_params[response_mode]": "form_post"}
    async with browser() as person:
        page = await person.open((await house.start(POST.id)).update_query(by_form))
        page = await person.submit(await sign_in(person, page, "by-form"))
        assert {name for name, _ in page.forms[0].fields} == {"code", "state", "iss"}
        page = await person.submit(page)
    assert (page.url.path, page.status) == ("/oauth/callback", 200), page.html
    [made] = set(await house.connections(POST.id)) - set(before)
    assert (await house.me(POST.id, made)).json["account"] == "by-form"


async def test_a_code_is_worth_nothing_without_its_verifier(house: House) -> None:
    """Whoever swaps the challenge on the way gets a code that Carrick's verifier does not fit."""
    before = await house.connections(POST.id)

    def swap(url: URL) -> URL:
        if "code_challenge" not in url.query:
            return url
        return url.update_query(code_challenge="E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")

    async with browser() as person:
        page = await person.open(await house.start(POST.id), swap)
        page = await person.submit(await sign_in(person, page, "mallory"))
    assert (page.url.path, page.status) == ("/oauth/callback", 400)
    assert "invalid_grant" in page.html
    assert await house.connections(POST.id) == before


async def test_a_server_that_demands_pkce_is_told_apart(house: House) -> None:
    """A definition that turns PKCE off is refused at once, and the server's words are shown."""
    await house.integrate(POST, unique_key="no-pkce", provider="oidc-without-pkce")
    async with browser() as person:
        page = await person.open(await house.start("no-pkce"))
    assert (page.url.path, page.status) == ("/oauth/callback", 400)
    assert "invalid_request" in page.html
    assert "PKCE" in page.html
    assert await house.connections("no-pkce") == []


async def test_a_person_may_say_no(house: House) -> None:
    """The server's own link for it leads back with `access_denied`, and nothing is left."""
    before = await house.connections(POST.id)
    async with browser() as person:
        page = await person.open(await house.start(POST.id))
        page = await person.click(await sign_in(person, page, "somebody"), "[ Cancel ]")
    assert (page.url.path, page.status) == ("/oauth/callback", 400)
    assert "access_denied" in page.html
    assert await house.connections(POST.id) == before


async def test_a_wrong_client_secret_is_no_connection(house: House) -> None:
    """The developer's mistake is named, without the secret."""
    await house.integrate(replace(POST, secret="not-the-secret"), unique_key="mistaken")
    page, made = await house.consent("mistaken", "somebody")
    assert (page.status, made) == (400, None)
    assert "invalid_client" in page.html
    assert "not-the-secret" not in page.html


async def test_a_key_the_server_does_not_know_is_no_connection(house: House) -> None:
    """An assertion has to be signed by the client's own key."""
    await house.integrate(replace(KEY, secret=MACHINE_KEY.secret), unique_key="other-key")
    page, made = await house.consent("other-key", "somebody")
    assert (page.status, made) == (400, None)
    assert "invalid_client" in page.html


async def test_many_readers_of_an_expired_token_refresh_it_once(house: House) -> None:
    """A rotated refresh token must not be sent twice: the server would end the whole grant."""
    connection_id, _ = await house.connected(BRIEF.id)
    first = (await house.get(BRIEF.id, connection_id)).json["credentials"]
    await house.issuer.until_ended(first)
    since = len(await house.issuer.happened())
    reading = (house.get(BRIEF.id, connection_id) for _ in range(25))
    calling = (house.me(BRIEF.id, connection_id) for _ in range(25))
    answers = await asyncio.gather(*reading, *calling)
    assert {answer.status for answer in answers} == {200}
    assert await house.issuer.refreshes(since) == ["granted"]
    [now] = {answer.json["credentials"]["refresh_token"] for answer in answers[:25]}
    assert now != first["refresh_token"]

    forced = [house.get(BRIEF.id, connection_id, force=True) for _ in range(10)]
    assert {answer.status for answer in await asyncio.gather(*forced)} == {200}
    assert set(await house.issuer.refreshes(since)) == {"granted"}, "each used the newest token"


async def test_a_stolen_refresh_token_ends_the_grant_until_a_reconnect(house: House) -> None:
    """The server sees a token used twice and revokes everything; Carrick says so, and is healed."""
    connection_id, account = await house.connected(POST.id)
    stolen = (await house.get(POST.id, connection_id)).json["credentials"]["refresh_token"]
    assert (await house.get(POST.id, connection_id, force=True)).status == 200
    told = len(house.server.provider.notifications)
    replay = {"grant_type": "refresh_token", "refresh_token": stolen}
    status, body = await house.issuer.ask_token(POST, **replay)
    assert (status, body["error"]) == (400, "invalid_grant")

    assert (await house.me(POST.id, connection_id)).status == 401, "the server's own answer"
    refused = await house.get(POST.id, connection_id, force=True)
    assert (refused.status, refused.code) == (400, "invalid_credentials")
    assert "invalid_grant" in refused.message
    rested = await house.get(POST.id, connection_id)
    assert (rested.status, rested.code) == (424, "invalid_credentials")
    assert stolen not in refused.text + rested.text
    provider = house.server.provider
    await provider.until(lambda: len(provider.notifications) > told)
    notified = provider.notifications[told].json()
    assert (notified["operation"], notified["success"]) == ("refresh", False)

    page, _ = await house.consent(POST.id, account, connection_id)
    assert page.status == 200, page.html
    assert (await house.me(POST.id, connection_id)).json["account"] == account
    healed = await house.get(POST.id, connection_id, force=True)
    assert (healed.status, healed.json["errors"]) == (200, [])


async def test_a_deletion_revokes_what_was_granted(house: House) -> None:
    """A cleanup function revokes the grant at the server, and its tokens open nothing any more."""
    connection_id, _ = await house.connected(POST.id)
    token = (await house.get(POST.id, connection_id, force=True)).json["credentials"]
    assert await house.issuer.accepts(token["access_token"])
    deleted = await house.server.delete(connection_id, POST.id)
    assert (deleted.status, deleted.json["cleanup"]) == (200, "done")
    assert not await house.issuer.accepts(token["access_token"])
    again = {"grant_type": "refresh_token", "refresh_token": token["refresh_token"]}
    status, body = await house.issuer.ask_token(POST, **again)
    assert (status, body["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    "client", [MACHINE_POST, MACHINE_BASIC, MACHINE_KEY], ids=lambda client: client.method
)
async def test_a_client_buys_tokens_for_itself(house: House, client: Client) -> None:
    """Client credentials connect, are used, and buy another token when told to."""
    proof = "client_private_key" if client.key else "client_secret"
    given = {"client_id": client.id, proof: client.secret}
    made = await house.connect_machine(client, given)
    assert made.status == 200, made.text
    connection_id = made.json["connectionId"]
    me = await house.me(client.id, connection_id)
    assert me.json == {"account": None, "client": client.id, "scope": "api"}
    first = (await house.get(client.id, connection_id)).json["credentials"]["token"]
    forced = await house.get(client.id, connection_id, force=True)
    assert (forced.status, forced.json["credentials"]["token"] != first) == (200, True)
    by = {one["by"] for one in await house.issuer.happened() if one["client"] == client.id}
    assert by == {WAYS[client.method]}

    wrong = KEY.secret if client.key else "not-the-secret"
    refused = await house.connect_machine(client, {**given, proof: wrong})
    assert (refused.status, refused.code) == (400, "client_credentials_fetch_error")
    assert "invalid_client" in refused.text
    assert await house.connections(client.id) == [connection_id]
