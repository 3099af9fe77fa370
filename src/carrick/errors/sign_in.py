"""Signing in at the provider, in the end user's browser."""

from __future__ import annotations

from carrick.errors.base import BadRequest


class OAuthStateUnknown(BadRequest):
    """This sign-in is unknown, was used already, or took too long. Start again from the app."""

    code = "state_err"


class OAuthCookieMismatch(BadRequest):
    """This sign-in was begun in another browser. Start again from the app, with cookies on."""

    code = "state_cookie_err"


class OAuthCallbackInvalid(BadRequest):
    """The provider sent no authorization code."""

    code = "callback_err"


class OAuthTokenRefused(BadRequest):
    """The provider gave no token."""

    code = "token_err"


class OAuthGrantNotOffered(BadRequest):
    """The provider's definition exchanges something else than an authorization code."""

    code = "grant_type_err"
