"""Requests to a token endpoint, in the forms provider definitions ask for (RFC 6749 §2.3, §4)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode

from carrick.auth.mode import ModeContext
from carrick.errors import InvalidAuthMode, MissingConnectionConfig
from carrick.model.auth import AuthMode
from carrick.model.http import OutboundRequest

_UNRESOLVED = re.compile(r"\$\{([^{}]*)\}")


@dataclass(frozen=True)
class Client:
    """The OAuth client that asks."""

    id: str
    secret: str = field(repr=False)


def client_of(ctx: ModeContext, override: Mapping[str, Any] | None = None) -> Client:
    """Return the integration's client, or the connection's own where it brought one.

    Raises:
        MissingConnectionConfig: Neither has a client id.
    """
    own = override or {}
    configured = ctx.integration.credentials or {}
    client_id = own.get("client_id") or configured.get("client_id")
    if not client_id:
        raise MissingConnectionConfig(
            f"The integration {ctx.integration.integration_id!r} has no client_id."
        )
    secret = own.get("client_secret") or configured.get("client_secret")
    return Client(str(client_id), str(secret or ""))


def template_context(
    ctx: ModeContext, client: Client, more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what the templates of URLs and parameters may name."""
    developer = {**ctx.integration.custom, **ctx.integration.integration_config}
    return {
        **developer,
        **(more or {}),
        "connectionConfig": ctx.connection_config,
        "integrationConfig": developer,
        "clientId": client.id,
        "clientSecret": client.secret,
        "now": ctx.now,
    }


def rendered_url(
    ctx: ModeContext, template: str, values: Mapping[str, Any], *, encode: bool = True
) -> str:
    """Fill the template of an address.

    Raises:
        MissingConnectionConfig: A placeholder has no value; the message names it.
        InvalidConnectionConfig: A value is none that may stand where it would.
    """
    url = ctx.render(template, values, encode=encode)
    missing = _UNRESOLVED.findall(url)
    if missing:
        names = ", ".join(name.removeprefix("connectionConfig.") for name in missing)
        raise MissingConnectionConfig(f"connection_config lacks {names}.")
    return url


def rendered_params(
    ctx: ModeContext, params: Mapping[str, Any] | None, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Fill parameters; those that nothing can fill are left out."""
    filled: dict[str, Any] = {}
    for name, template in (params or {}).items():
        value = ctx.render(template, values) if isinstance(template, str) else template
        if value is not None and not (isinstance(value, str) and _UNRESOLVED.search(value)):
            filled[name] = value
    return filled


def token_url(ctx: ModeContext, key: str = "token_url") -> str | None:
    """Return the template of a token endpoint; some definitions have one for each mode."""
    url = ctx.provider.definition.get(key)
    if isinstance(url, Mapping):
        url = url.get(AuthMode.OAUTH2)
    return url if isinstance(url, str) and url else None


def token_request(
    ctx: ModeContext, template: str, params: Mapping[str, Any], client: Client
) -> OutboundRequest:
    """Build the request that asks for a token.

    Raises:
        MissingConnectionConfig: The address lacks a value.
        InvalidAuthMode: The definition asks for a way to authenticate that is not offered.
    """
    definition = ctx.provider.definition
    skipped = definition.get("token_url_skip_encode") or ()
    values = template_context(ctx, client)
    url = rendered_url(ctx, template, values, encode="base_url" not in skipped)
    headers = {"Accept": "application/json"}
    params = dict(params)
    method = definition.get("token_request_auth_method")
    if method == "basic" or definition.get("authorization_method") == "header":
        # Both are written as in a form first, or a server reads "+" and "%" as something else.
        headers["Authorization"] = basic(quote_plus(client.id), quote_plus(client.secret))
    elif method == "private_key_jwt" or definition.get("require_client_certificate"):
        raise InvalidAuthMode("This server cannot authenticate a client by key or certificate.")
    elif method != "custom":  # then the parameters themselves name the client
        params.setdefault("client_id", client.id)
        if client.secret:
            params.setdefault("client_secret", client.secret)
    return _with_body(url, headers, params, str(definition.get("body_format") or "form"))


def secrets_of(params: Mapping[str, Any], client: Client) -> Iterator[str]:
    """Yield what must not come back in the text of an error."""
    yield client.secret
    for name, value in params.items():
        if name in _SECRET_PARAMS and isinstance(value, str):
            yield value


def basic(name: str, password: str) -> str:
    """Return the value of a Basic `Authorization` header (RFC 7617)."""
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


def joined_scopes(ctx: ModeContext, scopes: Any) -> str:
    """Join scopes, given as a list or as text with commas or spaces, the provider's way."""
    separator = str(ctx.provider.definition.get("scope_separator") or " ")
    if isinstance(scopes, str):
        scopes = re.split(r"[,\s]+", scopes)
    return separator.join(str(scope) for scope in scopes or () if scope)


_SECRET_PARAMS = frozenset(
    {"refresh_token", "code", "code_verifier", "client_secret", "assertion", "password", "token"}
)


def _with_body(
    url: str, headers: dict[str, str], params: Mapping[str, Any], body_format: str
) -> OutboundRequest:
    if body_format == "json":
        headers["Content-Type"] = "application/json"
        return OutboundRequest("POST", url, headers, json.dumps(params).encode())
    if body_format == "query":
        joint = "&" if "?" in url else "?"
        return OutboundRequest("POST", f"{url}{joint}{urlencode(_texts(params))}", headers)
    if body_format == "form":
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return OutboundRequest("POST", url, headers, urlencode(_texts(params)).encode())
    raise InvalidAuthMode(f"This server cannot ask for a token in {body_format}.")


def _texts(params: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in params.items()
    }
