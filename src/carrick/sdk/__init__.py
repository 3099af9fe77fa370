"""What authors of event functions import, and the port through which a context reaches its host."""

from carrick.sdk.context import EventContext
from carrick.sdk.declaration import EventFunction, create_on_event
from carrick.sdk.errors import (
    ActionError,
    CarrickUsageError,
    ControlSignal,
    HostError,
    IncompleteDryRun,
    LockUnavailable,
    ProviderError,
    WriteOutcomeUnknown,
)
from carrick.sdk.host import Facts, Host, Previous
from carrick.sdk.lock import Lock
from carrick.sdk.pages import Pagination
from carrick.sdk.placeholder import Placeholder
from carrick.sdk.response import Response

__all__ = [
    "ActionError",
    "CarrickUsageError",
    "ControlSignal",
    "EventContext",
    "EventFunction",
    "Facts",
    "Host",
    "HostError",
    "IncompleteDryRun",
    "Lock",
    "LockUnavailable",
    "Pagination",
    "Placeholder",
    "Previous",
    "ProviderError",
    "Response",
    "WriteOutcomeUnknown",
    "create_on_event",
]
