"""Apps that connect, reconnect, write metadata and delete, and remember what they were told."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from tests.chaos.nodes import Nodes
from tests.integration.server import INTEGRATION, Answer

from carrick.testing.fake_provider import Account, FakeProvider

#: Answers by which the server says that nothing was changed: come back later.
_LATER = frozenset({500, 502, 503})
_PAUSE_S = 0.1


class Unsure(Exception):
    """The request was broken off: it may or may not have been carried out."""


class UnexpectedAnswer(Exception):
    """The server answered what nobody promised."""


@dataclass
class Known:
    """One connection as its app knows it."""

    connection_id: str
    account: Account
    is_live: bool
    #: A reconnect as somebody else was refused: reads say 424 until the owner reconnects.
    is_refused: bool = False
    #: It was refused at some time, and a setup that was tried meanwhile had no credentials.
    was_refused: bool = False
    written: int = 0


@dataclass
class Ledger:
    """What all apps together were told."""

    connections: dict[str, Known] = field(default_factory=dict)
    answers: Counter[str] = field(default_factory=Counter)
    #: Answers that contradict what was promised.
    faults: list[str] = field(default_factory=list)


class App:
    """One app: does one thing after another until it is told to stop."""

    def __init__(
        self, name: str, nodes: Nodes, provider: FakeProvider, ledger: Ledger, chance: random.Random
    ) -> None:
        self._name = name
        self._nodes = nodes
        self._ledger = ledger
        self._chance = chance
        self._account = provider.add_account(name)
        self._stranger = provider.add_account(f"{name}-stranger")
        self._made = 0
        self.is_told_to_stop = False

    async def run(self) -> None:
        """Work until told to stop; what was begun is brought to an answer."""
        acts = (self._create, self._reconnect, self._usurp, self._write, self._read, self._delete)
        while not self.is_told_to_stop:
            act = self._chance.choices(acts, weights=(5, 2, 1, 3, 3, 3))[0]
            try:
                await act()
            except UnexpectedAnswer as error:
                self._ledger.faults.append(str(error))
            self._ledger.answers[act.__name__.removeprefix("_")] += 1

    async def heal(self) -> None:
        """Connect again whoever was refused."""
        for known in list(self._ledger.connections.values()):
            if known.is_live and known.is_refused and known.account is self._account:
                await self._reconnect(known)

    # --- what an app does -------------------------------------------------------------------

    async def _create(self) -> None:
        self._made += 1
        known = Known(f"{self._name}-{self._made}", self._account, is_live=False)
        self._ledger.connections[known.connection_id] = known
        while True:
            try:
                answer = await self._import(known, self._account)
            except Unsure:
                if await self._is_there(known):
                    break
                continue
            if answer.status == 201:
                break
            await self._later(answer, f"creating {known.connection_id}")
        known.is_live = True

    async def _reconnect(self, known: Known | None = None) -> None:
        known = known or self._pick()
        if known is None:
            return
        while True:
            try:
                answer = await self._import(known, self._account)
            except Unsure:
                continue  # doing it twice is doing it once
            if answer.status == 201:
                known.is_refused = False
                return
            await self._later(answer, f"reconnecting {known.connection_id}")

    async def _usurp(self) -> None:
        """Reconnect as somebody else, who must be refused."""
        known = self._pick()
        if known is None:
            return
        while True:
            try:
                answer = await self._import(known, self._stranger)
            except Unsure:
                continue
            if answer.status == 400:
                known.is_refused = known.was_refused = True
                return
            if answer.status == 201:
                self._ledger.faults.append(f"{known.connection_id} was taken by somebody else")
                return
            await self._later(answer, f"usurping {known.connection_id}")

    async def _write(self) -> None:
        known = self._pick()
        if known is None:
            return
        body = {
            "connection_id": known.connection_id,
            "provider_config_key": INTEGRATION,
            "metadata": {"written": known.written + 1},
        }
        while True:
            try:
                answer = await self._ask("PATCH", "/connections/metadata", body)
            except Unsure:
                continue  # the same value again
            if answer.status == 200:
                known.written += 1
                return
            await self._later(answer, f"writing to {known.connection_id}")

    async def _read(self) -> None:
        known = self._pick()
        if known is not None:
            answer = await self.shown(known)
            if answer.status != (424 if known.is_refused else 200):
                self._ledger.faults.append(
                    f"{known.connection_id} answered {answer.status}: {answer.text[:200]}"
                )

    async def _delete(self) -> None:
        known = self._pick()
        if known is None:
            return
        path = f"/connections/{known.connection_id}?provider_config_key={INTEGRATION}"
        was_unsure = False
        while True:
            try:
                answer = await self._ask("DELETE", path)
            except Unsure:
                was_unsure = True
                if not await self._is_there(known):
                    break
                continue
            # Gone already: the request that was broken off arrived after all.
            if answer.status == 200 or (was_unsure and answer.status == 400):
                break
            was_unsure = True  # it may have been marked before the answer went wrong
            await self._later(answer, f"deleting {known.connection_id}")
        known.is_live = False

    # --- how it asks ------------------------------------------------------------------------

    async def shown(self, known: Known) -> Answer:
        """Return a connection as the API shows it, whenever it can."""
        path = f"/connections/{known.connection_id}?provider_config_key={INTEGRATION}"
        while True:
            try:
                answer = await self._ask("GET", path)
            except Unsure:
                continue
            if answer.status not in _LATER:
                return answer
            await asyncio.sleep(_PAUSE_S)

    def _pick(self) -> Known | None:
        mine = [
            known
            for known in self._ledger.connections.values()
            if known.is_live and known.account is self._account
        ]
        return self._chance.choice(mine) if mine else None

    async def _is_there(self, known: Known) -> bool:
        # A commit may still be on its way to the database when the node that sent it is dead.
        await asyncio.sleep(5 * _PAUSE_S)
        return (await self.shown(known)).status != 404

    async def _import(self, known: Known, account: Account) -> Answer:
        server = self._nodes.servers[0]
        return await self._ask(
            "POST", "/connections", server.import_body(account, known.connection_id)
        )

    async def _ask(self, method: str, path: str, body: Any = None) -> Answer:
        server = self._nodes.any_server(self._chance)
        try:
            return await server.call(method, path, body)
        except aiohttp.ClientConnectorError:  # nothing was sent
            await asyncio.sleep(_PAUSE_S)
            return Answer(503, {}, "")
        except (aiohttp.ClientError, TimeoutError) as error:
            await asyncio.sleep(_PAUSE_S)
            raise Unsure from error

    async def _later(self, answer: Answer, doing: str) -> None:
        if answer.status not in _LATER:
            raise UnexpectedAnswer(f"{doing}: {answer.status} {answer.text[:200]}")
        await asyncio.sleep(_PAUSE_S)
