"""The auth modes, one file each: they build requests and read answers, and do no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from carrick.auth.api_key import ApiKey
from carrick.auth.authorization_code import authorization_url, exchange
from carrick.auth.basic import Basic
from carrick.auth.mode import Mode, ModeContext, Obtained, Render, Steps
from carrick.auth.none import Unauthenticated
from carrick.auth.oauth2 import OAuth2
from carrick.auth.oauth2_cc import OAuth2ClientCredentials
from carrick.errors import InvalidAuthMode
from carrick.model.auth import AuthMode

__all__ = [
    "MODES",
    "Mode",
    "ModeContext",
    "Obtained",
    "Render",
    "Steps",
    "authorization_url",
    "exchange",
    "mode_for",
]

_OFFERED: tuple[Mode, ...] = (
    OAuth2(),
    OAuth2ClientCredentials(),
    ApiKey(),
    Basic(),
    Unauthenticated(),
)
MODES: Mapping[AuthMode, Mode] = MappingProxyType({mode.auth_mode: mode for mode in _OFFERED})


def mode_for(auth_mode: AuthMode) -> Mode:
    """Return a mode by name.

    Raises:
        InvalidAuthMode: This server does not offer it.
    """
    mode = MODES.get(auth_mode)
    if mode is None:
        raise InvalidAuthMode(f"This server does not offer the auth mode {auth_mode.value}.")
    return mode
