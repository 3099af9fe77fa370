"""Lifecycle events, what a function declares about itself, and what became of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal


class Event(StrEnum):
    """The three moments of a connection's life at which functions run."""

    VALIDATE_CONNECTION = "validate-connection"
    POST_CONNECTION_CREATION = "post-connection-creation"
    PRE_CONNECTION_DELETION = "pre-connection-deletion"


class Occasion(StrEnum):
    """Why an event happens; authors read it as `ctx.operation`."""

    CREATION = "creation"
    RECONNECT = "reconnect"
    IMPORT = "import"
    DELETION = "deletion"


#: Default limits by event: seconds for one attempt, attempts, and the waits between them.
DEFAULT_TIMEOUT_S = {
    Event.VALIDATE_CONNECTION: 30.0,
    Event.POST_CONNECTION_CREATION: 300.0,
    Event.PRE_CONNECTION_DELETION: 300.0,
}
DEFAULT_ATTEMPTS = {
    Event.VALIDATE_CONNECTION: 1,
    Event.POST_CONNECTION_CREATION: 5,
    Event.PRE_CONNECTION_DELETION: 10,
}
#: Seconds before the second, third, ... attempt. Nine waits of a cleanup make about 24 h.
DEFAULT_WAITS_S: dict[Event, tuple[float, ...]] = {
    Event.VALIDATE_CONNECTION: (),
    Event.POST_CONNECTION_CREATION: (1, 4, 16, 64),
    Event.PRE_CONNECTION_DELETION: (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536),
}


@dataclass(frozen=True)
class Declaration:
    """What a function says about itself in `create_on_event(...)`; plain data, JSON both ways."""

    event: Event
    description: str
    version: str | None = None
    timeout_s: float | None = None
    attempts: int | None = None
    waits_s: tuple[float, ...] | None = None
    on_reconnect: bool = False
    credentials: bool = False
    variables: tuple[str, ...] = ()
    on_unknown: Literal["resend", "park"] = "resend"
    isolation: Literal["deployment", "run"] = "deployment"
    metadata_schema: dict[str, Any] | None = None

    @property
    def timeout(self) -> float:
        """Seconds one attempt may take."""
        return self.timeout_s if self.timeout_s is not None else DEFAULT_TIMEOUT_S[self.event]

    @property
    def max_attempts(self) -> int:
        """How often the function is tried before it fails or parks."""
        return self.attempts if self.attempts is not None else DEFAULT_ATTEMPTS[self.event]

    def wait_after(self, attempt: int) -> float:
        """Return the seconds to wait after that attempt (1 is the first) failed."""
        waits = self.waits_s if self.waits_s else DEFAULT_WAITS_S[self.event]
        if not waits:
            return 1.0
        return waits[min(attempt, len(waits)) - 1]


@dataclass(frozen=True)
class FunctionRef:
    """One event function of one deployment, and where its code lies."""

    environment_id: int
    deployment_id: int
    bundle_id: str
    integration_id: str
    name: str
    position: int
    content_hash: str
    declaration: Declaration

    @property
    def event(self) -> Event:
        """The event it is bound to."""
        return self.declaration.event


@dataclass(frozen=True)
class Effect:
    """A write that a failed setup made or may have made; cleanup sees it as `ctx.effects`."""

    function: str
    method: str
    endpoint: str
    state: Literal["succeeded", "unknown"]
    status: int | None = None
    data: Any = None


# --- what became of one attempt -------------------------------------------------------------


@dataclass(frozen=True)
class Succeeded:
    """The function returned."""


@dataclass(frozen=True)
class ActionRefused:
    """The function raised `ActionError`: the author's own, final no."""

    message: str | None
    payload: Any = None


@dataclass(frozen=True)
class ProviderFailed:
    """The function let a provider's answer through (`status`), or its silence (`None`)."""

    status: int | None
    message: str
    retry_after_s: float | None = None


@dataclass(frozen=True)
class Defective:
    """The function raised anything else: its own bug. `detail` is for the log, never for users."""

    message: str
    detail: str = ""


@dataclass(frozen=True)
class TimedOut:
    """The attempt passed its time limit and was killed."""

    timeout_s: float


@dataclass(frozen=True)
class RunnerLost:
    """The runner died under the attempt, or never answered.

    `own_fault` is true when nothing else ran in that process and nobody killed it from outside, so
    the attempt must have done it (memory limit, `os._exit`, a crash in native code).
    """

    reason: str
    own_fault: bool


@dataclass(frozen=True)
class UnknownWrite:
    """A write of an earlier attempt has an unknown outcome and the function said to stop there."""

    method: str
    endpoint: str


@dataclass(frozen=True)
class HostFailed:
    """Carrick itself could not carry the attempt through (store gone, lease lost)."""

    reason: str


@dataclass(frozen=True)
class Incomplete:
    """A dry run had to compute with a value that only a real write would have given."""

    reason: str = field(default="a placeholder cannot be computed with")


Outcome = (
    Succeeded
    | ActionRefused
    | ProviderFailed
    | Defective
    | TimedOut
    | RunnerLost
    | UnknownWrite
    | HostFailed
    | Incomplete
)
