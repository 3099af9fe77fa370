"""An `oidc-provider` and a Carrick that is its client, as a test talks to them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import shutil
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import aiohttp
from joserfc.jwk import ECKey, Key, RSAKey
from tests.integration.server import Answer, ServerProcess
from tests.real.browser import Browser, Page, browser
from yarl import URL

from carrick.deployments import pack, read_project

HERE = Path(__file__).parent
PACKAGE = HERE / "node_modules" / "oidc-provider"
#: Seconds the server may take to start, and a token to end.
PATIENCE_S = 30.0
#: Every character that RFC 6749 allows in a secret and that a header or a form writes otherwise.
AWKWARD = "a+b c%2F:d&e=f/"
SCOPES = "openid,offline_access"


def missing_oidc_provider() -> str | None:
    """Return why the server cannot be run here, if so."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not PACKAGE.exists():
        return "oidc-provider is not installed: `make oidc` does that"
    return None


@dataclass(frozen=True)
class Client:
    """An OAuth client that the server knows, and its integration at Carrick."""

    id: str
    secret: str
    method: str
    #: The provider definition that fits it.
    provider: str
    #: Whether it stands for a person who consents, or for itself.
    is_machine: bool = False
    #: The public half of its key, if it has one; `secret` is the private half then.
    key: Mapping[str, Any] | None = None

    def metadata(self, redirect_uri: str) -> dict[str, Any]:
        """Return the client as the server wants it described."""
        proof = {"jwks": {"keys": [self.key]}} if self.key else {"client_secret": self.secret}
        return {
            **proof,
            "client_id": self.id,
            "token_endpoint_auth_method": self.method,
            "redirect_uris": [] if self.is_machine else [redirect_uri],
            "response_types": [] if self.is_machine else ["code"],
            "grant_types": ["client_credentials"]
            if self.is_machine
            else ["authorization_code", "refresh_token"],
        }


POST = Client("app-post", secrets.token_urlsafe(24), "client_secret_post", "oidc")
BASIC = Client("app-basic", AWKWARD + secrets.token_hex(8), "client_secret_basic", "oidc-basic")
BRIEF = Client("app-brief", secrets.token_urlsafe(24), "client_secret_post", "oidc-brief")
MACHINE_POST = Client(
    "machine-post", AWKWARD + secrets.token_hex(8), "client_secret_post", "machine", True
)
MACHINE_BASIC = Client(
    "machine-basic", AWKWARD + secrets.token_hex(8), "client_secret_basic", "machine-basic", True
)


def _with_key(client_id: str, provider: str, key: Key, *, is_machine: bool) -> Client:
    public = cast("Mapping[str, Any]", key.as_dict(private=False))
    pem = key.as_pem(private=True).decode()
    return Client(client_id, pem, "private_key_jwt", provider, is_machine, public)


KEY = _with_key("app-key", "oidc-key", ECKey.generate_key("P-256"), is_machine=False)
MACHINE_KEY = _with_key("machine-key", "machine", RSAKey.generate_key(2048), is_machine=True)
CLIENTS = (POST, BASIC, KEY, BRIEF, MACHINE_POST, MACHINE_BASIC, MACHINE_KEY)


@dataclass
class Issuer:
    """A running server."""

    url: str
    http: aiohttp.ClientSession

    async def happened(self) -> list[dict[str, Any]]:
        """Return what its token endpoint did so far."""
        async with self.http.get(f"{self.url}/happened") as answer:
            return list(await answer.json())

    async def refreshes(self, since: int) -> list[str]:
        """Return how each use of a refresh token ended, leaving out what happened first."""
        happened = (await self.happened())[since:]
        return [one["event"] for one in happened if one["grant"] == "refresh_token"]

    async def accepts(self, token: str) -> bool:
        """Whether the API takes a token."""
        headers = {"Authorization": f"Bearer {token}"}
        async with self.http.get(f"{self.url}/api/me", headers=headers) as answer:
            return answer.status == 200

    async def until_ended(self, credentials: dict[str, Any]) -> None:
        """Wait until an access token has expired, here and by what Carrick knows of it."""
        ends = datetime.fromisoformat(credentials["expires_at"])
        async with asyncio.timeout(PATIENCE_S):
            while datetime.now(UTC) < ends or await self.accepts(credentials["access_token"]):
                await asyncio.sleep(0.05)

    async def ask_token(self, client: Client, **form: str) -> tuple[int, Any]:
        """Ask for a token as somebody else than Carrick would."""
        data = {"client_id": client.id, "client_secret": client.secret, **form}
        async with self.http.post(f"{self.url}/token", data=data) as answer:
            return answer.status, await answer.json()


@contextlib.asynccontextmanager
async def issuing(redirect_uri: str) -> AsyncIterator[Issuer]:
    """Run the server."""
    node = shutil.which("node")
    assert node is not None
    clients = [client.metadata(redirect_uri) for client in CLIENTS]
    known = json.dumps({"clients": clients, "brief": BRIEF.id})
    process = await asyncio.create_subprocess_exec(
        *(node, HERE / "oidc_server.mjs", known),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            url = (await process.stdout.readline()).decode().strip()
            assert url, "oidc-provider did not start"
        async with aiohttp.ClientSession() as http:
            yield Issuer(url, http)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@dataclass
class House:
    """Both, and what a person does with them."""

    server: ServerProcess
    issuer: Issuer

    async def integrate(self, client: Client, **changes: Any) -> None:
        """Make the integration of a client, under the client's id unless told otherwise."""
        body: dict[str, Any] = {"unique_key": client.id, "provider": client.provider}
        body["integration_config"] = {"issuer": self.issuer.url}
        if not client.is_machine:
            body["credentials"] = {
                "type": "OAUTH2",
                "client_id": client.id,
                "client_secret": client.secret,
                "scopes": SCOPES,
            }
        answer = await self.server.call("POST", "/integrations", {**body, **changes})
        assert answer.status == 200, answer.text

    async def deploy(self, folder: Path, functions: dict[str, dict[str, str]]) -> None:
        """Deploy functions by integration and name."""
        for integration_id, sources in functions.items():
            place = folder / integration_id / "on_events"
            place.mkdir(parents=True)
            for name, source in sources.items():
                (place / f"{name}.py").write_text(source)
        bundle = base64.b64encode(pack(read_project(folder)).content).decode()
        answer = await self.server.call("POST", "/deployments", {"bundle": bundle})
        assert answer.status == 200, answer.text

    async def start(self, key: str, connection_id: str | None = None) -> URL:
        """Return the address that begins a connect, or a reconnect."""
        path, body = "/connect/sessions", {"allowed_integrations": [key]}
        whose: dict[str, Any] = {"end_user": {"id": "u1"}}
        if connection_id is not None:
            path = "/connect/sessions/reconnect"
            whose |= {"connection_id": connection_id, "integration_id": key}
            body = {}
        answer = await self.server.call("POST", path, {**body, **whose})
        assert answer.status == 201, answer.text
        token = answer.json["data"]["token"]
        return URL(self.server.url) / "oauth/connect" / key % {"connect_session_token": token}

    async def consent(
        self, key: str, account: str, connection_id: str | None = None
    ) -> tuple[Page, str | None]:
        """Sign in, consent, come back; return the page and the connection that is new, if any."""
        before = await self.connections(key)
        async with browser() as person:
            page = await person.open(await self.start(key, connection_id))
            page = await sign_in(person, page, account)
            page = await person.submit(page)
        assert page.url.path == "/oauth/callback", page.html
        made = set(await self.connections(key)) - set(before)
        return page, made.pop() if made else None

    async def connected(self, key: str, account: str | None = None) -> tuple[str, str]:
        """Connect an account, a new one unless told; return the connection's id and the account."""
        account = account or f"person-{uuid.uuid4().hex[:8]}"
        page, made = await self.consent(key, account)
        assert page.status == 200, page.html
        assert made is not None
        return made, account

    async def connect_machine(self, client: Client, given: dict[str, str]) -> Answer:
        """Connect a client for itself, by what a form sends."""
        url = await self.start(client.id)
        path = f"/oauth2/auth/{client.id}?{url.query_string}"
        return await self.server.call("POST", path, given, signed=False)

    async def connections(self, key: str) -> list[str]:
        """Return the ids of an integration's connections."""
        answer = await self.server.call("GET", f"/connections?integrationId={key}")
        return [one["connection_id"] for one in answer.json["connections"]]

    async def get(self, key: str, connection_id: str, *, force: bool = False) -> Answer:
        """Read a connection."""
        path = f"/connections/{connection_id}?provider_config_key={key}&refresh_token=true"
        return await self.server.call("GET", path + ("&force_refresh=true" if force else ""))

    async def me(self, key: str, connection_id: str) -> Answer:
        """Ask the API who a connection is."""
        headers = {"Connection-Id": connection_id, "Provider-Config-Key": key}
        return await self.server.call("GET", "/proxy/api/me", headers=headers)


async def sign_in(person: Browser, page: Page, account: str) -> Page:
    """Fill in the login form and return the consent page."""
    page = await person.submit(page, login=account, password="any will do")
    assert "Continue" in page.html, page.html
    return page
