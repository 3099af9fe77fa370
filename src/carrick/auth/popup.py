"""What a mode adds that goes through a browser: sending it out, reading what it brings.

Between the two legs the person is at the provider. What a mode needs afterwards it hands over as
plain data, which is kept sealed until the browser comes back.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from carrick.auth.mode import ModeContext, Obtained
from carrick.errors import OAuthCallbackInvalid, OAuthClientMissing
from carrick.model.auth import AuthMode
from carrick.model.environment import Integration
from carrick.model.http import OutboundAnswer, OutboundRequest
from carrick.model.provider import Provider

T = TypeVar("T")

#: Requests go out, answers come in, and something is returned at the end.
Asking = Generator[OutboundRequest, OutboundAnswer, T]

_LONGEST_SAID = 500


@dataclass(frozen=True)
class Consent:
    """One trip of a browser to a provider and back."""

    #: The one-shot value by which the callback is recognised.
    state: str = field(repr=False)
    #: Where the callback arrives.
    redirect_uri: str
    #: The secret half of PKCE; its digest goes out with the browser.
    code_verifier: str = field(default="", repr=False)
    #: What to ask for, with commas.
    scopes: str = ""
    #: The caller's own parameters for the consent page.
    params: Mapping[str, str] = field(default_factory=dict)
    #: A connection's own `client_id` and `client_secret`.
    config_override: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Stored instead of the refresh token received.
    refresh_token_override: str | None = field(default=None, repr=False)
    #: Where an authorization server can read who we are.
    client_document: str = ""
    #: What the mode wanted kept, on the way back.
    kept: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Departure:
    """Where the browser goes, and what is kept until it comes back."""

    url: str
    kept: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Paused:
    """It came back too early: somebody else has to agree first. What came so far is kept."""

    kept: Mapping[str, Any] = field(repr=False)


class PopupMode(Protocol):
    """The part of a mode that has to do with the browser."""

    auth_mode: AuthMode
    #: The integration's own credentials without which nobody needs to be sent anywhere.
    needs: tuple[str, ...]
    #: Whether the browser has a say in `connection_config`.
    takes_params: bool

    def leave(self, ctx: ModeContext, consent: Consent) -> Asking[Departure]:
        """Say where the browser has to go.

        Raises:
            InvalidAuthMode: The provider has no consent page.
            MissingConnectionConfig, InvalidConnectionConfig: Its address cannot be made.
            CarrickError: What the provider said, if it has to be asked first.
        """

    def read_callback(
        self, provider: Provider, consent: Consent, answer: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Return what the mode needs of a callback's query string.

        Raises:
            OAuthCallbackInvalid: It is not there; `payload` holds what the provider said instead.
        """

    def come_back(
        self, ctx: ModeContext, consent: Consent, brought: Mapping[str, str]
    ) -> Asking[Obtained | Paused]:
        """Make credentials of what the browser brought.

        Raises:
            ProviderRefused: The provider said no.
            ProviderUnavailable: It cannot say right now.
            ProviderAnswerInvalid: Its answer makes no sense.
        """


def demand_own(
    integration: Integration, needs: tuple[str, ...], override: Mapping[str, str]
) -> None:
    """Demand that the developer has registered with the provider.

    Raises:
        OAuthClientMissing: The integration lacks one of its own credentials.
    """
    configured = integration.credentials or {}
    for name in needs:
        if not override.get(name) and not configured.get(name):
            raise OAuthClientMissing(
                f'The integration "{integration.integration_id}" has no {name}. '
                "Set what you registered with the provider on it."
            )


def refused_by(answer: Mapping[str, str]) -> Mapping[str, str]:
    """Return what a provider says about an error in a callback, bounded."""
    return {name: text[:_LONGEST_SAID] for name, text in answer.items() if name.startswith("error")}


def demand_issuer(consent: Consent, answer: Mapping[str, str]) -> None:
    """Demand that the server which answers is the one the browser was sent to (RFC 9207).

    Or a server that a person was lured to could have the codes of another one handed over to it.

    Raises:
        OAuthCallbackInvalid: It names itself otherwise, or not at all where it said it would.
    """
    issuer, said = str(consent.kept.get("issuer") or ""), answer.get("iss")
    if not issuer or (said is None and not consent.kept.get("names_itself")):
        return
    if said is None or said.rstrip("/") != issuer.rstrip("/"):
        raise OAuthCallbackInvalid("Another authorization server sent this answer.")


def not_brought(what: str, answer: Mapping[str, str]) -> OAuthCallbackInvalid:
    """Return the error for a callback that lacks something, with what the provider said."""
    said = refused_by(answer)
    message = f"The provider sent no {what}"
    if said:
        message += ": " + ", ".join(f"{name}={text}" for name, text in sorted(said.items()))
    return OAuthCallbackInvalid(f"{message[:1000]}.", payload=said or None)


def with_override(obtained: Obtained, consent: Consent) -> Obtained:
    """Return what was obtained with the connection's own client, which later requests need."""
    if not consent.config_override:
        return obtained
    override = dict(consent.config_override)
    return replace(obtained, credentials=obtained.credentials.with_values(config_override=override))
