"""Integrations and their settings: OAuth apps, signing keys, AWS access."""

from __future__ import annotations

from carrick.errors.base import BadRequest, CarrickError
from carrick.errors.requests import NotFound


class UnknownIntegration(NotFound):
    """There is no such integration in this environment."""

    code = "unknown_provider_config"


class UnknownProvider(NotFound):
    """The provider catalogue has no such provider."""

    code = "unknown_provider_template"


class ProviderInUse(CarrickError):
    """Integrations use this provider."""

    code = "conflict"
    status = 409


class MissingClientId(BadRequest):
    """The body has no client_id."""

    code = "missing_client_id"


class MissingClientSecret(BadRequest):
    """The body has no client_secret (or client_private_key)."""

    code = "missing_client_secret"


class OAuthClientMissing(BadRequest):
    """The integration has no client_id and client_secret of an OAuth app."""

    code = "provider_config_err"


class SigningKeyInvalid(BadRequest):
    """The key that was given cannot sign."""

    code = "invalid_signing_key"


class ClientCertificateInvalid(BadRequest):
    """Client certificate and private key must be PEM text and belong together."""

    code = "invalid_certificate_or_key_format"


class AwsConfigMissing(BadRequest):
    """The integration has no AWS access key to assume roles with."""

    code = "missing_aws_sigv4_config"


class AwsRegionMissing(BadRequest):
    """No AWS region was given, and the integration has no default."""

    code = "missing_aws_sigv4_region"
