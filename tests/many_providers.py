"""A foreign catalogue of any size: every auth mode, aliases, texts in other languages, odd keys."""

from __future__ import annotations

from typing import Any

from carrick.model.auth import AuthMode

FIELD = {"type": "string", "title": "Field", "description": "A field.", "order": 1}
TYPED: dict[AuthMode, tuple[str, ...]] = {
    AuthMode.API_KEY: ("apiKey",),
    AuthMode.BASIC: ("username", "password"),
    AuthMode.SIGNATURE: ("username", "password"),
    AuthMode.JWT: ("privateKey", "keyId"),
    AuthMode.TWO_STEP: ("username", "password"),
    AuthMode.OAUTH2_CC: ("client_id", "client_secret"),
    AuthMode.AWS_SIGV4: ("role_arn", "region"),
    AuthMode.BILL: ("username", "password", "organization_id", "dev_key"),
}


def many_providers(count: int) -> dict[str, Any]:
    """Return so many entries; every tenth is an alias of the one before."""
    modes = list(AuthMode)
    entries: dict[str, Any] = {}
    for number in range(count):
        name = f"vendor-{number:04}"
        if number % 10 == 9:
            entries[name] = {"alias": f"vendor-{number - 1:04}", "display_name": f"Twin {number}"}
        else:
            entries[name] = _entry(number, modes[number % len(modes)])
    return entries


def _entry(number: int, mode: AuthMode) -> dict[str, Any]:
    host = f"vendor{number}.example.com"
    entry: dict[str, Any] = {
        "display_name": f"Vendor {number}",
        "auth_mode": mode.value,
        "categories": ["other"],
        "docs": f"https://docs.{host}",
        "odd_key": True,
        "connection_config": {"subdomain": {**FIELD, "pattern": "^[a-z0-9-]+$"}},
        "translations": {"de": {"connection_config": {"subdomain": {"title": "Feld"}}}},
        "post_connection_script": "vendorPostConnection",
        "proxy": {
            "base_url": "https://${connectionConfig.subdomain}." + host,
            "headers": {"x-key": "${apiKey} || ${accessToken}"},
            "retry": {"after": ["retry-after"], "in_body": {"path": "a", "value": "(.*)"}},
            "paginate": {"type": "cursor", "response_path": "data"},
        },
        **_OF_MODE.get(mode, {}),
    }
    if mode.value.startswith(("OAUTH", "MCP", "CUSTOM", "APP", "TWO_STEP", "BILL")):
        entry["token_url"] = f"https://{host}/token"
        entry["authorization_url"] = f"https://{host}/authorize"
    if fields := TYPED.get(mode):
        entry["credentials"] = {name: {**FIELD, "secret": True} for name in fields}
    return entry


_OF_MODE: dict[AuthMode, dict[str, Any]] = {
    AuthMode.CUSTOM: {
        "installation_check_url": "https://a.example/${connectionConfig.installation_id}",
    },
    AuthMode.OAUTH1: {"request_url": "https://a.example/request", "signature_method": "HMAC-SHA1"},
    AuthMode.JWT: {"token": {"signing_key": "${credentials.privateKey}", "expires_in_ms": 1000}},
    AuthMode.TWO_STEP: {
        "token_response": {"token": "access.token"},
        "additional_steps": [{"token_url": "https://a.example/${step1.id}"}],
    },
    AuthMode.MCP_OAUTH2: {"client_registration": "dynamic", "registration_url": "https://a/r"},
}
