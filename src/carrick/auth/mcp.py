"""MCP_OAUTH2 and MCP_OAUTH2_GENERIC: OAuth for MCP servers, whose clients register themselves.

The first has its addresses from the catalogue, the second finds them out from the server that the
user names. The client that was registered is the connection's own and kept with its credentials.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from carrick.auth.authorization_code import authorization_url, demand_code, exchange
from carrick.auth.mcp_discovery import SignIn, discover
from carrick.auth.mode import ModeContext, Obtained, Steps
from carrick.auth.oauth2 import OAuth2
from carrick.auth.popup import Asking, Consent, Departure, demand_issuer, demand_own
from carrick.auth.token_answer import read_token_answer
from carrick.auth.token_request import Client as OAuthClient
from carrick.auth.token_request import rendered_params, rendered_url, template_context
from carrick.errors import (
    InvalidAuthMode,
    OAuthClientMissing,
    ProviderAnswerInvalid,
)
from carrick.model.auth import AuthMode, Credentials
from carrick.model.http import OutboundRequest
from carrick.model.provider import Provider

#: Ways a client may identify itself, the one preferred first.
_METHODS = ("none", "client_secret_post", "client_secret_basic")
_BASIC = "client_secret_basic"
_NAME = "Carrick"


class McpOAuth2(OAuth2):
    """An access token for an MCP server whose addresses are known."""

    auth_mode = AuthMode.MCP_OAUTH2
    needs: tuple[str, ...] = ()
    takes_params = True

    # --- as any mode ------------------------------------------------------------------------

    def from_import(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Refuse: tokens belong to a client that registered itself.

        Raises:
            InvalidAuthMode: Always.
        """
        raise InvalidAuthMode("This provider is connected through its consent page only.")

    def refresh(self, ctx: ModeContext, credentials: Credentials) -> Steps | None:
        """Exchange the refresh token, as the client and at the address it was given to."""
        own = credentials.values.get("config_override") or {}
        steps = super().refresh(_as_client(ctx, own), credentials)
        return self._renamed(steps) if steps is not None else None

    # --- in the browser ---------------------------------------------------------------------

    def leave(self, ctx: ModeContext, consent: Consent) -> Asking[Departure]:
        """Become a client, if the provider wants that, and go to its consent page.

        Raises:
            OAuthClientMissing: A client was to be registered by hand, and was not.
            ProviderRefused: It does not want this client.
        """
        sign_in = yield from self._sign_in(ctx)
        client = yield from self._client(ctx, consent, sign_in)
        own = {**client, "token_url": sign_in.token_url}
        if sign_in.resource:
            own["resource"] = sign_in.resource
        at = _as_client(ctx, {**own, "authorization_url": sign_in.authorization_url})
        url = authorization_url(
            at,
            consent.state,
            consent.redirect_uri,
            consent.code_verifier,
            scopes=consent.scopes or sign_in.scopes,
            params=consent.params,
            config_override=own,
        )
        return Departure(
            url,
            {"client": own, "issuer": sign_in.issuer, "names_itself": sign_in.names_itself},
        )

    def read_callback(
        self, provider: Provider, consent: Consent, answer: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Return the code.

        Raises:
            OAuthCallbackInvalid: There is none, or another server sent it.
        """
        demand_issuer(consent, answer)
        return {"code": demand_code(provider, answer)}

    def come_back(
        self, ctx: ModeContext, consent: Consent, brought: Mapping[str, str]
    ) -> Asking[Obtained]:
        """Exchange the code, as the client that went out."""
        own: Mapping[str, Any] = consent.kept["client"]
        steps = exchange(
            _as_client(ctx, own),
            brought["code"],
            consent.redirect_uri,
            consent.code_verifier,
            scopes=consent.scopes,
            config_override=own,
        )
        return (yield from self._renamed(steps))

    # --- the client -------------------------------------------------------------------------

    def _sign_in(self, ctx: ModeContext) -> Asking[SignIn]:
        """Return where to sign in, as the definition says."""
        yield from ()
        definition = ctx.provider.definition
        values = template_context(ctx, OAuthClient("", ""))
        urls: dict[str, str | None] = {}
        for key in ("authorization_url", "token_url", "registration_url"):
            template = definition.get(key)
            known = isinstance(template, str)
            urls[key] = rendered_url(ctx, str(template), values) if known else None
        if not urls["authorization_url"] or not urls["token_url"]:
            raise InvalidAuthMode("This provider has no OAuth consent page.")
        return SignIn(
            "", urls["authorization_url"], urls["token_url"], urls["registration_url"], ""
        )

    def _client(
        self, ctx: ModeContext, consent: Consent, sign_in: SignIn
    ) -> Asking[Mapping[str, str]]:
        """Return the client to go as: configured, named by a document, or registered just now."""
        kind = ctx.provider.definition.get("client_registration") or "dynamic"
        if kind == "static":
            demand_own(ctx.integration, ("client_id",), consent.config_override)
            configured = ctx.integration.credentials or {}
            return {
                name: str(text)
                for name in ("client_id", "client_secret")
                if (text := consent.config_override.get(name) or configured.get(name))
            }
        if kind == "cimd":
            return {"client_id": consent.client_document}
        return (yield from _registered(ctx, consent, sign_in))

    def _renamed(self, steps: Asking[Obtained]) -> Asking[Obtained]:
        obtained = yield from steps
        credentials = replace(obtained.credentials, auth_mode=self.auth_mode)
        return replace(obtained, credentials=credentials)


class McpOAuth2Generic(McpOAuth2):
    """An access token for whatever MCP server the user names."""

    auth_mode = AuthMode.MCP_OAUTH2_GENERIC

    def _sign_in(self, ctx: ModeContext) -> Asking[SignIn]:
        """Ask the server where to sign in.

        Raises:
            MissingConnectionConfig: No server is named.
        """
        template = ctx.provider.definition.get("mcp_server_url")
        if not isinstance(template, str):
            template = "${connectionConfig.mcp_server_url}"
        url = rendered_url(ctx, template, template_context(ctx, OAuthClient("", "")))
        return (yield from discover(url))

    def _client(
        self, ctx: ModeContext, consent: Consent, sign_in: SignIn
    ) -> Asking[Mapping[str, str]]:
        """Return a client made for this server: nothing of the integration's goes there."""
        if sign_in.takes_documents and consent.client_document.startswith("https:"):
            return {"client_id": consent.client_document}
        return (yield from _registered(ctx, consent, sign_in))


def client_document(url: str, redirect_uri: str) -> dict[str, Any]:
    """Return what an authorization server may read about us instead of registering us."""
    return {"client_id": url, **_described(redirect_uri, "none")}


def _described(redirect_uri: str, method: str) -> dict[str, Any]:
    return {
        "client_name": _NAME,
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
    }


def _registered(ctx: ModeContext, consent: Consent, sign_in: SignIn) -> Asking[Mapping[str, str]]:
    """Register a client (RFC 7591) and return it.

    Raises:
        OAuthClientMissing: The server registers none.
        ProviderRefused: It does not want this one.
    """
    if sign_in.registration_url is None:
        raise OAuthClientMissing("The authorization server registers no clients by itself.")
    offered = sign_in.auth_methods or _METHODS
    method = next((one for one in _METHODS if one in offered), _METHODS[0])
    params = ctx.provider.definition.get("registration_params")
    values = template_context(ctx, OAuthClient("", ""))
    document = {**_described(consent.redirect_uri, method), **rendered_params(ctx, params, values)}
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    body = json.dumps(document).encode()
    answer = yield OutboundRequest("POST", sign_in.registration_url, headers, body)
    fields = read_token_answer(answer, ())
    if not isinstance(fields.get("client_id"), str) or not fields["client_id"]:
        raise ProviderAnswerInvalid("The authorization server registered a client without an id.")
    client = {"client_id": fields["client_id"]}
    if isinstance(fields.get("client_secret"), str):
        client["client_secret"] = fields["client_secret"]
    if (fields.get("token_endpoint_auth_method") or method) == _BASIC:
        client["auth_method"] = "basic"
    return client


def _as_client(ctx: ModeContext, own: Mapping[str, Any]) -> ModeContext:
    """Return the surroundings as a connection's own client has them.

    The integration's client is not among them: it may have been made for another server.
    """
    asked = {"resource": own["resource"]} if own.get("resource") else {}
    given = ctx.provider.definition
    definition = {
        **given,
        "authorization_url": own.get("authorization_url") or given.get("authorization_url"),
        "token_url": own.get("token_url") or given.get("token_url"),
        "authorization_params": {**(given.get("authorization_params") or {}), **asked},
        "token_params": {**(given.get("token_params") or {}), **asked},
        "disable_pkce": False,
    }
    if given.get("refresh_params") is not None:
        definition["refresh_params"] = {**given["refresh_params"], **asked}
    if own.get("auth_method"):
        definition["token_request_auth_method"] = own["auth_method"]
    return replace(
        ctx,
        provider=replace(ctx.provider, definition=definition),
        integration=replace(ctx.integration, credentials=None),
    )
