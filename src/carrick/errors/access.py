"""Who is asking, and whether they may."""

from __future__ import annotations

from carrick.errors.base import BadRequest, CarrickError


class Unauthenticated(CarrickError):
    """The request carries no key that this server knows."""

    code = "unknown_account"
    status = 401


class MissingAuthHeader(Unauthenticated):
    """Authentication failed. The request is missing the Authorization header."""

    code = "missing_auth_header"


class MalformedAuthHeader(Unauthenticated):
    """Authentication failed. The Authorization header is malformed."""

    code = "malformed_auth_header"


class InvalidSecretKeyFormat(Unauthenticated):
    """Authentication failed. The API key is not a UUID v4."""

    code = "invalid_secret_key_format"


class MissingPublicKey(Unauthenticated):
    """Authentication failed. Pass connect_session_token (or public_key) in the query string."""

    code = "missing_public_key"


class InvalidPublicKey(Unauthenticated):
    """Authentication failed. The public key is not a UUID v4."""

    code = "invalid_public_key"


class InvalidSessionTokenFormat(Unauthenticated):
    """Authentication failed. This is not a connect session token."""

    code = "invalid_connect_session_token_format"


class UnknownSessionToken(Unauthenticated):
    """Authentication failed. The connect session does not exist or has expired."""

    code = "unknown_connect_session_token"


class MissingHmac(BadRequest):
    """This environment demands an hmac of integration and connection id in the query string."""

    code = "missing_hmac"


class InvalidHmac(BadRequest):
    """The hmac does not fit the integration and connection id."""

    code = "invalid_hmac"


class Forbidden(CarrickError):
    """The API key may not do this."""

    code = "forbidden"
    status = 403
