"""OAUTH2_CC: the end user's own client id and secret buy short tokens (RFC 6749 §4.4)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from carrick.auth.expiry import expiry_of
from carrick.auth.inputs import Text, read_declared, read_expires_at, read_texts
from carrick.auth.mode import ModeContext, Obtained, Steps, immediately, named_values
from carrick.auth.token_answer import read_token_answer, token_part
from carrick.auth.token_request import (
    Client,
    certificate_of,
    joined_scopes,
    rendered_params,
    secrets_of,
    template_context,
    token_request,
    token_url,
    with_certificate,
)
from carrick.errors import InvalidAuthMode
from carrick.model.auth import AuthMode, Credentials
from carrick.model.http import OutboundRequest

#: How long a token lasts when its provider does not say.
_DEFAULT_LIFETIME = timedelta(minutes=55)
_CERTIFICATE = (
    Text("client_certificate", 10_000, optional=True),
    Text("client_private_key", 10_000, optional=True),
)
_CLIENT = (Text("client_id", 255), Text("client_secret", 2048))
#: A client that has a key needs no secret.
_CLIENT_WITH_KEY = (_CLIENT[0], Text("client_secret", 2048, optional=True))


class OAuth2ClientCredentials:
    """A token bought with the end user's client; refreshing buys the next one."""

    auth_mode = AuthMode.OAUTH2_CC

    def from_input(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Buy the first token.

        Raises:
            InvalidBody: A field is missing or does not fit.
        """
        client = _CLIENT_WITH_KEY if body.get("client_private_key") else _CLIENT
        specs = ctx.provider.credentials
        named = {field.name for field in (*_CLIENT, *_CERTIFICATE)}
        more = {name: spec for name, spec in specs.items() if name not in named}
        values = {
            **read_texts(body, (*client, *_CERTIFICATE), strict=False, specs=specs),
            **read_declared({name: body[name] for name in more if name in body}, more),
        }
        return _buy(ctx, values)

    def from_import(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Take over a token that was bought elsewhere, and the client to buy the next.

        Raises:
            InvalidBody: A field is missing, unknown, or does not fit.
        """
        at = ("credentials",)
        fields = (Text("token", 4096), *_CLIENT, *_CERTIFICATE)
        values: dict[str, Any] = dict(read_texts(body, fields, at=at, also=("expires_at",)))
        expires_at = read_expires_at(body, at=at) or _by_default(ctx)
        values["raw"] = {"token": values["token"]}
        return immediately(Obtained(Credentials(self.auth_mode, values, expires_at)))

    def refresh(self, ctx: ModeContext, credentials: Credentials) -> Steps | None:
        """Buy the next token."""
        return _buy(ctx, credentials.values)

    def authorize(
        self, ctx: ModeContext, credentials: Credentials, request: OutboundRequest
    ) -> OutboundRequest:
        """Add the token (RFC 6750 §2.1), and the certificate where the API demands it too."""
        token = credentials.values.get("token", "")
        request = request.with_headers({"Authorization": f"Bearer {token}"})
        return with_certificate(ctx, request, certificate_of(credentials.values))

    def template_values(self, credentials: Credentials) -> Mapping[str, Any]:
        """Return the token as `accessToken` and `token`, and every field under `credentials`."""
        return named_values(credentials, accessToken=credentials.values.get("token"))


def _buy(ctx: ModeContext, values: Mapping[str, Any]) -> Steps:
    definition = ctx.provider.definition
    template = token_url(ctx)
    if template is None:
        raise InvalidAuthMode("This provider has no OAuth token endpoint.")
    client = Client(
        str(values["client_id"]),
        str(values.get("client_secret") or ""),
        private_key=values.get("client_private_key"),
        key_id=values.get("key_id"),
        certificate=certificate_of(values),
    )
    names = template_context(ctx, client, {"credentials": values})
    params: dict[str, Any] = {
        "grant_type": "client_credentials",
        **rendered_params(ctx, definition.get("token_params"), names),
    }
    configured = (ctx.integration.credentials or {}).get("scopes")
    if scope := joined_scopes(ctx, ctx.connection_config.get("oauth_scopes") or configured):
        params["scope"] = scope
    answer = yield token_request(ctx, template, params, client)
    fields = read_token_answer(answer, secrets_of(params, client))
    return _obtained(ctx, fields, values)


def _obtained(ctx: ModeContext, fields: Mapping[str, Any], kept: Mapping[str, Any]) -> Obtained:
    definition = ctx.provider.definition
    part = token_part(fields, definition.get("alternate_access_token_response_path"))
    values = {**kept, "token": part["access_token"], "raw": dict(fields)}
    milliseconds = definition.get("expires_in_unit") == "milliseconds"
    expires_at = expiry_of(part, ctx.now, milliseconds=milliseconds) or _by_default(ctx)
    return Obtained(Credentials(AuthMode.OAUTH2_CC, values, expires_at))


def _by_default(ctx: ModeContext) -> datetime:
    return ctx.now + _DEFAULT_LIFETIME
