"""TWO_STEP: fields of the provider's own choosing buy a token, at its login or by an assertion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carrick.auth.inputs import issue, read_declared
from carrick.auth.login import ask, log_in, login_values, token_of
from carrick.auth.mode import ModeContext, Obtained, Steps, named_values
from carrick.auth.oauth2 import answered_config
from carrick.auth.placement import bearer_unless_placed
from carrick.auth.signed_token import assertion, minted
from carrick.errors import InvalidAuthMode, InvalidBody, ProviderRefused
from carrick.model.auth import AuthMode, Credentials
from carrick.model.http import OutboundRequest

#: What a login adds to the fields that were sent.
_BOUGHT = frozenset({"token", "refresh_token", "raw"})
_OPTION = "assertionOption"


class TwoStep:
    """A token bought with what the end user typed; logging in again buys the next one."""

    auth_mode = AuthMode.TWO_STEP

    def from_input(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Log in with the fields of the form.

        Raises:
            InvalidBody: A field is missing, unknown, or does not fit.
        """
        given = {**ctx.integration.custom, **ctx.integration.integration_config}
        values = read_declared(body, ctx.provider.credentials, also=(_OPTION,), given=given)
        return _bought(ctx, values, _options(ctx, body.get(_OPTION)))

    def from_import(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Refuse: only the provider's own login makes a token.

        Raises:
            InvalidAuthMode: Always.
        """
        raise InvalidAuthMode("Connections of this provider cannot be imported.")

    def refresh(self, ctx: ModeContext, credentials: Credentials) -> Steps | None:
        """Use the refresh token where the provider has one, else log in again."""
        definition = ctx.provider.definition
        can_log_in = not ctx.provider.assertion_option
        if definition.get("refresh_url") and credentials.values.get("refresh_token"):
            return _refreshed(ctx, credentials, can_log_in)
        return _bought(ctx, _sent(credentials), {}) if can_log_in else None

    def authorize(
        self, ctx: ModeContext, credentials: Credentials, request: OutboundRequest
    ) -> OutboundRequest:
        """Add the token as a bearer token, unless the definition places it itself."""
        return bearer_unless_placed(ctx, credentials, request)

    def template_values(self, credentials: Credentials) -> Mapping[str, Any]:
        """Return the token as `accessToken`, and every field under `credentials`."""
        return named_values(credentials, accessToken=credentials.values.get("token"))


def _options(ctx: ModeContext, given: Any) -> dict[str, str]:
    """Return the inputs that are used once and kept nowhere."""
    if given is not None and not isinstance(given, Mapping):
        fault = issue("invalid_type", "Invalid input: expected object", (_OPTION,))
        raise InvalidBody(issues=[fault])
    return read_declared(given or {}, ctx.provider.assertion_option, at=(_OPTION,))


def _sent(credentials: Credentials) -> dict[str, Any]:
    return {name: value for name, value in credentials.values.items() if name not in _BOUGHT}


def _bought(ctx: ModeContext, fields: Mapping[str, Any], options: Mapping[str, str]) -> Steps:
    definition = ctx.provider.definition
    values = {**login_values(ctx, fields), "assertionOption": options}
    secrets = [*_secrets(values["credentials"]), *options.values()]
    bearer = None
    if definition.get("signature") and definition.get("token"):
        bearer = minted(ctx, values).token
        values["jwt"] = bearer
        secrets.append(bearer)
    if definition.get("assertion"):
        values["assertion"] = assertion(ctx, values)
        secrets.append(values["assertion"])
    answer = yield from log_in(ctx, values, secrets, bearer=bearer)
    return _obtained(ctx, fields, answer)


def _refreshed(ctx: ModeContext, credentials: Credentials, can_log_in: bool) -> Steps:
    definition, fields = ctx.provider.definition, _sent(credentials)
    step = {
        "token_url": definition["refresh_url"],
        "token_params": definition.get("refresh_token_params")
        or {"refresh_token": "${refresh_token}"},
        "token_headers": definition.get("refresh_token_headers"),
        "body_format": definition.get("body_format"),
    }
    values = {
        **login_values(ctx, {**fields, "refresh_token": credentials.values["refresh_token"]}),
        "accessToken": credentials.values.get("token"),
    }
    try:
        answer = yield from ask(ctx, step, values, _secrets(credentials.values), {})
    except ProviderRefused:
        if not can_log_in:
            raise
        return (yield from _bought(ctx, fields, {}))
    kept = {**fields, "refresh_token": credentials.values["refresh_token"]}
    return _obtained(ctx, kept, answer)


def _obtained(ctx: ModeContext, fields: Mapping[str, Any], answer: Mapping[str, Any]) -> Obtained:
    found = token_of(ctx, answer)
    values = {**fields, "token": found.token, "raw": dict(answer)}
    if found.refresh_token:
        values["refresh_token"] = found.refresh_token
    credentials = Credentials(AuthMode.TWO_STEP, values, found.expires_at)
    return Obtained(credentials, answered_config(ctx, answer))


def _secrets(values: Mapping[str, Any]) -> list[str]:
    return list(Credentials(AuthMode.TWO_STEP, values).secrets())
