"""The stage of all auth modes: what a row is, and how a browser comes with it.

The provider must be able to tell from a call whose credentials it carries (`/api/me`).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
from tests.api.asking import Answer, Asking

from carrick.app import App
from carrick.model.auth import AuthMode
from carrick.model.connection import Connection
from carrick.model.environment import Environment
from carrick.testing.fake_provider import Account, FakeProvider

#: The path of the provider's check request.
CHECK = "/user"
CALLBACK = "https://carrick.example/oauth/callback"


@dataclass(frozen=True)
class Arrived:
    """What a browser was told: the connection's id, or the code of an error."""

    connection_id: str | None = None
    code: str | None = None
    status: int = 200
    message: str = ""


@dataclass
class Stage:
    """A running server with an integration for every mode, and the provider behind them."""

    app: App
    ask: Asking
    environment: Environment
    provider: FakeProvider

    async def session(self, connection_id: str | None = None, key: str = "") -> str:
        """Return the token of a connect session, for a reconnect where an id is given.

        One for a reconnect says nothing of the end user: what is known of them has to stay.
        """
        body: dict[str, Any] = {"end_user": {"id": "u1"}, "tags": {"team": "x"}}
        target = "/connect/sessions"
        if connection_id is not None:
            target += "/reconnect"
            body = {"connection_id": connection_id, "integration_id": key}
        answer = await self.ask("POST", target, body)
        assert answer.status == 201, answer.body
        return str(answer.json["data"]["token"])

    async def connect(
        self, case: ModeCase, account: Account, connection_id: str | None = None
    ) -> Arrived:
        """Connect as a browser does; with an id, reconnect."""
        token = await self.session(connection_id, case.key)
        return await case.arrive(self, case, account, token)

    async def connected(self, case: ModeCase, account: Account) -> Connection:
        """Connect as a browser does and return the connection."""
        arrived = await self.connect(case, account)
        assert arrived.connection_id is not None, arrived
        return await self.find(case, arrived.connection_id)

    async def imported(self, case: ModeCase, account: Account, connection_id: str) -> Answer:
        """Import what the mode's row says."""
        assert case.credentials is not None
        body = {
            "provider_config_key": case.key,
            "connection_id": connection_id,
            "credentials": case.credentials(self, account),
            "connection_config": dict(case.config(account)),
        }
        return await self.ask("POST", "/connections", body)

    async def find(self, case: ModeCase, connection_id: str) -> Connection:
        """Return a connection."""
        found = await self.app.rooms.connections.find(
            self.environment.row_id, case.key, connection_id
        )
        assert found is not None
        return found

    async def read(self, case: ModeCase, connection_id: str, query: str = "") -> Answer:
        """Read a connection with its credentials."""
        target = f"/connections/{connection_id}?provider_config_key={case.key}{query}"
        return await self.ask("GET", target)

    async def whose(self, case: ModeCase, connection_id: str) -> str:
        """Return the organization the provider sees behind a proxied call."""
        headers = {"Provider-Config-Key": case.key, "Connection-Id": connection_id}
        answer = await self.ask("GET", "/proxy/api/me", headers=headers)
        assert answer.status == 200, answer.body
        return str(answer.json["organization_id"])


Arrive = Callable[["Stage", "ModeCase", Account, str], Awaitable[Arrived]]


def nothing(account: Account) -> Mapping[str, str]:
    """No `connection_config` is needed."""
    return {}


async def by_form(stage: Stage, case: ModeCase, account: Account, token: str) -> Arrived:
    """Send the form, as the browser client does for modes without a popup."""
    query = {"connect_session_token": token}
    query |= {f"params[{name}]": text for name, text in case.config(account).items()}
    assert case.form is not None
    answer = await stage.ask(
        "POST",
        f"{case.path}/{case.key}?{urlencode(query)}",
        case.form(stage, account),
        key=None,
    )
    if answer.status == 200:
        return Arrived(answer.json["connectionId"])
    error = answer.json["error"]
    return Arrived(None, error["code"], answer.status, error.get("message", ""))


async def by_popup(stage: Stage, case: ModeCase, account: Account, token: str) -> Arrived:
    """Consent in a popup; the outcome is what its socket is told."""
    query = {"connect_session_token": token}
    query |= {f"params[{name}]": text for name, text in case.config(account).items()}
    with stage.app.services.popups.waiting() as waiting:
        query["ws_client_id"] = waiting.id
        begun = await stage.ask("GET", f"/oauth/connect/{case.key}?{urlencode(query)}", key=None)
        assert begun.status == 302, begun.body
        cookie = begun.headers["set-cookie"].partition(";")[0]
        consent = f"{begun.headers['location']}&login_hint={quote(account.name)}"
        async with (
            aiohttp.ClientSession() as http,
            http.get(consent, allow_redirects=False) as answer,
        ):
            assert answer.status == 302, await answer.text()
            back = urlsplit(answer.headers["Location"])
        await stage.ask("GET", f"{back.path}?{back.query}", key=None, headers={"cookie": cookie})
        frame = json.loads(waiting.frame.result())
    if frame["message_type"] == "success":
        return Arrived(frame["connection_id"])
    return Arrived(None, frame["error_type"], 400, frame["error_desc"])


@dataclass(frozen=True)
class ModeCase:
    """One auth mode, or one variant of it."""

    key: str
    auth_mode: AuthMode
    #: The catalogue entry, of the provider's address; proxy and check are added to it.
    definition: Callable[[str], Mapping[str, Any]]
    #: The fields of the credentials as the wire shows them, `type` left out.
    fields: frozenset[str]
    #: Where a form goes and what is in it.
    path: str = ""
    form: Callable[[Stage, Account], Mapping[str, Any]] | None = None
    arrive: Arrive = by_form
    #: What an import carries under `credentials`; `None` where the contract has no import.
    credentials: Callable[[Stage, Account], Mapping[str, Any]] | None = None
    #: What the connection's config must hold.
    config: Callable[[Account], Mapping[str, str]] = nothing
    #: Of the integration: `credentials`, `integration_config`, ..., by provider and callback.
    integration: Callable[[FakeProvider, str], Mapping[str, Any]] = field(
        default=lambda provider, callback: {}
    )
    #: The field that a refresh renews; `None` where the mode has no refresh.
    renewed: str | None = None
    #: What the browser is told when the provider's check refuses.
    untested: str = "connection_test_failed"
    #: Where the provider's check request arrives.
    check: Callable[[Account], str] = field(default=lambda account: CHECK)


def entry_of(case: ModeCase, url: str) -> dict[str, Any]:
    """Return the catalogue entry of a row: its own, with an API and a check request."""
    entry = dict(case.definition(url))
    proxy = {"base_url": url, "verification": {"method": "GET", "endpoints": [CHECK]}}
    entry["proxy"] = {**proxy, **entry.get("proxy", {})}
    return {"display_name": case.key, "auth_mode": case.auth_mode.value, **entry}


def oauth_client(provider: FakeProvider, callback: str) -> Mapping[str, Any]:
    """Return the provider's one client, which may come back to any address."""
    return {
        "credentials": {
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
        }
    }


def specs(*names: str, optional: bool = False) -> dict[str, Any]:
    return {
        name: {"type": "string", "title": name, "description": name, "optional": optional}
        for name in names
    }
