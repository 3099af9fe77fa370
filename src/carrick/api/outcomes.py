"""The outcome of a popup, in the words of the browser client: frames and error types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from carrick.errors import (
    CarrickError,
    ConnectionBusy,
    ConnectionTestFailed,
    ConnectionValidationFailed,
    ConnectionValidationUnavailable,
    EgressDenied,
    IntegrationNotAllowed,
    InvalidAuthMode,
    InvalidConnection,
    InvalidConnectionConfig,
    InvalidHmac,
    InvalidQuery,
    MissingConnectionConfig,
    MissingHmac,
    OAuthCallbackInvalid,
    OAuthClientMissing,
    OAuthCookieMismatch,
    OAuthGrantNotOffered,
    OAuthStateUnknown,
    OAuthTokenRefused,
    TooManyRequests,
    Unauthenticated,
    UnknownIntegration,
    UnknownProvider,
)
from carrick.model.connection import Connection

_UNKNOWN = "unknown_err"
#: What the client hears before an error it has no word for; people are spared it.
UNKNOWN_PREFIX = "Unknown error during the Oauth flow."
_LONGEST = 1000
#: Errors that the client has another word for than the rest of the API.
_WORDS: tuple[tuple[type[CarrickError], str], ...] = (
    (InvalidAuthMode, "auth_mode_err"),
    (UnknownIntegration, "provider_config_err"),
    (UnknownProvider, "unknown_config_key"),
    (MissingConnectionConfig, "url_param_err"),
    (InvalidConnectionConfig, "url_param_err"),
    (EgressDenied, "url_param_err"),
    (ConnectionTestFailed, ConnectionValidationFailed.code),
)
#: Errors whose code is the word.
_SAME_WORD = (
    ConnectionBusy,
    ConnectionValidationFailed,
    ConnectionValidationUnavailable,
    IntegrationNotAllowed,
    InvalidConnection,
    InvalidHmac,
    InvalidQuery,
    MissingHmac,
    OAuthCallbackInvalid,
    OAuthClientMissing,
    OAuthCookieMismatch,
    OAuthGrantNotOffered,
    OAuthStateUnknown,
    OAuthTokenRefused,
    TooManyRequests,
    Unauthenticated,
)


@dataclass
class Popup:
    """Who waits for an outcome, and what is known of what it is about."""

    id: str | None = None
    integration_id: str | None = None
    connection_id: str | None = None
    #: Whether the person came back from the provider: there is nobody else to answer in JSON.
    came_back: bool = False


@dataclass(frozen=True)
class Failure:
    """An error in the client's words."""

    type: str
    text: str


def failure_of(error: Exception) -> Failure:
    """Return how an error is told."""
    if not isinstance(error, CarrickError):
        return Failure(_UNKNOWN, f"{UNKNOWN_PREFIX} Something went wrong on the server.")
    message = error.message[:_LONGEST]
    for kind, word in _WORDS:
        if isinstance(error, kind):
            return Failure(word, message)
    if isinstance(error, _SAME_WORD):
        return Failure(error.code, message)
    return Failure(_UNKNOWN, f"{UNKNOWN_PREFIX} {message}")


def success_frame(connection: Connection) -> Mapping[str, Any]:
    """Return what tells a socket that it worked."""
    return _success(connection.integration_id, connection.connection_id, is_pending=False)


def pending_frame(integration_id: str, connection_id: str) -> Mapping[str, Any]:
    """Return what tells a socket that somebody else has to agree first."""
    return _success(integration_id, connection_id, is_pending=True)


def _success(integration_id: str, connection_id: str, *, is_pending: bool) -> Mapping[str, Any]:
    return {
        "message_type": "success",
        "provider_config_key": integration_id,
        "connection_id": connection_id,
        "is_pending": is_pending,
    }


def error_frame(popup: Popup, failure: Failure) -> Mapping[str, Any]:
    """Return what tells a socket that it did not work."""
    frame = {
        "message_type": "error",
        "provider_config_key": popup.integration_id,
        "connection_id": popup.connection_id,
        "error_type": failure.type,
        "error_desc": failure.text,
    }
    return {name: value for name, value in frame.items() if value is not None}
