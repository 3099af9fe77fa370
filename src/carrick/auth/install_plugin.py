"""INSTALL_PLUGIN: a plugin that is installed at the provider, which names the account afterwards.

What the provider brings back becomes user name and password; the rest goes where the definition
wants it (`redirect_uri_metadata`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from carrick.auth.basic import Basic
from carrick.auth.mode import ModeContext, Obtained, Steps
from carrick.auth.popup import Asking, Consent, Departure, not_brought, refused_by
from carrick.errors import InvalidAuthMode, OAuthClientMissing
from carrick.model.auth import AuthMode, Credentials
from carrick.model.provider import Provider

_LONGEST = 1024


class InstallPlugin(Basic):
    """A user name and a password that the provider hands over in the callback."""

    auth_mode = AuthMode.INSTALL_PLUGIN
    needs: tuple[str, ...] = ()
    takes_params = True

    def from_input(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Refuse: a plugin is installed at the provider.

        Raises:
            InvalidAuthMode: Always.
        """
        raise InvalidAuthMode("This provider is connected by installing its plugin in a popup.")

    def from_import(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Refuse; see `from_input`.

        Raises:
            InvalidAuthMode: Always.
        """
        return self.from_input(ctx, body)

    def leave(self, ctx: ModeContext, consent: Consent) -> Asking[Departure]:
        """Go to where the plugin is installed.

        Raises:
            OAuthClientMissing: The integration does not say where that is.
        """
        yield from ()
        integration = ctx.integration
        places = (integration.credentials, integration.integration_config, integration.custom)
        link = next(
            (str(place["app_link"]) for place in places if place and place.get("app_link")), ""
        )
        if not link:
            raise OAuthClientMissing(
                f'The integration "{integration.integration_id}" has no app_link.'
            )
        joint = "&" if "?" in link else "?"
        return Departure(f"{link}{joint}{urlencode({'payload': consent.state})}")

    def read_callback(
        self, provider: Provider, consent: Consent, answer: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Return what identifies the account.

        Raises:
            OAuthCallbackInvalid: Nothing does.
        """
        wanted = {"username", "password"}
        wanted.update(str(name) for name in provider.definition.get("redirect_uri_metadata") or ())
        brought = {
            name: text[:_LONGEST] for name, text in answer.items() if name in wanted and text
        }
        if not brought or refused_by(answer):
            raise not_brought("identifier", answer)
        return brought

    def come_back(
        self, ctx: ModeContext, consent: Consent, brought: Mapping[str, str]
    ) -> Asking[Obtained]:
        """Take what identifies the account."""
        yield from ()
        values = {name: brought.get(name, "") for name in ("username", "password")}
        return Obtained(Credentials(AuthMode.BASIC, values))
