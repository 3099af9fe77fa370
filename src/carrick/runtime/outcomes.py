"""What a runner says about the end of a run, read as an outcome. Nothing it says is trusted."""

from __future__ import annotations

import json
import math
from typing import Any

from carrick.model.event import (
    ActionRefused,
    Defective,
    Incomplete,
    Outcome,
    ProviderFailed,
    Succeeded,
    UnknownWrite,
)
from carrick.runner.wire import MAX_PAYLOAD, Done

_MAX_MESSAGE = 4_100
_MAX_DETAIL = 16_100
#: Seconds that a provider may make a retry wait, as far as a runner tells.
_MAX_RETRY_AFTER_S = 24 * 3600.0


def outcome_of(done: Done) -> Outcome:
    """Return the outcome of a run from its runner's report."""
    message = done.message[:_MAX_MESSAGE] if done.message is not None else None
    outcome: Outcome
    match done.kind:
        case "succeeded":
            outcome = Succeeded()
        case "action_refused":
            outcome = ActionRefused(message, _payload(done.payload))
        case "provider_failed":
            said = message or "the provider did not answer"
            outcome = ProviderFailed(done.status, said, _retry_after(done.retry_after_s))
        case "defective":
            outcome = Defective(message or "unknown error", done.detail[:_MAX_DETAIL])
        case "incomplete":
            outcome = Incomplete(message) if message else Incomplete()
        case "unknown_write":
            outcome = UnknownWrite(done.method[:16], done.endpoint[:_MAX_MESSAGE])
        case "cancelled":
            outcome = Defective("The function cancelled itself.")
    return outcome


def plain(value: Any) -> Any:
    """Return data that every frame can carry; what JSON cannot say becomes text."""
    try:
        return json.loads(json.dumps(value, default=str))
    except (TypeError, ValueError, RecursionError):
        return None


def _payload(text: str | None) -> Any:
    if text is None or len(text) > MAX_PAYLOAD:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _retry_after(seconds: float | None) -> float | None:
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, _MAX_RETRY_AFTER_S)
