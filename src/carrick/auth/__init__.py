"""The auth modes, one file each: they build requests and read answers, and do no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from carrick.auth.api_key import ApiKey
from carrick.auth.app import App, app_token
from carrick.auth.authorization_code import AuthorizationCode, authorization_url, exchange
from carrick.auth.aws_sigv4 import AwsSigV4
from carrick.auth.basic import Basic
from carrick.auth.bill import Bill
from carrick.auth.custom import Custom
from carrick.auth.install_plugin import InstallPlugin
from carrick.auth.jwt import Jwt
from carrick.auth.mcp import McpOAuth2, McpOAuth2Generic, client_document
from carrick.auth.mode import (
    Mode,
    ModeContext,
    Obtained,
    Render,
    SigningMode,
    Steps,
    immediately,
)
from carrick.auth.none import Unauthenticated
from carrick.auth.oauth1 import OAuth1
from carrick.auth.oauth2 import OAuth2
from carrick.auth.oauth2_cc import OAuth2ClientCredentials
from carrick.auth.popup import Asking, Consent, Departure, Paused, PopupMode, demand_own
from carrick.auth.signature import Signature
from carrick.auth.tba import Tba
from carrick.auth.two_step import TwoStep
from carrick.errors import InvalidAuthMode
from carrick.model.auth import AuthMode

__all__ = [
    "MODES",
    "POPUPS",
    "Asking",
    "Consent",
    "Departure",
    "Mode",
    "ModeContext",
    "Obtained",
    "Paused",
    "PopupMode",
    "Render",
    "SigningMode",
    "Steps",
    "app_token",
    "authorization_url",
    "client_document",
    "demand_own",
    "exchange",
    "immediately",
    "mode_for",
    "popup_for",
]

_OFFERED: tuple[Mode, ...] = (
    OAuth2(),
    OAuth2ClientCredentials(),
    OAuth1(),
    Tba(),
    App(),
    Custom(),
    InstallPlugin(),
    McpOAuth2(),
    McpOAuth2Generic(),
    ApiKey(),
    Basic(),
    Jwt(),
    TwoStep(),
    Signature(),
    Bill(),
    AwsSigV4(),
    Unauthenticated(),
)
MODES: Mapping[AuthMode, Mode] = MappingProxyType({mode.auth_mode: mode for mode in _OFFERED})

_IN_A_POPUP: tuple[PopupMode, ...] = (
    AuthorizationCode(),
    OAuth1(),
    App(),
    Custom(),
    InstallPlugin(),
    McpOAuth2(),
    McpOAuth2Generic(),
)
#: Modes that need the user's browser.
POPUPS: Mapping[AuthMode, PopupMode] = MappingProxyType(
    {mode.auth_mode: mode for mode in _IN_A_POPUP}
)


def mode_for(auth_mode: AuthMode) -> Mode:
    """Return a mode by name.

    Raises:
        InvalidAuthMode: This server does not offer it.
    """
    mode = MODES.get(auth_mode)
    if mode is None:
        raise InvalidAuthMode(f"This server does not offer the auth mode {auth_mode.value}.")
    return mode


def popup_for(auth_mode: AuthMode) -> PopupMode:
    """Return the browser's part of a mode.

    Raises:
        InvalidAuthMode: The mode needs no browser, or this server does not offer it.
    """
    popup = POPUPS.get(auth_mode)
    if popup is None:
        raise InvalidAuthMode(f"The auth mode {auth_mode.value} is not connected in a popup.")
    return popup
