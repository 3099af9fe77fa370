"""Integrations and connections of a test's own at the server that all these tests share."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from tests.integration.server import ServerProcess

from carrick.testing.fake_provider import Account, Notification

#: What refuses every account.
REFUSE = """
@create_on_event(event="validate-connection", description="Nobody may")
async def function(ctx: EventContext) -> None:
    raise ActionError("Ask your administrator for the “Connect” permission first.")
"""
END_USER = {"id": "u1", "email": "ann@example.com", "display_name": "Ann Lee"}


def add_account(server: ServerProcess) -> Account:
    """Open an account at the provider."""
    return server.provider.add_account(f"org-{uuid.uuid4().hex[:8]}")


async def integrate(server: ServerProcess, **values: Any) -> str:
    """Make an integration of the test's own; one with API keys unless told otherwise."""
    integration_id = f"int-{uuid.uuid4().hex[:8]}"
    await server.integrate(integration_id, **values)
    return integration_id


async def connected(
    server: ServerProcess, connection_id: str = "one", **changes: Any
) -> tuple[str, Account]:
    """Make an account and connect it under an integration of the test's own."""
    integration_id = changes.get("provider_config_key") or await integrate(server)
    account = add_account(server)
    given = {"provider_config_key": integration_id, **changes}
    answer = await server.connect(account, connection_id, **given)
    assert answer.status == 201, answer.text
    return integration_id, account


async def integrate_oauth(
    server: ServerProcess, provider: str = "oauth2", *, consent_at: str = "127.0.0.1"
) -> str:
    """Make an integration of the test's own that knows an OAuth 2 client of the provider.

    Args:
        server: Where it is made.
        provider: Its catalogue entry.
        consent_at: The host of the consent page; `localhost` is another site to a browser.
    """
    url = server.provider.url
    return await integrate(
        server,
        provider=provider,
        credentials={
            "type": "OAUTH2",
            "client_id": server.provider.client_id,
            "client_secret": server.provider.client_secret,
        },
        integration_config={
            "authorization_url": f"{url}/oauth/authorize".replace("127.0.0.1", consent_at),
            "token_url": f"{url}/oauth/token",
            "base_url": url,
        },
    )


async def connected_by_oauth(server: ServerProcess, **credentials: Any) -> tuple[str, Account]:
    """Import an account's tokens under an OAuth 2 integration of the test's own."""
    integration_id = await integrate_oauth(server)
    account = add_account(server)
    tokens = {
        "type": "OAUTH2",
        "access_token": account.access_token,
        "refresh_token": account.refresh_token,
        **credentials,
    }
    answer = await server.connect(
        account,
        provider_config_key=integration_id,
        credentials={name: value for name, value in tokens.items() if value is not None},
        connection_config={},
    )
    assert answer.status == 201, answer.text
    return integration_id, account


async def session(server: ServerProcess, **values: Any) -> str:
    """Open a connect session and return its token."""
    answer = await server.call("POST", "/connect/sessions", {"end_user": END_USER, **values})
    assert answer.status == 201, answer.text
    return str(answer.json["data"]["token"])


async def reconnect_session(server: ServerProcess, integration_id: str, connection_id: str) -> str:
    """Open a reconnect session and return its token."""
    body = {"integration_id": integration_id, "connection_id": connection_id}
    answer = await server.call("POST", "/connect/sessions/reconnect", body)
    assert answer.status == 201, answer.text
    return str(answer.json["data"]["token"])


async def stored(server: ServerProcess, made: Mapping[str, Any]) -> dict[str, Any]:
    """Return the connection that a client says it made."""
    answer = await server.get(made["connectionId"], made["providerConfigKey"])
    assert answer.status == 200, answer.text
    return dict(answer.json)


async def connections(server: ServerProcess, integration_id: str) -> list[dict[str, Any]]:
    """Return an integration's connections."""
    answer = await server.call("GET", f"/connections?integrationId={integration_id}")
    return list(answer.json["connections"])


async def notified(server: ServerProcess, integration_id: str) -> Notification:
    """Wait until the app is told of an integration's connections, and return what was told first.

    What other tests have done may be told at any time.
    """

    def of_it() -> list[Notification]:
        told = server.provider.notifications
        return [one for one in told if one.json().get("providerConfigKey") == integration_id]

    await server.provider.until(lambda: bool(of_it()))
    return of_it()[0]
