"""Sockets of browsers that wait for the outcome of a popup, and how an outcome finds its socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from carrick.errors import CarrickError
from carrick.model.clock import Chance

#: Sockets that may wait at one node at a time.
MOST_WAITING = 10_000
_log = structlog.get_logger("carrick.api")


class Relay(Protocol):
    """Reaches the sockets of other nodes."""

    async def publish(self, popup_id: str, frame: str) -> None:
        """Hand an outcome to whichever node has the socket, if one has."""


class AloneHere:
    """The relay of an installation of one node: there is nobody else."""

    async def publish(self, popup_id: str, frame: str) -> None:
        """Do nothing."""


class TooManyWaiting(CarrickError):
    """As many browsers wait here as this server keeps sockets for."""

    code = "too_many_sockets"
    status = 503
    retryable = True


@dataclass(frozen=True)
class Waiting:
    """A socket that waits: its name, and the frame it gets in the end."""

    id: str
    frame: asyncio.Future[str]


class Popups:
    """The sockets that wait at this node; each gets one outcome."""

    def __init__(self, chance: Chance, relay: Relay | None = None) -> None:
        self._chance = chance
        self._relay = relay or AloneHere()
        self._waiting: dict[str, Waiting] = {}

    @contextlib.contextmanager
    def waiting(self) -> Iterator[Waiting]:
        """Name a socket and keep its name for as long as it is open.

        Raises:
            TooManyWaiting: There is no room.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise TooManyWaiting
        one = Waiting(self._chance.uuid4(), asyncio.get_running_loop().create_future())
        self._waiting[one.id] = one
        try:
            yield one
        finally:
            del self._waiting[one.id]
            one.frame.cancel()

    async def tell(self, popup_id: str | None, frame: Mapping[str, Any]) -> None:
        """Send an outcome to the socket of that name, here or at another node.

        Telling is a courtesy: what it tells of has happened whether or not it arrives.
        """
        if popup_id is None:
            return
        text = json.dumps(frame)
        if self.deliver(popup_id, text):
            return
        try:
            await self._relay.publish(popup_id, text)
        except CarrickError as error:
            _log.warning("popup_not_told", reason=error.message)

    def deliver(self, popup_id: str, frame: str) -> bool:
        """Give a frame to a socket of this node; whether it is here."""
        one = self._waiting.get(popup_id)
        if one is None:
            return False
        if not one.frame.done():
            one.frame.set_result(frame)
        return True
