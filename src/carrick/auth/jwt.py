"""JWT: a token we sign ourselves with a key the end user gave us (RFC 7519)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carrick.auth.inputs import read_declared
from carrick.auth.login import log_in, login_values, token_of
from carrick.auth.mode import ModeContext, Obtained, Steps, named_values
from carrick.auth.placement import bearer_unless_placed
from carrick.auth.signed_token import minted
from carrick.errors import InvalidAuthMode
from carrick.model.auth import AuthMode, Credentials
from carrick.model.http import OutboundRequest

#: What minting adds to the fields that were sent.
_MADE = frozenset({"token", "raw"})
_GRANT = {
    "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
    "assertion": "${jwt}",
}


class Jwt:
    """A token minted with the end user's key; refreshing mints the next one.

    Where the definition has a `token_url`, what is minted is exchanged there for the token that
    calls carry (RFC 7523 §2.1).
    """

    auth_mode = AuthMode.JWT

    def from_input(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Mint the first token with the fields of the form.

        Raises:
            InvalidBody: A field is missing, unknown, or does not fit.
            SigningKeyInvalid: The key cannot sign what the provider wants.
        """
        given = {**ctx.integration.custom, **ctx.integration.integration_config}
        return _made(ctx, read_declared(body, ctx.provider.credentials, given=given))

    def from_import(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Refuse: tokens are made here, with a key that a form brings.

        Raises:
            InvalidAuthMode: Always.
        """
        raise InvalidAuthMode("Connections of this provider cannot be imported.")

    def refresh(self, ctx: ModeContext, credentials: Credentials) -> Steps | None:
        """Mint the next token."""
        kept = {name: value for name, value in credentials.values.items() if name not in _MADE}
        return _made(ctx, kept)

    def authorize(
        self, ctx: ModeContext, credentials: Credentials, request: OutboundRequest
    ) -> OutboundRequest:
        """Add the token as a bearer token, unless the definition places it itself."""
        return bearer_unless_placed(ctx, credentials, request)

    def template_values(self, credentials: Credentials) -> Mapping[str, Any]:
        """Return the token as `accessToken`, and every field under `credentials`."""
        return named_values(credentials, accessToken=credentials.values.get("token"))


def _made(ctx: ModeContext, fields: Mapping[str, Any]) -> Steps:
    values = login_values(ctx, fields)
    own = minted(ctx, values)
    if not ctx.provider.definition.get("token_url"):
        credentials = Credentials(AuthMode.JWT, {**fields, "token": own.token}, own.expires_at)
        return Obtained(credentials)
    secrets = [*Credentials(AuthMode.JWT, values["credentials"]).secrets(), own.token]
    values["jwt"] = own.token
    answer = yield from log_in(ctx, values, secrets, defaults=_GRANT, body_format="form")
    found = token_of(ctx, answer)
    kept = {**fields, "token": found.token, "raw": dict(answer)}
    return Obtained(Credentials(AuthMode.JWT, kept, found.expires_at or own.expires_at))
