"""Every auth mode as a row of one table, and the stage on which all rows play the same piece.

A new mode is one `ModeCase` in `CASES`: its catalogue entry, what a browser sends, what an import
carries. The provider must be able to tell from a call whose credentials it carries (`/api/me`).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.api.asking import Answer, Asking
from tests.lifecycle.house import HEAD, VALIDATE

from carrick.app import App
from carrick.deployments import pack, read_project
from carrick.environments import NewIntegration
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
        """Return the token of a connect session, for a reconnect where an id is given."""
        body: dict[str, Any] = {"end_user": {"id": "u1"}}
        target = "/connect/sessions"
        if connection_id is not None:
            target += "/reconnect"
            body |= {"connection_id": connection_id, "integration_id": key}
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
    #: Of the integration: `credentials`, `integration_config`, ...
    integration: Callable[[FakeProvider], Mapping[str, Any]] = field(default=lambda provider: {})
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


def providers_file(path: Path, url: str) -> Path:
    """Write a providers file with an entry for every row."""
    path.write_text(yaml.safe_dump({case.key: entry_of(case, url) for case in CASES}))
    return path


async def furnish(stage: Stage, folder: Path) -> None:
    """Add an integration for every row, and to each the check that accounts do not change."""
    for case in CASES:
        await stage.app.rooms.integrations.create(
            stage.environment.row_id,
            NewIntegration(case.key, case.key, **case.integration(stage.provider)),
        )
        functions = folder / case.key / "on_events"
        functions.mkdir(parents=True)
        (functions / "same_account.py").write_text(HEAD + VALIDATE)
    await stage.app.rooms.deployments.deploy(
        stage.environment.row_id, pack(read_project(folder)), allow_removals=True
    )


def _oauth_client(provider: FakeProvider) -> Mapping[str, Any]:
    return {
        "credentials": {
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
        }
    }


@cache
def key_pair() -> tuple[str, str]:
    """Return an RSA key in the form that integrations take (PKCS#1), and its public half."""
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


def _app(provider: FakeProvider, mode: str) -> Mapping[str, Any]:
    """Register an app and return what an integration has of it."""
    private, public = key_pair()
    link = provider.register_app(mode, public, CALLBACK, signs_in=mode == "CUSTOM")
    credentials = {"type": mode, "app_id": mode, "app_link": link, "private_key": private}
    if mode == "CUSTOM":
        credentials |= _oauth_client(provider)["credentials"]
    return {"credentials": credentials}


def _installed(stage: Stage, account: Account, mode: str) -> dict[str, str]:
    """Install the app and return what an import says about it."""
    number = stage.provider.install_app(mode, account)
    return {"type": mode, "app_id": mode, "installation_id": number}


def _signing_token(stage: Stage, account: Account, *names: str) -> dict[str, str]:
    """Return a new token and its secret under these names."""
    realm = account.organization_id.upper() if names[0] == "token_id" else None
    return dict(zip(names, stage.provider.issue_signing_token(account, realm=realm), strict=True))


def _two_step(url: str) -> Mapping[str, Any]:
    """A ticket and a cookie first, then tokens that a refresh token renews."""
    return {
        "credentials": _specs("username", "password"),
        "token_url": f"{url}/two-step/login",
        "token_params": {
            "username": "${credentials.username}",
            "password": "${credentials.password}",
        },
        "token_response_headers": ["set-cookie"],
        "additional_steps": [
            {
                "token_url": f"{url}/two-step/token",
                "token_headers": {
                    "x-ticket": "${step1.data.ticket}",
                    "cookie": "${step1._cookies}",
                },
            }
        ],
        "token_response": {
            "token": "result.token",
            "refresh_token": "result.refresh",
            "token_expiration": "result.lifetime",
            "token_expiration_strategy": "expireIn",
        },
        "token_response_metadata": ["region"],
        "refresh_url": f"{url}/two-step/refresh",
        "refresh_token_params": {"refresh_token": "${refresh_token}"},
    }


def _xml_login(url: str) -> Mapping[str, Any]:
    """A login that speaks XML and has no refresh token."""
    login = {"username": "${credentials.username}", "password": "${credentials.password}"}
    return {
        "credentials": _specs("username", "password"),
        "token_url": f"{url}/two-step/xml",
        "body_format": "xml",
        "token_params": {"login": {"@version": "1", **login}},
        "token_response": {
            "token": "reply.session.id",
            "token_expiration": "reply.session.@lifetime",
            "token_expiration_strategy": "expireIn",
        },
    }


def _minted(protocol: str) -> Mapping[str, Any]:
    return {
        "credentials": _specs("privateKey", "issuer"),
        "signature": {"protocol": protocol},
        "token": {
            "signing_key": "${credentials.privateKey}",
            "expires_in_ms": 3_600_000,
            "header": {"kid": f"${{credentials.issuer}}/{protocol}"},
            "payload": {"iss": "${credentials.issuer}", "jti": "${random}"},
        },
    }


def _signer(kind: Literal["EC", "HMAC"]) -> Callable[[Stage, Account], Mapping[str, Any]]:
    return lambda stage, account: {
        "type": "JWT",
        "privateKey": stage.provider.signing_key(account, kind),
        "issuer": account.name,
    }


def _password(mode: str) -> Callable[[Stage, Account], Mapping[str, Any]]:
    return lambda stage, account: {
        "type": mode,
        "username": account.username,
        "password": account.password,
    }


def _aws(provider: FakeProvider) -> Mapping[str, Any]:
    key_id, secret = provider.aws_keys
    return {
        "integration_config": {
            "aws_access_key_id": key_id,
            "aws_secret_access_key": secret,
            "sts_endpoint": f"{provider.url}/sts",
            "service": "execute-api",
            "default_region": "eu-central-1",
        }
    }


def _specs(*names: str) -> dict[str, Any]:
    return {name: {"type": "string", "title": name, "description": name} for name in names}


CASES: tuple[ModeCase, ...] = (
    ModeCase(
        key="of-api-key",
        auth_mode=AuthMode.API_KEY,
        definition=lambda url: {
            "credentials": _specs("apiKey"),
            "proxy": {"headers": {"x-api-key": "${apiKey}"}},
        },
        fields=frozenset({"apiKey"}),
        path="/api-auth/api-key",
        form=lambda stage, account: {"apiKey": account.api_key},
        credentials=lambda stage, account: {"type": "API_KEY", "apiKey": account.api_key},
    ),
    ModeCase(
        key="of-basic",
        auth_mode=AuthMode.BASIC,
        definition=lambda url: {},
        fields=frozenset({"username", "password"}),
        path="/api-auth/basic",
        form=lambda stage, account: {"username": account.username, "password": account.password},
        credentials=lambda stage, account: {
            "type": "BASIC",
            "username": account.username,
            "password": account.password,
        },
    ),
    ModeCase(
        key="of-none",
        auth_mode=AuthMode.NONE,
        definition=lambda url: {
            "connection_config": _specs("account"),
            "proxy": {"base_url": f"{url}/open/${{connectionConfig.account}}"},
        },
        fields=frozenset(),
        path="/auth/unauthenticated",
        form=lambda stage, account: {},
        credentials=lambda stage, account: {"type": "NONE"},
        config=lambda account: {"account": account.name},
        check=lambda account: f"/open/{account.name}{CHECK}",
    ),
    ModeCase(
        key="of-oauth2",
        auth_mode=AuthMode.OAUTH2,
        definition=lambda url: {
            "authorization_url": f"{url}/oauth/authorize",
            "token_url": f"{url}/oauth/token",
        },
        fields=frozenset({"access_token", "expires_at", "raw"}),
        arrive=by_popup,
        untested="connection_validation_failed",  # the popup has no other word for it
        credentials=lambda stage, account: {
            "type": "OAUTH2",
            "access_token": account.access_token,
            "refresh_token": account.refresh_token,
        },
        integration=_oauth_client,
        renewed="access_token",
    ),
    ModeCase(
        key="of-oauth2-cc",
        auth_mode=AuthMode.OAUTH2_CC,
        definition=lambda url: {"token_url": f"{url}/oauth/token"},
        fields=frozenset({"client_id", "client_secret", "token", "expires_at", "raw"}),
        path="/oauth2/auth",
        form=lambda stage, account: {
            "client_id": account.username,
            "client_secret": account.password,
        },
        credentials=lambda stage, account: {
            "type": "OAUTH2_CC",
            "token": account.access_token,
            "client_id": account.username,
            "client_secret": account.password,
        },
        renewed="token",
    ),
    ModeCase(
        key="of-oauth1",
        auth_mode=AuthMode.OAUTH1,
        definition=lambda url: {
            "request_url": f"{url}/oauth1/request_token",
            "authorization_url": f"{url}/oauth1/authorize",
            "token_url": f"{url}/oauth1/access_token",
        },
        fields=frozenset({"oauth_token", "oauth_token_secret", "raw"}),
        arrive=by_popup,
        untested="connection_validation_failed",
        credentials=lambda stage, account: {
            "type": "OAUTH1",
            **_signing_token(stage, account, "oauth_token", "oauth_token_secret"),
        },
        integration=_oauth_client,
    ),
    ModeCase(
        key="of-tba",
        auth_mode=AuthMode.TBA,
        definition=lambda url: {"connection_config": _specs("accountId")},
        fields=frozenset({"token_id", "token_secret", "config_override"}),
        path="/auth/tba",
        form=lambda stage, account: _signing_token(stage, account, "token_id", "token_secret"),
        credentials=lambda stage, account: {
            "type": "TBA",
            **_signing_token(stage, account, "token_id", "token_secret"),
        },
        config=lambda account: {"accountId": account.organization_id},
        integration=_oauth_client,
    ),
    ModeCase(
        key="of-app",
        auth_mode=AuthMode.APP,
        definition=lambda url: {
            "authorization_url": "${connectionConfig.appPublicLink}",
            "token_url": f"{url}/app/installations/${{connectionConfig.installation_id}}"
            "/access_tokens",
        },
        fields=frozenset({"access_token", "expires_at", "raw", "app_id", "installation_id"}),
        arrive=by_popup,
        untested="connection_validation_failed",
        credentials=lambda stage, account: _installed(stage, account, "APP"),
        integration=lambda provider: _app(provider, "APP"),
        renewed="access_token",
    ),
    ModeCase(
        key="of-custom",
        auth_mode=AuthMode.CUSTOM,
        definition=lambda url: {
            "authorization_url": "${connectionConfig.appPublicLink}",
            "token_url": {
                "OAUTH2": f"{url}/oauth/token",
                "APP": f"{url}/app/installations/${{connectionConfig.installation_id}}"
                "/access_tokens",
            },
            "installation_check_url": f"{url}/user/installations"
            "/${connectionConfig.installation_id}/repositories",
            "proxy": {"headers": {"authorization": "Bearer ${accessToken}"}},
        },
        fields=frozenset({"access_token", "expires_at", "raw", "app_id", "installation_id"}),
        arrive=by_popup,
        untested="connection_validation_failed",
        credentials=lambda stage, account: _installed(stage, account, "CUSTOM"),
        integration=lambda provider: _app(provider, "CUSTOM"),
        renewed="access_token",
    ),
    ModeCase(
        key="of-plugin",
        auth_mode=AuthMode.INSTALL_PLUGIN,
        definition=lambda url: {},
        fields=frozenset({"username", "password"}),
        arrive=by_popup,
        untested="connection_validation_failed",
        integration=lambda provider: {
            "custom": {"app_link": f"{provider.url}/plugins/new?{urlencode({'back': CALLBACK})}"}
        },
    ),
    ModeCase(
        key="of-oauth2-cc-by-key",
        auth_mode=AuthMode.OAUTH2_CC,
        definition=lambda url: {
            "token_url": f"{url}/oauth/token",
            "token_request_auth_method": "private_key_jwt",
            "credentials": _specs("client_id", "client_private_key", "key_id"),
        },
        fields=frozenset(
            {"client_id", "client_private_key", "key_id", "token", "expires_at", "raw"}
        ),
        path="/oauth2/auth",
        form=lambda stage, account: {
            "client_id": account.username,
            "client_private_key": stage.provider.signing_key(account),
            "key_id": f"{account.name}/EC",
        },
        credentials=lambda stage, account: {
            "type": "OAUTH2_CC",
            "token": account.access_token,
            "client_id": account.username,
            "client_secret": account.password,
        },
        renewed="token",
    ),
    ModeCase(
        key="of-jwt-ec",
        auth_mode=AuthMode.JWT,
        definition=lambda url: _minted("EC"),
        fields=frozenset({"privateKey", "issuer", "token", "expires_at"}),
        path="/auth/jwt",
        form=_signer("EC"),
        renewed="token",
    ),
    ModeCase(
        key="of-jwt-hmac",
        auth_mode=AuthMode.JWT,
        definition=lambda url: _minted("HMAC"),
        fields=frozenset({"privateKey", "issuer", "token", "expires_at"}),
        path="/auth/jwt",
        form=_signer("HMAC"),
        renewed="token",
    ),
    ModeCase(
        key="of-jwt-exchanged",
        auth_mode=AuthMode.JWT,
        definition=lambda url: {
            **_minted("EC"),
            "token_url": f"{url}/two-step/assertion",
            "token_response": {"token": "result.token", "token_expiration": "result.lifetime"},
        },
        fields=frozenset({"privateKey", "issuer", "token", "expires_at", "raw"}),
        path="/auth/jwt",
        form=_signer("EC"),
        renewed="token",
    ),
    ModeCase(
        key="of-two-step",
        auth_mode=AuthMode.TWO_STEP,
        definition=_two_step,
        fields=frozenset({"username", "password", "token", "expires_at", "raw"}),
        path="/auth/two-step",
        form=_password("TWO_STEP"),
        renewed="token",
    ),
    ModeCase(
        key="of-two-step-xml",
        auth_mode=AuthMode.TWO_STEP,
        definition=_xml_login,
        fields=frozenset({"username", "password", "token", "expires_at", "raw"}),
        path="/auth/two-step",
        form=_password("TWO_STEP"),
        renewed="token",
    ),
    ModeCase(
        key="of-two-step-assertion",
        auth_mode=AuthMode.TWO_STEP,
        definition=lambda url: {
            **_minted("EC"),
            "token_url": f"{url}/two-step/assertion",
            "token_response": {"token": "result.token", "token_expiration": "result.lifetime"},
        },
        fields=frozenset({"privateKey", "issuer", "token", "expires_at", "raw"}),
        path="/auth/two-step",
        form=_signer("EC"),
        renewed="token",
    ),
    ModeCase(
        key="of-signature",
        auth_mode=AuthMode.SIGNATURE,
        definition=lambda url: {"token": {"expires_in_ms": 300_000}},
        fields=frozenset({"username", "password", "token", "expires_at"}),
        path="/auth/signature",
        form=_password("SIGNATURE"),
        renewed="token",
    ),
    ModeCase(
        key="of-bill",
        auth_mode=AuthMode.BILL,
        definition=lambda url: {
            "token_url": f"{url}/bill/login",
            "proxy": {
                "headers": {
                    "devKey": "${credentials.dev_key}",
                    "sessionId": "${credentials.session_id}",
                }
            },
        },
        fields=frozenset(
            {
                "username",
                "password",
                "organization_id",
                "dev_key",
                "session_id",
                "user_id",
                "expires_at",
                "raw",
            }
        ),
        path="/auth/bill",
        form=lambda stage, account: {
            "username": account.username,
            "password": account.password,
            "organization_id": account.organization_id,
            "dev_key": account.api_key,
        },
        renewed="session_id",
    ),
    ModeCase(
        key="of-aws-sigv4",
        auth_mode=AuthMode.AWS_SIGV4,
        definition=lambda url: {
            "integration_config": _specs(
                "aws_access_key_id",
                "aws_secret_access_key",
                "sts_endpoint",
                "service",
                "default_region",
            )
        },
        fields=frozenset(
            {
                "role_arn",
                "region",
                "service",
                "access_key_id",
                "secret_access_key",
                "session_token",
                "expires_at",
                "external_id",
                "raw",
            }
        ),
        path="/auth/aws-sigv4",
        form=lambda stage, account: {"role_arn": stage.provider.role_of(account)},
        integration=_aws,
        renewed="session_token",
    ),
    ModeCase(
        key="of-mcp",
        auth_mode=AuthMode.MCP_OAUTH2,
        definition=lambda url: {
            "authorization_url": f"{url}/tenant/authorize",
            "token_url": f"{url}/tenant/token",
            "registration_url": f"{url}/tenant/register",
            "authorization_params": {"resource": f"{url}/mcp"},
            "token_params": {"resource": f"{url}/mcp"},
        },
        fields=frozenset({"access_token", "expires_at", "raw", "config_override"}),
        arrive=by_popup,
        untested="connection_validation_failed",
        renewed="access_token",
    ),
    ModeCase(
        key="of-mcp-generic",
        auth_mode=AuthMode.MCP_OAUTH2_GENERIC,
        definition=lambda url: {"mcp_server_url": f"{url}/mcp"},
        fields=frozenset({"access_token", "expires_at", "raw", "config_override"}),
        arrive=by_popup,
        untested="connection_validation_failed",
        renewed="access_token",
    ),
)
