"""Reaching providers, and what they answer."""

from __future__ import annotations

from carrick.errors.base import BadRequest, CarrickError


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
