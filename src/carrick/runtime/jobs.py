"""What the pool is asked to run, and who answers for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from carrick.deployments import BundleDir
from carrick.sdk import Facts

__all__ = ["BundleDir", "HostCalls", "Job", "Lane"]

Lane: TypeAlias = Literal["validation", "lifecycle", "dryrun"]


class HostCalls(Protocol):
    """Whoever answers the calls that one run makes."""

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """Answer one call with plain data.

        Raises:
            CarrickError: What went wrong; the function sees its code and message.
        """


@dataclass(frozen=True)
class Job:
    """One attempt of a function, to be run somewhere."""

    bundle_id: str
    lane: Lane
    integration_id: str
    function: str
    facts: Facts
    timeout_s: float
    #: Whether it gets a process of its own.
    alone: bool = False
