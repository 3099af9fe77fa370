"""OAUTH2: an access token, and usually a refresh token that gets the next one (RFC 6749 §6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carrick.auth.expiry import expiry_of
from carrick.auth.inputs import Text, issue, read_expires_at, read_texts
from carrick.auth.mode import ModeContext, Obtained, Steps, immediately, named_values
from carrick.auth.token_answer import at_path, read_token_answer, token_part
from carrick.auth.token_request import (
    client_of,
    rendered_params,
    secrets_of,
    template_context,
    token_request,
    token_url,
)
from carrick.errors import InvalidAuthMode, InvalidBody
from carrick.model.auth import AuthMode, Credentials
from carrick.model.http import OutboundRequest

_IMPORT = (Text("access_token", 16_384), Text("refresh_token", 16_384, optional=True))
_CLIENT = (Text("client_id", 255, optional=True), Text("client_secret", 2048, optional=True))
_AT = ("credentials",)


class OAuth2:
    """Authorization code credentials; how they are first obtained is in `authorization_code`."""

    auth_mode = AuthMode.OAUTH2

    def from_input(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Refuse: no form can carry a user's consent.

        Raises:
            InvalidAuthMode: Always.
        """
        raise InvalidAuthMode("This provider is connected through its OAuth consent page.")

    def from_import(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Take over tokens that were obtained elsewhere.

        Raises:
            InvalidBody: A field is missing, unknown, or does not fit.
        """
        values: dict[str, Any] = dict(
            read_texts(body, _IMPORT, at=_AT, also=("expires_at", "config_override"))
        )
        expires_at = read_expires_at(body, at=_AT)
        # What was submitted stands in for the provider's answer, which nobody has any more.
        values["raw"] = {name: value for name, value in body.items() if name != "config_override"}
        override = body.get("config_override")
        if override is not None:
            if not isinstance(override, Mapping):
                fault = "Invalid input: expected object"
                raise InvalidBody(issues=[issue("invalid_type", fault, (*_AT, "config_override"))])
            values["config_override"] = read_texts(override, _CLIENT, at=(*_AT, "config_override"))
        return immediately(Obtained(Credentials(self.auth_mode, values, expires_at)))

    def refresh(self, ctx: ModeContext, credentials: Credentials) -> Steps | None:
        """Exchange the refresh token; `None` without one."""
        token = credentials.values.get("refresh_token")
        template = token_url(ctx, "refresh_url") or token_url(ctx)
        if not token or template is None:
            return None
        return _refresh(ctx, credentials, template)

    def authorize(
        self, ctx: ModeContext, credentials: Credentials, request: OutboundRequest
    ) -> OutboundRequest:
        """Add the access token (RFC 6750 §2.1)."""
        token = credentials.values.get("access_token", "")
        return request.with_headers({"Authorization": f"Bearer {token}"})

    def template_values(self, credentials: Credentials) -> Mapping[str, Any]:
        """Return the token as `accessToken`, and every field under `credentials`."""
        return named_values(credentials, accessToken=credentials.values.get("access_token"))


def _refresh(ctx: ModeContext, credentials: Credentials, template: str) -> Steps:
    definition, values = ctx.provider.definition, credentials.values
    client = client_of(ctx, values.get("config_override"))
    names = template_context(
        ctx, client, named_values(credentials, accessToken=values.get("access_token"))
    )
    params: dict[str, Any] = {
        "grant_type": "refresh_token",
        "refresh_token": values["refresh_token"],
    }
    if definition.get("refresh_params") is not None:
        params.update(rendered_params(ctx, definition["refresh_params"], names))
    else:
        # Written for the first exchange: all of it may apply again, except what is exchanged.
        given = rendered_params(ctx, definition.get("token_params"), names)
        params = {**given, **params}
    answer = yield token_request(ctx, template, params, client)
    fields = read_token_answer(
        answer, (*secrets_of(params, client), str(values.get("access_token", "")))
    )
    return obtained_from(ctx, fields, kept=values)


def obtained_from(
    ctx: ModeContext, fields: Mapping[str, Any], kept: Mapping[str, Any] | None = None
) -> Obtained:
    """Make credentials of a token answer.

    Args:
        ctx: The mode's surroundings.
        fields: The answer.
        kept: Credentials that are being refreshed: what the answer does not replace stays, the
            refresh token above all.

    Raises:
        ProviderAnswerInvalid: There is no access token in it.
    """
    definition = ctx.provider.definition
    part = token_part(fields, definition.get("alternate_access_token_response_path"))
    values: dict[str, Any] = {
        **(kept or {}),
        "access_token": part["access_token"],
        "raw": dict(fields),
    }
    refresh_token = part.get("refresh_token")
    if isinstance(refresh_token, str) and refresh_token:
        values["refresh_token"] = refresh_token
    milliseconds = definition.get("expires_in_unit") == "milliseconds"
    expires_at = expiry_of(part, ctx.now, milliseconds=milliseconds)
    return Obtained(Credentials(AuthMode.OAUTH2, values, expires_at), answered_config(ctx, fields))


def answered_config(ctx: ModeContext, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the definition wants copied into `connection_config`, under the written name."""
    found: dict[str, Any] = {}
    for path in ctx.provider.definition.get("token_response_metadata") or ():
        value = at_path(fields, path)
        if isinstance(value, str | bool):
            found[path] = value
    return found
