"""Requests to a token endpoint, in the forms provider definitions ask for (RFC 6749 §2.3, §4)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote_plus, urlencode

from carrick.auth.mode import ModeContext
from carrick.auth.signed_token import client_assertion, random_id
from carrick.auth.templates import PLACEHOLDER, filled
from carrick.auth.xml import to_xml
from carrick.errors import ClientCertificateInvalid, InvalidAuthMode, MissingConnectionConfig
from carrick.model.auth import AuthMode
from carrick.model.http import ClientCertificate, OutboundRequest

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True)
class Client:
    """The OAuth client that asks."""

    id: str
    secret: str = field(repr=False)
    #: What it signs assertions with instead of showing a secret (RFC 7523), in PEM.
    private_key: str | None = field(default=None, repr=False)
    key_id: str | None = None
    certificate: ClientCertificate | None = None


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
    developer = {**ctx.integration.custom, **ctx.integration.integration_config}
    key = developer.get("private_key")
    if not key and str(secret or "").startswith("-----BEGIN"):
        key = secret  # there is one field for it in the integration's form
    return Client(
        str(client_id),
        str(secret or ""),
        private_key=key,
        key_id=developer.get("key_id"),
        certificate=certificate_of(developer),
    )


def certificate_of(values: Mapping[str, Any]) -> ClientCertificate | None:
    """Return the client certificate among credentials or settings, if there is one."""
    certificate, key = values.get("client_certificate"), values.get("client_private_key")
    return ClientCertificate(str(certificate), str(key)) if certificate and key else None


def with_certificate(
    ctx: ModeContext, request: OutboundRequest, certificate: ClientCertificate | None
) -> OutboundRequest:
    """Return the request with the certificate that its provider demands, if it demands one.

    Raises:
        ClientCertificateInvalid: It demands one, and there is none.
    """
    if not ctx.provider.definition.get("require_client_certificate"):
        return request
    if certificate is None:
        raise ClientCertificateInvalid(
            f"{ctx.provider.display_name} demands client_certificate and client_private_key."
        )
    return replace(request, client_certificate=certificate)


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
        "random": random_id(ctx),
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
    missing = PLACEHOLDER.findall(url)
    if missing:
        names = ", ".join(name.removeprefix("connectionConfig.") for name in missing)
        raise MissingConnectionConfig(f"connection_config lacks {names}.")
    return url


def rendered_params(
    ctx: ModeContext, params: Mapping[str, Any] | None, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Fill parameters; those that nothing can fill are left out."""
    return {
        name: value
        for name, value in filled(ctx, params or {}, values).items()
        if value is not None
    }


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
    headers |= rendered_params(ctx, definition.get("token_headers"), values)
    params = dict(params)
    method = definition.get("token_request_auth_method")
    if method == "private_key_jwt" or (not method and _has_only_a_key(ctx, client)):
        params |= _asserted(ctx, client, url)
    elif method == "basic" or definition.get("authorization_method") == "header":
        # Both are written as in a form first, or a server reads "+" and "%" as something else.
        headers["Authorization"] = basic(quote_plus(client.id), quote_plus(client.secret))
    elif method != "custom":  # then the parameters themselves name the client
        params.setdefault("client_id", client.id)
        if client.secret:
            params.setdefault("client_secret", client.secret)
    body_format = str(definition.get("body_format") or "form")
    return with_certificate(
        ctx, with_body("POST", url, headers, params, body_format), client.certificate
    )


def _has_only_a_key(ctx: ModeContext, client: Client) -> bool:
    by_certificate = ctx.provider.definition.get("require_client_certificate")
    return bool(client.private_key) and not client.secret and not by_certificate


def _asserted(ctx: ModeContext, client: Client, url: str) -> dict[str, str]:
    """Return what proves that we hold the client's key; the secret itself is not sent."""
    key = client.private_key or ""
    return {
        "client_id": client.id,
        "client_assertion_type": _ASSERTION_TYPE,
        "client_assertion": client_assertion(ctx, client.id, url, key, client.key_id),
    }


def secrets_of(params: Mapping[str, Any], client: Client) -> Iterator[str]:
    """Yield what must not come back in the text of an error."""
    yield client.secret
    yield from (client.private_key or "",)
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
    {
        "refresh_token",
        "code",
        "code_verifier",
        "client_secret",
        "client_assertion",
        "assertion",
        "password",
        "token",
    }
)


def with_body(
    method: str, url: str, headers: Mapping[str, str], params: Mapping[str, Any], body_format: str
) -> OutboundRequest:
    """Build a request that carries its parameters the way its server wants them.

    Raises:
        InvalidAuthMode: That way is not offered.
    """
    if method == "GET" or body_format == "query":
        joint = "&" if "?" in url else "?"
        query = urlencode(_texts(params))
        return OutboundRequest(method, f"{url}{joint}{query}" if query else url, headers)
    if body_format not in _WRITTEN:
        raise InvalidAuthMode(f"This server cannot ask for a token in {body_format}.")
    content_type, write = _WRITTEN[body_format]
    try:
        body = write(params)
    except ValueError as error:
        raise InvalidAuthMode(f"The definition's parameters make no {body_format}.") from error
    request = OutboundRequest(method, url, {"Content-Type": content_type}, body)
    return request.with_headers(headers)


def _texts(params: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in params.items()
    }


_WRITTEN: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], bytes]]] = {
    "json": ("application/json", lambda params: json.dumps(params).encode()),
    "form": (
        "application/x-www-form-urlencoded",
        lambda params: urlencode(_texts(params)).encode(),
    ),
    "xml": ("application/xml", to_xml),
}
