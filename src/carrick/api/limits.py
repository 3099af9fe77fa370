"""The API's rate limit: calls per environment and minute, off unless it is set.

It is counted in this process: behind several nodes each grants the whole limit. That is enough
for what it is for, which is keeping one caller from starving the others of a server.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import Request

from carrick.api.access import services_of
from carrick.errors import TooManyRequests
from carrick.model.clock import Clock

WINDOW_S = 60
_STRANGER_COST = 10
_MOST_COUNTED = 10_000


@dataclass
class RateLimit:
    """Points taken per asker in the present minute."""

    per_minute: int
    clock: Clock
    _window: int = -1
    _taken: dict[str, int] = field(default_factory=dict)

    def take(self, asker: str, cost: int) -> tuple[int, int]:
        """Take points and return how many are left (below zero: too many) and when it resets."""
        now = self.clock.now().timestamp()
        window = int(now // WINDOW_S)
        # Strangers are counted by address, which they can change: forget before it grows large.
        if window != self._window or len(self._taken) >= _MOST_COUNTED:
            self._window, self._taken = window, {}
        taken = self._taken[asker] = self._taken.get(asker, 0) + cost
        return self.per_minute - taken, (window + 1) * WINDOW_S


def charge(request: Request, environment_id: int | None) -> None:
    """Count a call of an environment, or of a stranger.

    Raises:
        TooManyRequests: There have been too many this minute.
    """
    limit: RateLimit | None = request.app.state.rate_limit
    if limit is None:
        return
    host = request.client.host if request.client else "unknown"
    asker = f"environment-{environment_id}" if environment_id is not None else f"address-{host}"
    left, reset_at = limit.take(asker, 1 if environment_id is not None else _STRANGER_COST)
    request.scope["state"]["rate_limit_headers"] = {
        "X-RateLimit-Limit": str(limit.per_minute),
        "X-RateLimit-Remaining": str(max(left, 0)),
        "X-RateLimit-Reset": str(reset_at),
    }
    if left < 0:
        now = services_of(request).clock.now().timestamp()
        raise TooManyRequests(
            payload={"method": request.method, "path": request.url.path},
            retry_after_s=max(1.0, reset_at - now),
        )
