"""What happened: operations, their messages, and the scrubbing of secrets from both."""

from carrick.operations.operations import Opening, Operations
from carrick.operations.scrubber import SECRET, Scrubber
from carrick.store.operations import Operation, OperationFilter, OperationMessage

__all__ = [
    "SECRET",
    "Opening",
    "Operation",
    "OperationFilter",
    "OperationMessage",
    "Operations",
    "Scrubber",
]
