"""Auth modes that go through the user's browser, and those that sign what they send."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.lifecycle.mode_stage import ModeCase, Stage, by_popup, oauth_client, specs

from carrick.model.auth import AuthMode
from carrick.testing.fake_provider import Account, FakeProvider


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


def _app(provider: FakeProvider, mode: str, callback: str) -> Mapping[str, Any]:
    """Register an app and return what an integration has of it."""
    private, public = key_pair()
    link = provider.register_app(mode, public, callback, signs_in=mode == "CUSTOM")
    credentials = {"type": mode, "app_id": mode, "app_link": link, "private_key": private}
    if mode == "CUSTOM":
        credentials |= oauth_client(provider, callback)["credentials"]
    return {"credentials": credentials}


def _installed(stage: Stage, account: Account, mode: str) -> dict[str, str]:
    """Install the app and return what an import says about it."""
    number = stage.provider.install_app(mode, account)
    return {"type": mode, "app_id": mode, "installation_id": number}


def _signing_token(stage: Stage, account: Account, *names: str) -> dict[str, str]:
    """Return a new token and its secret under these names."""
    realm = account.organization_id.upper() if names[0] == "token_id" else None
    return dict(zip(names, stage.provider.issue_signing_token(account, realm=realm), strict=True))


POPUP_CASES: tuple[ModeCase, ...] = (
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
        integration=oauth_client,
        renewed="access_token",
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
        integration=oauth_client,
    ),
    ModeCase(
        key="of-tba",
        auth_mode=AuthMode.TBA,
        definition=lambda url: {"connection_config": specs("accountId")},
        fields=frozenset({"token_id", "token_secret", "config_override"}),
        path="/auth/tba",
        form=lambda stage, account: _signing_token(stage, account, "token_id", "token_secret"),
        credentials=lambda stage, account: {
            "type": "TBA",
            **_signing_token(stage, account, "token_id", "token_secret"),
        },
        config=lambda account: {"accountId": account.organization_id},
        integration=oauth_client,
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
        integration=lambda provider, callback: _app(provider, "APP", callback),
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
        integration=lambda provider, callback: _app(provider, "CUSTOM", callback),
        renewed="access_token",
    ),
    ModeCase(
        key="of-plugin",
        auth_mode=AuthMode.INSTALL_PLUGIN,
        definition=lambda url: {},
        fields=frozenset({"username", "password"}),
        arrive=by_popup,
        untested="connection_validation_failed",
        integration=lambda provider, callback: {
            "custom": {"app_link": f"{provider.url}/plugins/new?{urlencode({'back': callback})}"}
        },
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
