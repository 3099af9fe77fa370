"""Every error that leaves Carrick, one class each.

A class knows its wire `code`, the HTTP `status` it answers with, and whether trying the same
thing again can help. Its docstring is the message when none is given, so what a reader finds
here is what a user is told. Authors' errors (`ActionError`, `ProviderError`) live in
`carrick.sdk`; they are part of the language functions are written in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class CarrickError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "server_error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    #: Whether a request may have reached a provider before this was raised.
    sent: bool = False

    def __init__(
        self,
        message: str | None = None,
        *,
        payload: Mapping[str, Any] | None = None,
        issues: Sequence[Mapping[str, Any]] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """Build the error.

        Args:
            message: What is wrong and what to do about it; the class's own sentence by default.
            payload: Machine-readable detail shown on the wire under `payload`.
            issues: Single faults of an input, shown under `errors`: `code`, `message`, `path`.
            retry_after_s: Seconds after which trying again can help.
        """
        self.message = message if message is not None else (type(self).__doc__ or "").strip()
        self.payload = payload
        self.issues = issues
        self.retry_after_s = retry_after_s
        super().__init__(self.message)


class BadRequest(CarrickError):
    """This cannot be done as it was asked."""

    status = 400


class NotNow(CarrickError):
    """This cannot be done right now. Try again later."""

    status = 503
    retryable = True


# --- asking wrongly -------------------------------------------------------------------------


class InvalidBody(BadRequest):
    """The request body is not what this route takes."""

    code = "invalid_body"


class InvalidJson(BadRequest):
    """The request body is not valid JSON."""

    code = "invalid_json"


class InvalidQuery(BadRequest):
    """The query string is not what this route takes."""

    code = "invalid_query_params"


class InvalidPath(BadRequest):
    """A part of the path is not a valid name."""

    code = "invalid_uri_params"


class InvalidHeaders(BadRequest):
    """A header is missing or not valid."""

    code = "invalid_headers"


class InvalidContentType(CarrickError):
    """Content-Type header must be application/json."""

    code = "invalid_content_type"
    status = 415


class BodyTooLarge(CarrickError):
    """The request body is larger than this server accepts."""

    code = "body_too_large"
    status = 413


class NotFound(CarrickError):
    """There is nothing here by that name."""

    code = "not_found"
    status = 404


class MethodNotAllowed(CarrickError):
    """This path does not answer that method."""

    code = "method_not_allowed"
    status = 405


class TooManyRequests(CarrickError):
    """Too many requests. Wait for as long as the Retry-After header says."""

    code = "too_many_request"
    status = 429
    retryable = True


class NotImplementedHere(CarrickError):
    """Carrick does not offer this part of the API."""

    code = "not_implemented"
    status = 501


class Conflict(CarrickError):
    """Something by that name exists already."""

    code = "conflict"
    status = 409


class ResourceCapped(BadRequest):
    """There are as many of these as there may be. Delete one that is not needed any more."""

    code = "resource_capped"


# --- who is asking --------------------------------------------------------------------------


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


# --- integrations and connections -----------------------------------------------------------


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


class MissingClientId(BadRequest):
    """The body has no client_id."""

    code = "missing_client_id"


class MissingClientSecret(BadRequest):
    """The body has no client_secret (or client_private_key)."""

    code = "missing_client_secret"


class OAuthClientMissing(BadRequest):
    """The integration has no client_id and client_secret of an OAuth app."""

    code = "provider_config_err"


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


class MissingConnectionConfig(BadRequest):
    """A value the provider's address needs is missing from connection_config."""

    code = "invalid_connection_config"


class InvalidConnectionConfig(BadRequest):
    """A value of connection_config does not fit the provider's definition."""

    code = "invalid_connection_config"


# --- reaching providers ---------------------------------------------------------------------


class EgressDenied(BadRequest):
    """The address is not one this server may call."""

    code = "egress_denied"


class ProviderUnreachable(CarrickError):
    """The provider could not be reached."""

    code = "provider_unreachable"
    status = 502
    retryable = True

    def __init__(self, message: str | None = None, *, sent: bool = True) -> None:
        """Say whether the request may have left: `sent=False` means it certainly did not."""
        super().__init__(message)
        self.sent = sent


class ProviderTimeout(ProviderUnreachable):
    """The provider did not answer in time."""

    code = "provider_timeout"
    status = 504


class ProviderUnavailable(ProviderUnreachable):
    """The provider cannot serve the request right now."""

    code = "provider_unavailable"


class ProviderAnswerTooLarge(CarrickError):
    """The provider's answer is larger than the limit."""

    code = "provider_answer_too_large"
    status = 502
    sent = True


class ProviderRefused(BadRequest):
    """The provider refused the credentials it was given."""

    code = "provider_refused"


class ProviderAnswerInvalid(CarrickError):
    """The provider's answer could not be understood."""

    code = "provider_answer_invalid"
    status = 502
    sent = True


class BaseUrlOverrideNotAllowed(BadRequest):
    """This address is not one the connection's credentials may be sent to."""

    code = "base_url_override_not_allowed"


# --- functions ------------------------------------------------------------------------------


class ProjectInvalid(BadRequest):
    """The project does not compile."""

    code = "compilation_error"


class DeploymentRejected(BadRequest):
    """The deployment was not made."""

    code = "deployment_rejected"


class RemovalNotConfirmed(CarrickError):
    """The deployment removes functions and nobody confirmed that."""

    code = "removal_not_confirmed"
    status = 409


class UnknownFunction(NotFound):
    """No such function is deployed."""

    code = "unknown_function"


class FunctionManagedByDeploy(BadRequest):
    """This function was deployed from a project. Remove its file there and deploy again."""

    code = "function_managed_by_deploy"


class FunctionsUnavailable(NotNow):
    """Functions cannot run on this server right now."""

    code = "functions_unavailable"


class ResultLost(NotNow):
    """The work was taken over by another node; this result no longer counts."""

    code = "lease_lost"


class OperationNotRetryable(BadRequest):
    """This operation cannot be run again."""

    code = "operation_not_retryable"


# --- the server itself ----------------------------------------------------------------------


class SettingsInvalid(CarrickError):
    """A setting is wrong."""

    code = "settings_invalid"


class ProvidersInvalid(SettingsInvalid):
    """A provider definition is wrong."""

    code = "providers_invalid"


class KeyMissing(SettingsInvalid):
    """CARRICK_ENCRYPTION_KEY is not set. A Postgres store needs one: 32 random bytes, base64."""

    code = "encryption_key_missing"


class CiphertextInvalid(CarrickError):
    """A stored secret cannot be decrypted with the keys this server has."""

    code = "ciphertext_invalid"


class StoreInUse(CarrickError):
    """Another server is using this data directory. One server process per SQLite file."""

    code = "store_in_use"


class BackupInvalid(CarrickError):
    """This backup cannot be used."""

    code = "backup_invalid"


class StoreOutdated(CarrickError):
    """The database schema is older than this version. Run `carrick migrate`."""

    code = "store_outdated"


class StoreNewer(CarrickError):
    """The database was written by a later version of Carrick. Start that version on it."""

    code = "store_newer"


class StoreUnavailable(NotNow):
    """The database does not answer."""

    code = "store_unavailable"


class StoreFull(StoreUnavailable):
    """The disk of the database is full, so nothing can be written. Make room; no restart needed."""

    code = "store_full"


class StoreGone(StoreUnavailable):
    """The database file was removed or replaced while the server is running."""

    code = "store_gone"


class StoreDamaged(StoreUnavailable):
    """The database file is damaged. Keep it aside and `carrick restore` a backup."""

    code = "store_damaged"
    retryable = False
