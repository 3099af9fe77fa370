"""Calls of a running function that are not answered: what its author is told."""

from __future__ import annotations

from carrick.errors.base import CarrickError


class NotDeclared(CarrickError):
    """The function did not declare that it needs this."""

    code = "not_declared"
    status = 400


class UnknownHostCall(CarrickError):
    """There is no such call."""

    code = "unknown_call"
    status = 400


class CheckpointTooLarge(CarrickError):
    """A checkpoint may have at most 16 KiB."""

    code = "checkpoint_too_large"
    status = 400


class WriteStopped(CarrickError):
    """An earlier attempt made this write and its outcome is unknown; the function stops here."""

    code = "unknown_write"
    status = 409


class MetadataChanged(CarrickError):
    """Somebody else wrote the metadata meanwhile; read it again."""

    code = "metadata_changed"
    status = 409
    retryable = True
