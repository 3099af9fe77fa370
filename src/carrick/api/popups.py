"""Sockets of browsers that wait for the outcome of a popup, and how an outcome finds its socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from carrick.errors import CarrickError
from carrick.model.clock import Chance

#: Sockets that may wait at one node at a time.
MOST_WAITING = 10_000
#: How long one may: nothing is known of its sign-in any longer.
LONGEST_WAIT_S = 3600.0
_ID = re.compile(r"[0-9a-f-]{36}")
_log = structlog.get_logger("carrick.api")


class Relay(Protocol):
    """Reaches the sockets of other nodes."""

    async def send(self, text: str) -> None:
        """Let every node hear a text; `Popups.hear` is for what arrives."""


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

    def __init__(
        self, chance: Chance, relay: Relay | None = None, *, longest_wait_s: float = LONGEST_WAIT_S
    ) -> None:
        self._chance = chance
        self.longest_wait_s = longest_wait_s
        #: `None` where there is but one node.
        self._relay = relay
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
        if popup_id is None or not _ID.fullmatch(popup_id):
            return
        text = json.dumps(frame, ensure_ascii=False)
        if self._deliver(popup_id, text) or self._relay is None:
            return
        try:
            await self._relay.send(f"{popup_id} {text}")
        except CarrickError as error:
            _log.warning("popup_not_told", reason=error.message)

    def hear(self, text: str) -> None:
        """Take an outcome that another node relayed; its socket may be anywhere."""
        popup_id, _, frame = text.partition(" ")
        self._deliver(popup_id, frame)

    def _deliver(self, popup_id: str, frame: str) -> bool:
        one = self._waiting.get(popup_id)
        if one is None:
            return False
        if not one.frame.done():
            one.frame.set_result(frame)
        return True
