"""What an auth mode is: pure functions from inputs and answers to credentials, without any I/O.

A mode that needs the provider's word yields the requests it wants sent and is sent the answers.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from carrick.model.auth import AuthMode, Credentials
from carrick.model.environment import Integration
from carrick.model.http import OutboundAnswer, OutboundRequest
from carrick.model.provider import Provider


@dataclass(frozen=True)
class Obtained:
    """Credentials, and what the provider's answer adds to `connection_config`."""

    credentials: Credentials
    connection_config: Mapping[str, Any] = field(default_factory=dict)


#: Requests go out, answers come in, and what is obtained is returned at the end.
Steps = Generator[OutboundRequest, OutboundAnswer, Obtained]


class Render(Protocol):
    """Fill a template of the provider definition; what has no value stays as text."""

    def __call__(self, template: str, values: Mapping[str, Any], *, encode: bool = False) -> str:
        """Fill it; `encode` says that it is a URL."""


def no_templates(template: str, values: Mapping[str, Any], *, encode: bool = False) -> str:
    """Stand in for `render` where nothing is rendered, as when a request is authorized.

    Raises:
        RuntimeError: Always: a template is to be filled after all.
    """
    raise RuntimeError("this ModeContext was built without `render`")


@dataclass(frozen=True)
class ModeContext:
    """What a mode may know besides the credentials."""

    provider: Provider
    integration: Integration
    connection_config: Mapping[str, Any]
    now: datetime
    render: Render = field(default=no_templates, repr=False)
    #: Random text, another one in every context: what is signed with it counts once.
    nonce: str = ""
    #: On a reconnect: the config the connection has, whatever the new one says.
    previous_config: Mapping[str, Any] = field(default_factory=dict)


class Mode(Protocol):
    """One way to authenticate. Modes hold no state."""

    auth_mode: AuthMode

    def from_input(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Make credentials of what a browser form sends.

        Raises:
            InvalidBody: A field is missing, unknown, or does not fit.
            ProviderRefused: The provider said no.
            ProviderUnavailable: The provider cannot answer right now.
            ProviderAnswerInvalid: Its answer makes no sense.
        """

    def from_import(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Make credentials of what an import carries under `credentials`; see `from_input`."""

    def refresh(self, ctx: ModeContext, credentials: Credentials) -> Steps | None:
        """Ask for fresh credentials; `None` when these cannot be refreshed."""

    def authorize(
        self, ctx: ModeContext, credentials: Credentials, request: OutboundRequest
    ) -> OutboundRequest:
        """Return the request with what identifies the caller added."""

    def template_values(self, credentials: Credentials) -> Mapping[str, Any]:
        """Return what the credentials are called in the templates of the provider definition."""


@runtime_checkable
class SigningMode(Protocol):
    """A mode that signs each request, and therefore has to see the whole of it."""

    def sign(
        self, ctx: ModeContext, credentials: Credentials, request: OutboundRequest
    ) -> OutboundRequest:
        """Return the request signed; nothing may be changed in it afterwards.

        Raises:
            MissingConnectionConfig: Something is missing without which nobody can sign.
        """


def immediately(obtained: Obtained) -> Steps:
    """Obtain without asking anybody."""
    yield from ()
    return obtained


def named_values(credentials: Credentials, **more: Any) -> dict[str, Any]:
    """Return every field of the credentials under its own name and under `credentials`."""
    return {**credentials.values, **more, "credentials": credentials.values}
