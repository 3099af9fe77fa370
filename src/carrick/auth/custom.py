"""CUSTOM: an app that is installed, and the user who installed it.

The installation's token is what calls are made with; the user's own is kept beside it, and proves
that the installation is one this user may speak for.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from carrick.auth.app import App
from carrick.auth.authorization_code import demand_code, demand_code_grant, exchange
from carrick.auth.mode import ModeContext, Obtained
from carrick.auth.popup import Asking, Consent, Departure, Paused, not_brought, refused_by
from carrick.auth.token_answer import is_undecided
from carrick.auth.token_request import client_of, rendered_url, template_context
from carrick.errors import InvalidAuthMode, ProviderRefused, ProviderUnavailable
from carrick.model.auth import AuthMode, Credentials
from carrick.model.http import OutboundRequest
from carrick.model.provider import Provider

#: Where the user's own token is kept among the credentials.
USER = "userCredentials"


class Custom(App):
    """The token of an installation, and the one of the user who made it."""

    auth_mode = AuthMode.CUSTOM
    needs: tuple[str, ...] = ("client_id", "client_secret", "app_id", "private_key", "app_link")

    def authorize(
        self, ctx: ModeContext, credentials: Credentials, request: OutboundRequest
    ) -> OutboundRequest:
        """Leave the request alone: the definition says which of the two tokens goes where."""
        return request

    def leave(self, ctx: ModeContext, consent: Consent) -> Asking[Departure]:
        """Go to where the app is installed; the user signs in there on the way.

        Raises:
            OAuthGrantNotOffered: The definition does not exchange codes.
            InvalidAuthMode: It does not say how to find out whose installation it is.
        """
        demand_code_grant(ctx.provider)
        _check_template(ctx)
        return (yield from super().leave(ctx, consent))

    def read_callback(
        self, provider: Provider, consent: Consent, answer: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Return the code and the installation; each may have come before the other.

        Raises:
            OAuthCallbackInvalid: There is no code, and none came before.
        """
        brought: dict[str, str] = {}
        if answer.get("code") or USER not in consent.kept:
            brought["code"] = demand_code(provider, answer)
        elif refused_by(answer) or not answer.get("installation_id"):
            raise not_brought("installation_id", answer)
        if answer.get("installation_id"):
            brought["installation_id"] = answer["installation_id"]
        return brought

    def come_back(
        self, ctx: ModeContext, consent: Consent, brought: Mapping[str, str]
    ) -> Asking[Obtained | Paused]:
        """Exchange the code, then get the installation's token, as far as there is one.

        Raises:
            ProviderRefused: The user may not speak for the installation.
        """
        user: Mapping[str, Any] = consent.kept.get(USER, {})
        if "code" in brought:
            obtained = yield from exchange(
                ctx, brought["code"], consent.redirect_uri, "", scopes=consent.scopes
            )
            user = _shown(obtained.credentials)
        if "installation_id" not in brought:
            return Paused({USER: user})
        yield from _demand_access(ctx, brought["installation_id"], str(user["access_token"]))
        return (yield from self._installed(ctx, brought["installation_id"], {USER: user}))


def _demand_access(ctx: ModeContext, installation_id: str, access_token: str) -> Asking[None]:
    """Demand that the user sees the installation: anybody can write its number into an address.

    Raises:
        ProviderRefused: It is somebody else's.
        ProviderUnavailable: The provider cannot say right now.
        InvalidAuthMode: The definition does not say whom to ask.
    """
    template = _check_template(ctx)
    config = {**ctx.connection_config, "installation_id": installation_id}
    values = {**template_context(ctx, client_of(ctx)), "connectionConfig": config}
    url = rendered_url(ctx, template, values)
    headers = {"Authorization": f"Bearer {access_token}", "Accept": "application/json"}
    answer = yield OutboundRequest("GET", url, headers)
    if is_undecided(answer.status):
        raise ProviderUnavailable("The provider could not say whose installation this is.")
    if not answer.ok:
        raise ProviderRefused("The user who signed in has no access to this installation.")


def _check_template(ctx: ModeContext) -> str:
    template = ctx.provider.definition.get("installation_check_url")
    if not isinstance(template, str) or not template:
        raise InvalidAuthMode(
            "The provider's definition has no installation_check_url, so anybody could connect "
            "the installation of anybody else."
        )
    return template


def _shown(credentials: Credentials) -> dict[str, Any]:
    """Return the user's credentials as they are kept and shown, as JSON."""
    expires_at: datetime | None = credentials.expires_at
    ends = {"expires_at": expires_at.isoformat()} if expires_at is not None else {}
    return {"type": credentials.auth_mode.value, **credentials.values, **ends}
