"""APP: an app that an organisation installs, as GitHub has them.

The app proves itself with a short JWT signed by its private key (RFC 7519, RS256) and gets a token
for one installation, for an hour or so; refreshing is doing that again.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from carrick.auth.expiry import expiry_of
from carrick.auth.inputs import Text, read_texts
from carrick.auth.mode import ModeContext, Obtained, Steps, named_values
from carrick.auth.popup import Asking, Consent, Departure, Paused, not_brought, refused_by
from carrick.auth.token_answer import read_token_answer
from carrick.auth.token_request import Client, rendered_url, template_context
from carrick.errors import InvalidAuthMode, OAuthClientMissing, ProviderAnswerInvalid
from carrick.model.auth import AuthMode, Credentials
from carrick.model.http import OutboundAnswer, OutboundRequest
from carrick.model.provider import Provider

#: An app's own JWT: ten minutes are the most that are taken, and clocks differ.
_BACKDATED = timedelta(seconds=60)
_LASTS = timedelta(minutes=9)
_IMPORT = (Text("app_id", 255), Text("installation_id", 255))
#: What the provider says when somebody has to approve the installation first.
_REQUESTED = "request"
#: The page below an app's own on which it is installed.
_INSTALL = "/installations/new"


class App:
    """The token of one installation, bought with the app's private key."""

    auth_mode = AuthMode.APP
    needs: tuple[str, ...] = ("app_id", "private_key", "app_link")
    takes_params = False

    # --- as any mode ------------------------------------------------------------------------

    def from_input(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Refuse: an app is installed at the provider.

        Raises:
            InvalidAuthMode: Always.
        """
        raise InvalidAuthMode("This provider is connected by installing the app in a popup.")

    def from_import(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Get a token for an installation that exists.

        Raises:
            InvalidBody: A field is missing, unknown, or does not fit.
            ProviderRefused: There is no such installation of the app.
        """
        return self._minted(ctx, read_texts(body, _IMPORT, at=("credentials",)))

    def refresh(self, ctx: ModeContext, credentials: Credentials) -> Steps | None:
        """Get the next token of the installation."""
        return self._minted(ctx, credentials.values)

    def authorize(
        self, ctx: ModeContext, credentials: Credentials, request: OutboundRequest
    ) -> OutboundRequest:
        """Add the installation's token."""
        token = credentials.values.get("access_token", "")
        return request.with_headers({"Authorization": f"Bearer {token}"})

    def template_values(self, credentials: Credentials) -> Mapping[str, Any]:
        """Return the token as `accessToken`, and every field under `credentials`."""
        return named_values(credentials, accessToken=credentials.values.get("access_token"))

    # --- in the browser ---------------------------------------------------------------------

    def leave(self, ctx: ModeContext, consent: Consent) -> Asking[Departure]:
        """Go to where the app is installed."""
        yield from ()
        link = _page(ctx)
        joint = "&" if "?" in link else "?"
        return Departure(f"{link}{joint}{urlencode({'state': consent.state})}")

    def read_callback(
        self, provider: Provider, consent: Consent, answer: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Return which installation it is; none when somebody has to approve it first.

        Raises:
            OAuthCallbackInvalid: It is not said, and nobody was asked to approve.
        """
        installation_id = answer.get("installation_id")
        if refused_by(answer):
            raise not_brought("installation_id", answer)
        if installation_id:
            return {"installation_id": installation_id}
        if answer.get("setup_action") == _REQUESTED:
            return {}
        raise not_brought("installation_id", answer)

    def come_back(
        self, ctx: ModeContext, consent: Consent, brought: Mapping[str, str]
    ) -> Asking[Obtained | Paused]:
        """Get the installation's first token."""
        if "installation_id" not in brought:
            return Paused({})
        return (yield from self._installed(ctx, brought["installation_id"]))

    # --- tokens -----------------------------------------------------------------------------

    def _installed(
        self,
        ctx: ModeContext,
        installation_id: str,
        more: Mapping[str, Any] | None = None,
    ) -> Generator[OutboundRequest, OutboundAnswer, Obtained]:
        app = {"app_id": own(ctx, "app_id"), "installation_id": installation_id}
        obtained = yield from self._minted(ctx, {**app, **(more or {})})
        config = {"installation_id": installation_id, "appPublicLink": own(ctx, "app_link")}
        return Obtained(obtained.credentials, config)

    def _minted(self, ctx: ModeContext, values: Mapping[str, Any]) -> Steps:
        """Buy a token for an installation; the other values are kept beside it."""
        template = _token_url(ctx)
        token = app_token(ctx, str(values["app_id"]))
        names = _names(ctx, {"installation_id": values["installation_id"]})
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        answer = yield OutboundRequest("POST", rendered_url(ctx, template, names), headers)
        fields = read_token_answer(answer, (token,))
        access_token = fields.get("token") or fields.get("access_token")
        if not isinstance(access_token, str) or not access_token:
            raise ProviderAnswerInvalid("The provider sent no token for the installation.")
        found = {**values, "access_token": access_token, "raw": dict(fields)}
        return Obtained(Credentials(self.auth_mode, found, expiry_of(fields, ctx.now)))


def app_token(ctx: ModeContext, app_id: str | None = None) -> str:
    """Return the JWT by which an app proves to the provider that it is itself.

    Raises:
        OAuthClientMissing: The integration has no private key, or what it has is none.
    """
    from joserfc import jwt  # here because it takes 0.1 s, which every start would pay
    from joserfc.errors import JoseError
    from joserfc.jwk import RSAKey

    claims = {
        "iat": int((ctx.now - _BACKDATED).timestamp()),
        "exp": int((ctx.now + _LASTS).timestamp()),
        "iss": app_id or str(own(ctx, "app_id")),
    }
    try:
        key = RSAKey.import_key(str(own(ctx, "private_key")))
        return jwt.encode({"alg": "RS256", "typ": "JWT"}, claims, key)
    except (ValueError, TypeError, JoseError) as error:
        raise OAuthClientMissing("The integration's private_key is no RSA private key.") from error


def own(ctx: ModeContext, name: str) -> Any:
    """Return one of the integration's own credentials.

    Raises:
        OAuthClientMissing: It is not set.
    """
    value = (ctx.integration.credentials or {}).get(name)
    if not value:
        raise OAuthClientMissing(
            f'The integration "{ctx.integration.integration_id}" has no {name}.'
        )
    return value


def _page(ctx: ModeContext) -> str:
    """Return where the app is installed: the integration's link, put into the definition's."""
    link = str(own(ctx, "app_link"))
    template = ctx.provider.definition.get("authorization_url")
    if not isinstance(template, str):
        return link
    if template.endswith(_INSTALL):  # developers give the app's page, or already this one
        link = link.rstrip("/").removesuffix(_INSTALL)
    names = {**_names(ctx, {"appPublicLink": link}), "appPublicLink": link}
    return rendered_url(ctx, template, names)


def _token_url(ctx: ModeContext) -> str:
    """Return the template of where installations get tokens; some definitions have two."""
    url = ctx.provider.definition.get("token_url")
    if isinstance(url, Mapping):
        url = url.get(AuthMode.APP)
    if not isinstance(url, str) or not url:
        raise InvalidAuthMode("This provider's definition has no token_url for apps.")
    return url


def _names(ctx: ModeContext, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what templates may name; `config` stands in `connectionConfig` as well."""
    configured = ctx.integration.credentials or {}
    client = Client(str(configured.get("client_id") or ""), "")
    return {
        **template_context(ctx, client),
        "connectionConfig": {**ctx.connection_config, **config},
    }
