"""The authorization code grant with PKCE (RFC 6749 §4.1, RFC 7636): both legs, without any I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from carrick.auth.mode import ModeContext, Obtained, Steps
from carrick.auth.oauth2 import obtained_from
from carrick.auth.popup import Asking, Consent, Departure, demand_issuer, not_brought
from carrick.auth.scopes import demand_granted
from carrick.auth.token_answer import read_token_answer
from carrick.auth.token_request import (
    client_of,
    joined_scopes,
    rendered_params,
    rendered_url,
    secrets_of,
    template_context,
    token_request,
    token_url,
)
from carrick.errors import InvalidAuthMode, OAuthGrantNotOffered
from carrick.model.auth import AuthMode
from carrick.model.provider import Provider

#: A caller's parameter with this value takes away one of the provider definition.
_REMOVED = "undefined"


class AuthorizationCode:
    """OAUTH2 in the browser: out for a code, back to exchange it."""

    auth_mode = AuthMode.OAUTH2
    needs: tuple[str, ...] = ("client_id", "client_secret")
    takes_params = True

    def leave(self, ctx: ModeContext, consent: Consent) -> Asking[Departure]:
        """Go to the consent page.

        Raises:
            OAuthGrantNotOffered: The definition does not exchange codes.
        """
        demand_code_grant(ctx.provider)
        yield from ()
        url = authorization_url(
            ctx,
            consent.state,
            consent.redirect_uri,
            consent.code_verifier,
            scopes=consent.scopes,
            params=consent.params,
            config_override=consent.config_override,
        )
        return Departure(url, issuer_of(ctx, consent.config_override))

    def read_callback(
        self, provider: Provider, consent: Consent, answer: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Return the code, whatever the provider calls it.

        Raises:
            OAuthCallbackInvalid: There is none, or another server sent it.
        """
        demand_issuer(consent, answer)
        return {"code": demand_code(provider, answer)}

    def come_back(
        self, ctx: ModeContext, consent: Consent, brought: Mapping[str, str]
    ) -> Asking[Obtained]:
        """Exchange the code."""
        return exchange(
            ctx,
            brought["code"],
            consent.redirect_uri,
            consent.code_verifier,
            scopes=consent.scopes,
            config_override=consent.config_override,
            refresh_token_override=consent.refresh_token_override,
        )


def demand_code_grant(provider: Provider) -> None:
    """Demand a definition whose token endpoint takes authorization codes.

    Raises:
        OAuthGrantNotOffered: It takes something else.
    """
    params = provider.definition.get("token_params")
    grant = params.get("grant_type") if isinstance(params, Mapping) else None
    if grant not in (None, "authorization_code"):
        raise OAuthGrantNotOffered(f"The provider's token endpoint takes {str(grant)[:100]}.")


def issuer_of(ctx: ModeContext, config_override: Mapping[str, Any] | None) -> Mapping[str, str]:
    """Return by which name the provider knows itself in callbacks, if its definition says."""
    template = ctx.provider.definition.get("issuer")
    if not isinstance(template, str):
        return {}
    values = template_context(ctx, client_of(ctx, config_override))
    return {"issuer": rendered_url(ctx, template, values)}


def demand_code(provider: Provider, answer: Mapping[str, str]) -> str:
    """Return the authorization code of a callback.

    Raises:
        OAuthCallbackInvalid: There is none; `payload` holds what the provider said instead.
    """
    other = provider.definition.get("authorization_code_param_in_callback")
    names = (str(other), "code") if other else ("code",)
    code = next((answer[name] for name in names if answer.get(name)), None)
    if code is None or answer.get("error"):
        raise not_brought("authorization code", answer)
    return code


def authorization_url(
    ctx: ModeContext,
    state: str,
    redirect_uri: str,
    code_verifier: str,
    *,
    scopes: Sequence[str] | str,
    params: Mapping[str, str],
    config_override: Mapping[str, Any] | None = None,
) -> str:
    """Return the address of the provider's consent page.

    Args:
        ctx: The mode's surroundings.
        state: The one-shot value the callback must bring back.
        redirect_uri: Where the callback arrives.
        code_verifier: The secret half of PKCE; its digest goes into the address.
        scopes: What to ask for.
        params: The caller's own parameters; `undefined` removes one of the definition's. They
            cannot replace what protects the exchange.
        config_override: A connection's own `client_id` and `client_secret`.

    Raises:
        InvalidAuthMode: The provider has no consent page.
        MissingConnectionConfig: The address lacks a value.
    """
    definition = ctx.provider.definition
    template = definition.get("authorization_url")
    if not isinstance(template, str):
        raise InvalidAuthMode("This provider has no OAuth consent page.")
    client = client_of(ctx, config_override)
    values = template_context(ctx, client)
    unencoded = definition.get("authorization_url_skip_encode") or ()
    base = rendered_url(ctx, template, values, encode="base_url" not in unencoded)
    query: dict[str, Any] = {"response_type": "code"}
    if scope := joined_scopes(ctx, scopes):
        query["scope"] = scope
    query.update(rendered_params(ctx, definition.get("authorization_params"), values))
    query.update(params)
    query = {name: value for name, value in query.items() if value != _REMOVED}
    query.update(client_id=client.id, redirect_uri=redirect_uri, state=state)
    if not definition.get("disable_pkce"):
        query.update(code_challenge=_challenge(code_verifier), code_challenge_method="S256")
    return _assembled(ctx, base, query, "scopes" in unencoded)


def exchange(
    ctx: ModeContext,
    code: str,
    redirect_uri: str,
    code_verifier: str,
    *,
    scopes: Sequence[str] | str = (),
    config_override: Mapping[str, Any] | None = None,
    refresh_token_override: str | None = None,
) -> Steps:
    """Exchange the code of a callback for tokens.

    Args:
        ctx: The mode's surroundings.
        code: What the callback brought.
        redirect_uri: The one the consent page was opened with.
        code_verifier: The one whose digest the consent page was opened with; empty for none.
        scopes: What was asked for.
        config_override: A connection's own client, kept with its credentials for refreshing.
        refresh_token_override: Stored instead of the refresh token received.

    Raises:
        InvalidAuthMode: The provider has no token endpoint.
        ProviderRefused: It said no.
        ProviderUnavailable: It cannot say right now.
        ProviderAnswerInvalid: Its answer makes no sense, or is a token for something else.
    """
    template = token_url(ctx)
    if template is None:
        raise InvalidAuthMode("This provider has no OAuth token endpoint.")
    definition = ctx.provider.definition
    client = client_of(ctx, config_override)
    params: dict[str, Any] = {
        "grant_type": "authorization_code",
        **rendered_params(
            ctx, definition.get("token_params"), template_context(ctx, client, {"code": code})
        ),
        "code": code,
        "redirect_uri": redirect_uri,
    }
    if code_verifier and not definition.get("disable_pkce"):
        params["code_verifier"] = code_verifier
    answer = yield token_request(ctx, template, params, client)
    fields = read_token_answer(answer, secrets_of(params, client))
    demand_granted(scopes, fields.get("scope"))
    if refresh_token_override:
        fields["refresh_token"] = refresh_token_override
    obtained = obtained_from(ctx, fields)
    if config_override:
        credentials = obtained.credentials.with_values(config_override=dict(config_override))
        obtained = replace(obtained, credentials=credentials)
    return obtained


def _challenge(code_verifier: str) -> str:
    # Imported here because it takes 0.1 s, which every start would pay.
    from authlib.oauth2.rfc7636 import (  # type: ignore[import-untyped]
        create_s256_code_challenge,
    )

    challenge: str = create_s256_code_challenge(code_verifier)
    return challenge


def _assembled(
    ctx: ModeContext, base: str, query: Mapping[str, Any], scope_as_written: bool
) -> str:
    definition = ctx.provider.definition
    skip_empty = bool(definition.get("authorization_url_skip_empty"))
    pairs = []
    for name, value in query.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if skip_empty and not text:
            continue
        as_written = scope_as_written and name == "scope"
        pairs.append(f"{quote(name, safe='')}={text if as_written else quote(text, safe='')}")
    base, _, own_query = base.partition("?")
    if own_query:
        pairs.insert(0, own_query)
    fragment = definition.get("authorization_url_fragment")
    # Consent pages that route behind the hash want the query there too.
    url = f"{base}#{fragment}?" if fragment else f"{base}?"
    url += "&".join(pairs)
    for old, new in (definition.get("authorization_url_replacements") or {}).items():
        url = url.replace(old, new)
    return url
