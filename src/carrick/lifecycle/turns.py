"""Whose turn it is: how many functions of one integration a node runs at a time.

A provider that hangs would otherwise hold every place of the node, and one that comes back after
an outage would meet everything that has become due since. So no integration takes more than half
of the places that the others leave free; where different connections fail one after another
because of the provider, only one is tried at a time, ever less often; and what succeeds then
doubles how many may follow. What has to wait stays due in its mailbox, and no attempt is counted.

Where several nodes share the work, trouble may be one node's own: a cable, a full disk. So what got
no answer here, or could not be run here, is left to the others for a moment when it is due again.

A node learns all of this by itself and forgets it when it stops.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import structlog

from carrick.model.clock import Clock
from carrick.model.environment import Integration
from carrick.model.event import HostFailed, Outcome, ProviderFailed, Succeeded, TimedOut

#: Connections that have to fail one after another before it is the provider's fault.
OUTAGE_AFTER = 5
#: The longest pause between two tries during an outage, in seconds.
LONGEST_PAUSE_S = 15.0
#: A provider that asks for a longer pause than this is tried again all the same.
_LONGEST_ASKED_S = 300.0
_UNAVAILABLE = frozenset({408, 425, 429})
#: From here on a status says that the provider is not there; below, that it cannot do this.
_AWAY_FROM = 502
#: Seconds in which the others may begin what failed here: two of their sweeps, and some more.
OTHERS_FIRST_S = 5.0
#: Seconds after which a failure says nothing any more of this node.
_REMEMBERED_S = 300.0
_MOST_REMEMBERED = 4096

_log = structlog.get_logger(__name__)


@dataclass
class _Outage:
    """A provider that does not do its work at the moment."""

    #: How many may be tried at a time; grows with what succeeds.
    admitted: int = 1
    pause_s: float = 1.0


@dataclass
class _Queue:
    """One integration's functions on this node."""

    running: int = 0
    #: Connections that failed because of the provider, since anything last went well.
    failing: set[int] = field(default_factory=set)
    outage: _Outage | None = None
    #: Nothing begins before this moment (monotonic).
    closed_until: float = 0.0
    #: What the developer allows this node.
    most: int | None = None
    interval_s: float = 0.0

    def is_forgettable(self, now: float) -> bool:
        knows_something = self.failing or self.outage is not None or self.closed_until > now
        return self.running == 0 and not knows_something


@dataclass
class _Stuck:
    """A connection whose function got no further on this node."""

    at: float
    #: Until when it is left to the others, once it is due again.
    until: float | None = None


class Turns:
    """Gives turns to integrations; every turn taken is given back."""

    def __init__(self, clock: Clock, *, places: int = 64, has_others: bool = False) -> None:
        """Build it.

        Args:
            clock: What pauses are measured by.
            places: How many connections' functions this node runs at a time.
            has_others: Whether other nodes may do the same work.
        """
        self._clock = clock
        self.places = places
        self._has_others = has_others
        self._stuck: dict[int, _Stuck] = {}
        self._taken = 0
        self._queues: defaultdict[int, _Queue] = defaultdict(_Queue)

    @property
    def taken(self) -> int:
        """How many turns are taken."""
        return self._taken

    @property
    def outages(self) -> int:
        """How many integrations have a provider that does not do its work."""
        return sum(queue.outage is not None for queue in self._queues.values())

    def take(self, integration_row_id: int) -> bool:
        """Take a turn for an integration; `False` when it has to wait."""
        queue = self._queues[integration_row_id]
        now = self._clock.monotonic()
        if now < queue.closed_until or not self._has_room(queue):
            return False
        queue.running += 1
        self._taken += 1
        if queue.interval_s:
            queue.closed_until = now + queue.interval_s
        return True

    def give_back(self, integration_row_id: int) -> None:
        """Give a turn back."""
        queue = self._queues[integration_row_id]
        queue.running -= 1
        self._taken -= 1
        if queue.is_forgettable(self._clock.monotonic()):
            del self._queues[integration_row_id]

    def opens_in(self, integration_row_id: int) -> float | None:
        """Return the seconds until time alone lets an integration have a turn, if it is that.

        Zero when it could have one now: the moment may have come since it was told to wait.
        """
        queue = self._queues.get(integration_row_id)
        if queue is None or not self._has_room(queue):
            return None
        return max(0.0, queue.closed_until - self._clock.monotonic())

    def leaves(self, connection_row_id: int) -> bool:
        """Say whether a connection that is due is left to the other nodes for now."""
        stuck = self._stuck.get(connection_row_id)
        if stuck is None:
            return False
        now = self._clock.monotonic()
        if stuck.until is None and now - stuck.at <= _REMEMBERED_S:
            stuck.until = now + OTHERS_FIRST_S
        if stuck.until is not None and now < stuck.until:
            return True
        del self._stuck[connection_row_id]
        return False

    def is_asked_for(self, connection_row_id: int) -> None:
        """Leave a connection to others no longer: somebody here asks for what comes next."""
        self._stuck.pop(connection_row_id, None)

    def learn(self, integration: Integration) -> None:
        """Heed what the developer has set on an integration."""
        queue = self._queues[integration.row_id]
        queue.most = integration.function_concurrency or None
        per_minute = integration.functions_per_minute
        queue.interval_s = 60.0 / per_minute if per_minute else 0.0

    def note(self, integration_row_id: int, connection_row_id: int, outcome: Outcome) -> None:
        """Learn from what became of an attempt."""
        self._remember(connection_row_id, outcome)
        queue = self._queues[integration_row_id]
        if _is_outage(outcome):
            queue.failing.add(connection_row_id)
            asked_s = outcome.retry_after_s if isinstance(outcome, ProviderFailed) else None
            self._failed(integration_row_id, queue, min(asked_s or 0.0, _LONGEST_ASKED_S))
        elif isinstance(outcome, Succeeded | ProviderFailed):
            self._succeeded(integration_row_id, queue)
        # Anything else says nothing about the provider: it may not have been asked.

    def is_away(self, integration_row_id: int, outcome: Outcome) -> bool:
        """Say whether an attempt failed for no other reason than a provider that is away."""
        queue = self._queues.get(integration_row_id)
        is_known = queue is not None and queue.outage is not None
        return is_known and _is_unavailable(outcome, lowest=_AWAY_FROM)

    def _remember(self, connection_row_id: int, outcome: Outcome) -> None:
        self._stuck.pop(connection_row_id, None)
        if self._has_others and _may_be_this_node(outcome):
            self._stuck[connection_row_id] = _Stuck(self._clock.monotonic())
            if len(self._stuck) > _MOST_REMEMBERED:
                del self._stuck[next(iter(self._stuck))]

    def _failed(self, integration_row_id: int, queue: _Queue, asked_s: float) -> None:
        now = self._clock.monotonic()
        if queue.outage is None:
            if len(queue.failing) < OUTAGE_AFTER:
                return
            queue.outage = _Outage()
            _log.warning("provider_outage_began", integration_row_id=integration_row_id)
        elif now >= queue.closed_until:  # else it was under way when the outage was noticed
            queue.outage.admitted = max(1, queue.outage.admitted // 2)
            queue.outage.pause_s = min(queue.outage.pause_s * 2, LONGEST_PAUSE_S)
        else:
            queue.closed_until = max(queue.closed_until, now + asked_s)
            return
        queue.closed_until = now + max(queue.outage.pause_s, asked_s)

    def _succeeded(self, integration_row_id: int, queue: _Queue) -> None:
        queue.failing.clear()
        if queue.outage is None:
            return
        queue.outage.admitted *= 2
        queue.outage.pause_s = 1.0
        queue.closed_until = 0.0
        if queue.outage.admitted >= self.places:
            queue.outage = None
            _log.warning("provider_outage_ended", integration_row_id=integration_row_id)

    def _has_room(self, queue: _Queue) -> bool:
        return self._taken < self.places and queue.running < self._share(queue)

    def _share(self, queue: _Queue) -> int:
        free = self.places - (self._taken - queue.running)
        share = max(1, free // 2)
        if queue.outage is not None:
            share = min(share, queue.outage.admitted)
        return share if queue.most is None else min(share, queue.most)


def _may_be_this_node(outcome: Outcome) -> bool:
    """Whether an attempt failed in a way in which it might not have failed elsewhere."""
    no_answer = isinstance(outcome, ProviderFailed) and outcome.status is None
    return no_answer or isinstance(outcome, HostFailed)


def _is_outage(outcome: Outcome) -> bool:
    """Whether an attempt failed because the provider did not do its work."""
    return isinstance(outcome, TimedOut) or _is_unavailable(outcome, lowest=500)


def _is_unavailable(outcome: Outcome, *, lowest: int) -> bool:
    """Whether a provider did not answer, asks for patience, or fails with such a status."""
    if not isinstance(outcome, ProviderFailed):
        return False
    return outcome.status is None or outcome.status >= lowest or outcome.status in _UNAVAILABLE
