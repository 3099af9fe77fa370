"""TBA: NetSuite's token-based authentication, OAuth 1.0a without the consent page.

The user makes a token in NetSuite and types it in; every request is signed with HMAC-SHA256 for
the account it is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carrick.auth.inputs import Text, issue, read_texts
from carrick.auth.mode import ModeContext, Obtained, Steps, immediately, named_values
from carrick.auth.oauth1_signature import HMAC_SHA256, Signer, signed
from carrick.auth.token_request import client_of
from carrick.errors import InvalidBody, MissingConnectionConfig
from carrick.model.auth import AuthMode, Credentials
from carrick.model.http import OutboundRequest

_TOKEN = (Text("token_id", 2048), Text("token_secret", 2048))
_OVERRIDES = (
    Text("oauth_client_id_override", 255, optional=True),
    Text("oauth_client_secret_override", 2048, optional=True),
)
_CLIENT = (Text("client_id", 255, optional=True), Text("client_secret", 2048, optional=True))
_AT = ("credentials",)
_ACCOUNT = "accountId"


class Tba:
    """A token id and its secret, which do not expire and sign every request."""

    auth_mode = AuthMode.TBA

    def from_input(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Take the token, and the client it was made for if that is the user's own.

        Raises:
            InvalidBody: A field is missing or does not fit.
            MissingConnectionConfig: The account is not named, or there is no client.
        """
        given = read_texts(body, (*_TOKEN, *_OVERRIDES), specs=ctx.provider.credentials)
        override = {
            name.removeprefix("oauth_").removesuffix("_override"): text
            for name, text in given.items()
            if name.endswith("_override")
        }
        token = {field.name: given[field.name] for field in _TOKEN}
        _realm(ctx)
        return immediately(Obtained(self._credentials(ctx, token, override)))

    def from_import(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Take the token; see `from_input`.

        Raises:
            InvalidBody: A field is missing, unknown, or does not fit, or the account is missing.
        """
        token = read_texts(body, _TOKEN, at=_AT, also=("config_override",))
        override = body.get("config_override")
        at = (*_AT, "config_override")
        if override is not None and not isinstance(override, Mapping):
            raise InvalidBody(issues=[issue("invalid_type", "Invalid input: expected object", at)])
        if not ctx.connection_config.get(_ACCOUNT):
            fault = issue("custom", "accountId is required", ("connection_config", _ACCOUNT))
            raise InvalidBody("connection_config.accountId is required", issues=[fault])
        client = read_texts(override or {}, _CLIENT, at=at)
        return immediately(Obtained(self._credentials(ctx, token, client)))

    def refresh(self, ctx: ModeContext, credentials: Credentials) -> Steps | None:
        """Return `None`: these tokens last until they are revoked."""
        return None

    def authorize(
        self, ctx: ModeContext, credentials: Credentials, request: OutboundRequest
    ) -> OutboundRequest:
        """Leave the request alone until it is complete; see `sign`."""
        return request

    def sign(
        self, ctx: ModeContext, credentials: Credentials, request: OutboundRequest
    ) -> OutboundRequest:
        """Sign a complete request with the token, in the name of the account."""
        values = credentials.values
        client = client_of(ctx, values.get("config_override"))
        signer = Signer(
            client.id,
            client.secret,
            str(values.get("token_id", "")),
            str(values.get("token_secret", "")),
            method=HMAC_SHA256,
            realm=_realm(ctx),
        )
        return signed(request, signer, now=ctx.now, nonce=ctx.nonce)

    def template_values(self, credentials: Credentials) -> Mapping[str, Any]:
        """Return every field by its name, also under `credentials`."""
        return named_values(credentials)

    def _credentials(
        self, ctx: ModeContext, token: Mapping[str, str], override: Mapping[str, str]
    ) -> Credentials:
        client_of(ctx, override)  # without a client nothing can be signed
        return Credentials(self.auth_mode, {**token, "config_override": dict(override)})


def _realm(ctx: ModeContext) -> str:
    """Return the account as it stands in a signature: sandboxes are written `1234_SB1` there."""
    account = ctx.connection_config.get(_ACCOUNT)
    if not account:
        raise MissingConnectionConfig("connection_config lacks accountId.")
    realm = str(account).upper().replace("-", "_")
    return "".join(char for char in realm if char.isalnum() or char == "_")
