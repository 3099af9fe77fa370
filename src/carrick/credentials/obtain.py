"""Run the steps of an auth mode: its requests go out, the answers go back in."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol, TypeVar

from carrick.model.http import OutboundAnswer, OutboundRequest

T = TypeVar("T")

#: Seconds a token endpoint gets to answer.
ANSWER_S = 30.0
#: Largest answer of a token endpoint.
ANSWER_BYTES = 1024 * 1024


class Send(Protocol):
    """What sends a request; `Egress.send` does."""

    async def __call__(
        self, request: OutboundRequest, *, timeout_s: float, max_bytes: int
    ) -> OutboundAnswer:
        """Send it and return the answer."""


async def drive(steps: Generator[OutboundRequest, OutboundAnswer, T], send: Send) -> T:
    """Send what the steps yield until they return something, and return that.

    Raises:
        CarrickError: What the steps or the sending raise.
    """
    try:
        request = next(steps)
        while True:
            answer = await send(request, timeout_s=ANSWER_S, max_bytes=ANSWER_BYTES)
            request = steps.send(answer)
    except StopIteration as finished:
        found: T = finished.value
        return found
    finally:
        steps.close()
