"""Every auth mode as a row of one table; what is done with the rows is the same for all.

A new mode is one `ModeCase` in `CASES` (or in `modes_popup`): its catalogue entry, what a browser
sends, what an import carries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from tests.lifecycle.house import VALIDATE, packed
from tests.lifecycle.mode_stage import CALLBACK, CHECK, ModeCase, Stage, entry_of, specs
from tests.lifecycle.modes_popup import POPUP_CASES

from carrick.environments import NewIntegration
from carrick.model.auth import AuthMode
from carrick.testing.fake_provider import Account, FakeProvider


def providers_file(path: Path, url: str) -> Path:
    """Write a providers file with an entry for every row."""
    path.write_text(yaml.safe_dump({case.key: entry_of(case, url) for case in CASES}))
    return path


async def furnish(stage: Stage) -> None:
    """Add an integration for every row, and to each the check that accounts do not change."""
    for case in CASES:
        await stage.app.rooms.integrations.create(
            stage.environment.row_id,
            NewIntegration(case.key, case.key, **case.integration(stage.provider, CALLBACK)),
        )
    checks = packed({case.key: {"same-account": VALIDATE} for case in CASES})
    await stage.app.rooms.deployments.deploy(stage.environment.row_id, checks, allow_removals=True)


def _two_step(url: str) -> Mapping[str, Any]:
    """A ticket and a cookie first, then tokens that a refresh token renews."""
    return {
        "credentials": specs("username", "password"),
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
        "credentials": specs("username", "password"),
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
        "credentials": specs("privateKey", "issuer"),
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


def _aws(provider: FakeProvider, callback: str) -> Mapping[str, Any]:
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


CASES: tuple[ModeCase, ...] = (
    *POPUP_CASES,
    ModeCase(
        key="of-api-key",
        auth_mode=AuthMode.API_KEY,
        definition=lambda url: {
            "credentials": specs("apiKey"),
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
            "connection_config": specs("account"),
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
        key="of-oauth2-cc-by-key",
        auth_mode=AuthMode.OAUTH2_CC,
        definition=lambda url: {
            "token_url": f"{url}/oauth/token",
            "token_request_auth_method": "private_key_jwt",
            "credentials": specs("client_id", "client_private_key", "key_id"),
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
            "connection_config": specs("external_id", optional=True),
            "integration_config": specs(
                "aws_access_key_id",
                "aws_secret_access_key",
                "sts_endpoint",
                "service",
                "default_region",
                optional=True,
            ),
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
)
