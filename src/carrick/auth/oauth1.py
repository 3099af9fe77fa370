"""OAUTH1: a token that the user's consent turns into another, and a signature on each request.

Three legs (RFC 5849 §2): a request token, consent, an access token. The protocol has no state, so
ours travels in the address of the callback.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from carrick.auth.inputs import Text, read_texts
from carrick.auth.mode import ModeContext, Obtained, Steps, immediately, named_values
from carrick.auth.oauth1_signature import HMAC_SHA1, PLAINTEXT, RSA_SHA1, Signer, signed
from carrick.auth.oauth2 import answered_config
from carrick.auth.popup import (
    Asking,
    Consent,
    Departure,
    not_brought,
    refused_by,
    with_override,
)
from carrick.auth.token_answer import read_token_answer
from carrick.auth.token_request import (
    Client,
    client_of,
    joined_scopes,
    rendered_params,
    rendered_url,
    template_context,
)
from carrick.errors import (
    InvalidAuthMode,
    OAuthTokenRefused,
    ProviderAnswerInvalid,
    ProviderRefused,
)
from carrick.model.auth import AuthMode, Credentials
from carrick.model.http import OutboundAnswer, OutboundRequest
from carrick.model.provider import Provider

_IMPORT = (Text("oauth_token", 2048), Text("oauth_token_secret", 2048))
_METHODS = (HMAC_SHA1, RSA_SHA1, PLAINTEXT)
_REMOVED = "undefined"


class OAuth1:
    """A token and its secret, which do not expire and sign every request."""

    auth_mode = AuthMode.OAUTH1
    needs: tuple[str, ...] = ("client_id", "client_secret")
    takes_params = True

    # --- as any mode ------------------------------------------------------------------------

    def from_input(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Refuse: no form can carry a user's consent.

        Raises:
            InvalidAuthMode: Always.
        """
        raise InvalidAuthMode("This provider is connected through its OAuth consent page.")

    def from_import(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Take over a token that was obtained elsewhere.

        Raises:
            InvalidBody: A field is missing, unknown, or does not fit.
        """
        values: dict[str, Any] = dict(read_texts(body, _IMPORT, at=("credentials",)))
        values["raw"] = dict(values)
        return immediately(Obtained(Credentials(self.auth_mode, values)))

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
        """Sign a complete request with the token."""
        values = credentials.values
        client = client_of(ctx, values.get("config_override"))
        token = (str(values.get("oauth_token", "")), str(values.get("oauth_token_secret", "")))
        return _signed(ctx, request, client, token)

    def template_values(self, credentials: Credentials) -> Mapping[str, Any]:
        """Return every field by its name, also under `credentials`."""
        return named_values(credentials)

    # --- the three legs ---------------------------------------------------------------------

    def leave(self, ctx: ModeContext, consent: Consent) -> Asking[Departure]:
        """Get a request token and go to the consent page with it.

        Raises:
            OAuthTokenRefused: The provider gave none.
        """
        client = client_of(ctx, consent.config_override)
        page = _template(ctx, "authorization_url")
        joint = "&" if "?" in consent.redirect_uri else "?"
        callback = f"{consent.redirect_uri}{joint}{urlencode({'state': consent.state})}"
        request = _token_request(
            ctx, client, "request_url", "request_http_method", "request_params"
        )
        answer = yield _signed(ctx, request, client, more={"oauth_callback": callback})
        token = _read_token(answer, client, "request token")
        values = template_context(ctx, client)
        query = rendered_params(ctx, ctx.provider.definition.get("authorization_params"), values)
        if scope := joined_scopes(ctx, consent.scopes):
            query["scope"] = scope
        query |= consent.params
        query = {name: value for name, value in query.items() if value != _REMOVED}
        query["oauth_token"] = token["oauth_token"]
        base = rendered_url(ctx, page, values)
        url = f"{base}{'&' if '?' in base else '?'}{urlencode(query)}"
        kept = {name: token[name] for name in ("oauth_token", "oauth_token_secret")}
        return Departure(url, kept)

    def read_callback(
        self, provider: Provider, consent: Consent, answer: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Return the verifier of the request token that was sent out.

        Raises:
            OAuthCallbackInvalid: There is none, or the user said no.
            OAuthTokenRefused: It is for another request token.
        """
        verifier, token = answer.get("oauth_verifier"), answer.get("oauth_token")
        if not verifier or not token or refused_by(answer):
            raise not_brought("oauth_token and oauth_verifier", answer)
        if token != consent.kept.get("oauth_token"):
            raise OAuthTokenRefused("The provider came back with another request token.")
        return {"oauth_verifier": verifier}

    def come_back(
        self, ctx: ModeContext, consent: Consent, brought: Mapping[str, str]
    ) -> Asking[Obtained]:
        """Exchange the request token for the one that lasts.

        Raises:
            OAuthTokenRefused: The provider gave none.
        """
        client = client_of(ctx, consent.config_override)
        request = _token_request(ctx, client, "token_url", "token_http_method", "token_params")
        kept = (str(consent.kept["oauth_token"]), str(consent.kept["oauth_token_secret"]))
        answer = yield _signed(
            ctx, request, client, kept, {"oauth_verifier": brought["oauth_verifier"]}
        )
        fields = _read_token(answer, client, "access token", (*kept, brought["oauth_verifier"]))
        values = {
            "oauth_token": fields["oauth_token"],
            "oauth_token_secret": fields["oauth_token_secret"],
            "raw": dict(fields),
        }
        credentials = Credentials(self.auth_mode, values)
        return with_override(Obtained(credentials, answered_config(ctx, fields)), consent)


def _signed(
    ctx: ModeContext,
    request: OutboundRequest,
    client: Client,
    token: tuple[str, str] = ("", ""),
    more: Mapping[str, str] | None = None,
) -> OutboundRequest:
    method = str(ctx.provider.definition.get("signature_method") or HMAC_SHA1).upper()
    if method not in _METHODS:
        raise InvalidAuthMode(f"This server cannot sign by {method[:50]}.")
    signer = Signer(client.id, client.secret, *token, method=method)
    return signed(request, signer, now=ctx.now, nonce=ctx.nonce, more=more)


def _token_request(
    ctx: ModeContext, client: Client, url_key: str, method_key: str, params_key: str
) -> OutboundRequest:
    """Build a request for a token, unsigned: its parameters go into the query or into a form."""
    definition = ctx.provider.definition
    values = template_context(ctx, client)
    url = rendered_url(ctx, _template(ctx, url_key), values)
    params = rendered_params(ctx, definition.get(params_key), values)
    method = str(definition.get(method_key) or "POST").upper()
    written = urlencode(params)
    if not written:
        return OutboundRequest(method, url)
    if method == "GET":
        return OutboundRequest(method, f"{url}{'&' if '?' in url else '?'}{written}")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return OutboundRequest(method, url, headers, written.encode())


def _template(ctx: ModeContext, key: str) -> str:
    template = ctx.provider.definition.get(key)
    if not isinstance(template, str):
        raise InvalidAuthMode(f"This provider has no {key} for OAuth 1.0a.")
    return template


def _read_token(
    answer: OutboundAnswer, client: Client, what: str, secrets: tuple[str, ...] = ()
) -> Mapping[str, str]:
    try:
        fields = read_token_answer(answer, (client.secret, *secrets))
    except (ProviderRefused, ProviderAnswerInvalid) as error:
        message = f"There is no {what}. {error.message}"
        raise OAuthTokenRefused(message, payload=error.payload) from error
    if not fields.get("oauth_token") or not fields.get("oauth_token_secret"):
        raise OAuthTokenRefused(f"The provider sent no {what} with its secret.")
    return {name: str(value) for name, value in fields.items()}
