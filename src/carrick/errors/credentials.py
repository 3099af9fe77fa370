"""Credentials of a connection that cannot be had fresh."""

from __future__ import annotations

from carrick.errors.base import BadRequest


class InvalidCredentials(BadRequest):
    """The connection's credentials could not be refreshed."""

    code = "invalid_credentials"


class CredentialsExhausted(InvalidCredentials):
    """The refresh limit has been reached for this connection."""

    status = 424


class CredentialsBackingOff(InvalidCredentials):
    """A recent refresh attempt failed. Backing off before retrying."""

    status = 424
    retryable = True


class CredentialsUnavailable(InvalidCredentials):
    """The provider could not be asked for fresh credentials."""

    status = 424
    retryable = True


class RefreshFaulty(InvalidCredentials):
    """Something went wrong on this server while the credentials were refreshed."""

    status = 500


class RefreshTokenLost(BadRequest):
    """The provider refused a refresh token that an earlier refresh may have replaced."""

    code = "refresh_token_lost"
