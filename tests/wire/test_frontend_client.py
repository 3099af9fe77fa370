"""`@nangohq/frontend` from npm in a browser, on a page of another origin than the server's."""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.server import ServerProcess
from tests.lifecycle.house import VALIDATE
from tests.wire.accounts import (
    REFUSE,
    add_account,
    connections,
    integrate,
    reconnect_session,
    session,
    stored,
)
from tests.wire.clients import BrowserClient, ClientError

pytestmark = pytest.mark.asyncio(loop_scope="session")


def at(server: ServerProcess, **credentials: str) -> dict[str, Any]:
    """Return the options that connect to the provider with credentials."""
    return {"params": {"base_url": server.provider.url}, "credentials": credentials}


async def connection_of(server: ServerProcess, made: dict[str, str]) -> dict[str, Any]:
    """Return the connection that the client says it made, in these words and no others."""
    assert set(made) == {"connectionId", "providerConfigKey"}
    return await stored(server, made)


async def test_an_api_key_connects(frontend: BrowserClient, server: ServerProcess) -> None:
    """`auth` with an API key makes a connection of the session's end user."""
    key, account = await integrate(server), add_account(server)
    token = await session(server, allowed_integrations=[key])
    made = await frontend.call(token, "auth", key, at(server, apiKey=account.api_key))
    connection = await connection_of(server, made)
    assert connection["credentials"] == {"type": "API_KEY", "apiKey": account.api_key}
    assert connection["connection_config"] == {"base_url": server.provider.url}
    assert connection["end_user"]["id"] == "u1"
    assert connection["tags"]["end_user_email"] == "ann@example.com"


async def test_a_password_connects(frontend: BrowserClient, server: ServerProcess) -> None:
    """`auth` with a user name and password; the client sends an empty one as it is."""
    key, account = await integrate(server, provider="basic"), add_account(server)
    given = at(server, username=account.username, password=account.password)
    made = await frontend.call(await session(server), "auth", key, given)
    credentials = (await connection_of(server, made))["credentials"]
    assert credentials == {
        "type": "BASIC",
        "username": account.username,
        "password": account.password,
    }
    given = at(server, username=account.username, password="")
    made = await frontend.call(await session(server), "auth", key, given)
    assert (await connection_of(server, made))["credentials"]["password"] == ""
    with pytest.raises(ClientError) as caught:
        await frontend.call(await session(server), "auth", key, at(server, username="only"))
    assert caught.value.type == "invalid_body"


async def test_nothing_connects_where_nothing_is_asked(
    frontend: BrowserClient, server: ServerProcess
) -> None:
    """`create` sends a body of no length, and connects."""
    key = await integrate(server, provider="unauthenticated")
    made = await frontend.call(await session(server), "create", key)
    assert (await connection_of(server, made))["credentials"] == {}


async def test_client_credentials_connect(frontend: BrowserClient, server: ServerProcess) -> None:
    """`auth` with client credentials gets a token; wrong ones are told as the provider's no."""
    config = {
        "token_url": f"{server.provider.url}/oauth/token",
        "base_url": server.provider.url,
    }
    key = await integrate(server, provider="oauth2-client-credentials", integration_config=config)
    account = add_account(server)
    given = {"client_id": account.username, "client_secret": account.password}
    made = await frontend.call(await session(server), "auth", key, {"credentials": given})
    assert (await connection_of(server, made))["credentials"]["token"] == account.access_token
    wrong = {**given, "client_secret": "wrong"}
    with pytest.raises(ClientError) as caught:
        await frontend.call(await session(server), "auth", key, {"credentials": wrong})
    assert caught.value.type == "client_credentials_fetch_error"


async def test_a_refusal_tells_the_author_s_message(
    frontend: BrowserClient, server: ServerProcess
) -> None:
    """What validate-connection refuses is an `AuthError` of the documented type, and nothing."""
    key, account = await integrate(server), add_account(server)
    deployed = await server.deploy({"refuse": REFUSE}, integration_id=key)
    assert deployed.status == 200, deployed.text
    with pytest.raises(ClientError) as caught:
        await frontend.call(await session(server), "auth", key, at(server, apiKey=account.api_key))
    assert (caught.value.type, caught.value.is_auth_error) == ("connection_validation_failed", True)
    assert caught.value.message == "Ask your administrator for the “Connect” permission first."
    assert await connections(server, key) == []


async def test_a_key_that_the_provider_refuses_is_told(
    frontend: BrowserClient, server: ServerProcess
) -> None:
    """A failed test call is an `AuthError` of its own type, and leaves nothing."""
    key = await integrate(server, provider="verified")
    with pytest.raises(ClientError) as caught:
        await frontend.call(await session(server), "auth", key, at(server, apiKey="wrong"))
    assert (caught.value.type, caught.value.is_auth_error) == ("connection_test_failed", True)
    assert caught.value.message
    assert await connections(server, key) == []


async def test_an_account_is_reconnected(frontend: BrowserClient, server: ServerProcess) -> None:
    """`reconnect` renews the session's connection, and refuses somebody else's account."""
    key, account = await integrate(server, provider="verified"), add_account(server)
    deployed = await server.deploy({"same-organisation": VALIDATE}, integration_id=key)
    assert deployed.status == 200, deployed.text
    first = await frontend.call(
        await session(server), "auth", key, at(server, apiKey=account.api_key)
    )
    connection_id = first["connectionId"]

    token = await reconnect_session(server, key, connection_id)
    account.api_key = f"another-{account.api_key}"
    again = await frontend.call(token, "reconnect", key, at(server, apiKey=account.api_key))
    assert again == first
    assert (await connection_of(server, again))["credentials"]["apiKey"] == account.api_key

    stranger = add_account(server)
    with pytest.raises(ClientError) as caught:
        await frontend.call(token, "reconnect", key, at(server, apiKey=stranger.api_key))
    assert caught.value.type == "connection_validation_failed"
    assert "not the account" in caught.value.message
    [connection] = await connections(server, key)
    assert (connection["connection_id"], len(connection["errors"])) == (connection_id, 1)

    assert await frontend.call(token, "reconnect", key, at(server, apiKey=account.api_key)) == first
    assert (await connection_of(server, first))["errors"] == []


async def test_a_public_key_connects_under_an_id(
    frontend: BrowserClient, server: ServerProcess
) -> None:
    """`auth` with the deprecated public key may choose the connection's id."""
    key, account = await integrate(server), add_account(server)
    settings = (await server.call("GET", "/environment/settings")).json["data"]
    made = await frontend.call(
        None,
        "auth",
        key,
        "mine",
        at(server, apiKey=account.api_key),
        publicKey=settings["public_key"],
    )
    assert made == {"connectionId": "mine", "providerConfigKey": key}
    assert (await connection_of(server, made))["credentials"]["apiKey"] == account.api_key


async def test_what_a_session_does_not_permit_is_refused(
    frontend: BrowserClient, server: ServerProcess
) -> None:
    """Every refusal before the provider is asked is an `AuthError` with the server's code."""
    key, other = await integrate(server), await integrate(server)
    given = at(server, apiKey="anything")
    narrow, wide = await session(server, allowed_integrations=[other]), await session(server)
    ended = await session(server)
    await server.http.delete(
        f"{server.url}/connect/session", headers={"Authorization": f"Bearer {ended}"}
    )
    refusals: list[tuple[str | None, list[Any], str]] = [
        (None, [key, given], "missing_auth_token"),
        ("nonsense", [key, given], "invalid_connect_session_token_format"),
        (ended, [key, given], "unknown_connect_session_token"),
        (narrow, [key, given], "integration_not_allowed"),
        (wide, ["nothing", given], "unknown_provider_config"),
        (wide, [key, "my-id", given], "invalid_query_params"),
        (wide, [key, at(server, username="a", password="b")], "invalid_auth_mode"),
    ]
    for token, args, kind in refusals:
        with pytest.raises(ClientError) as caught:
            await frontend.call(token, "auth", *args)
        assert (caught.value.type, caught.value.is_auth_error) == (kind, True)
    assert await connections(server, key) == []
