"""Connections: finding, making, checking and reconnecting one."""

from __future__ import annotations

from carrick.errors.base import BadRequest, NotNow


class UnknownConnection(BadRequest):
    """There is no such connection."""

    code = "unknown_connection"


class InvalidAuthMode(BadRequest):
    """The provider does not authenticate this way."""

    code = "invalid_auth_mode"


class IntegrationNotAllowed(BadRequest):
    """The connect session does not allow this integration."""

    code = "integration_not_allowed"


class InvalidConnection(BadRequest):
    """The connection was deleted, or is not the one this session may reconnect."""

    code = "invalid_connection"


class MissingConnectionConfig(BadRequest):
    """A value the provider's address needs is missing from connection_config."""

    code = "invalid_connection_config"


class InvalidConnectionConfig(BadRequest):
    """A value of connection_config does not fit the provider's definition."""

    code = "invalid_connection_config"


class ConnectionBusy(NotNow):
    """A function of this connection is still running. Try again in a moment."""

    code = "connection_busy"


class ConnectionTestFailed(BadRequest):
    """The provider did not accept these credentials."""

    code = "connection_test_failed"


class ConnectionValidationFailed(BadRequest):
    """The connection could not be validated."""

    code = "connection_validation_failed"


class ConnectionValidationUnavailable(NotNow):
    """The connection could not be checked right now. Nothing was changed; try again later."""

    code = "connection_validation_unavailable"
