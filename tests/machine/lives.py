"""What the machine's steps are made of: doing it, dying in it, and comparing with the model."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

from hypothesis.stateful import RuleBasedStateMachine
from tests.machine.model import Conn, Event, Model
from tests.machine.mortal import Died, Stopped
from tests.machine.world import World

from carrick.errors import (
    CarrickError,
    ConnectionValidationFailed,
    ConnectionValidationUnavailable,
)
from carrick.lifecycle.journeys import ConnectRequest
from carrick.testing.fake_provider import Fault

T = TypeVar("T")


class Life(RuleBasedStateMachine):
    """One tenant of a world, and what the model says of it."""

    worlds: Worlds
    model: Model

    def __init__(self) -> None:
        super().__init__()
        self.world = self.worlds.current()
        self.world.is_clean = False
        self.fault: Fault | None = None
        #: Editions by the number of their deployment.
        self.numbers: dict[int, str] = {}

    # --- the end ----------------------------------------------------------------------------

    def teardown(self) -> None:
        """Settle everything, delete everything: nothing may be left but what the model says."""
        if sys.exc_info()[0] is not None or not hasattr(self, "model"):
            return  # it has failed already
        self._wind_up()
        self.world.is_clean = True

    def _wind_up(self) -> None:
        self.world.provider.recover()
        self.model.troubles.clear()
        self._pass(1)
        self.world.run_at_once(self.world.deploy("plain"))
        self.model.deploy("plain")
        for id_ in self._usable():
            self.world.run(self._delete(id_))
            self.model.delete(id_)
        for _ in range(200):
            self._settle()
            due, left = self.model.next_due(), self.model.cleanups()
            if due is not None:
                self._pass((due - self.world.clock.now()).total_seconds())
            elif left:
                conn, event = left[0]
                self.world.run(self._force(conn, event))
                self.model.force(conn, event)
            else:
                break
        assert all(conn.state == "gone" for conn in self.model.conns)
        self.world.run(self.world.app.services.lifecycle.delete_environment(self.world.environment))
        self._settle()
        self._check_notifications()
        self.world.provider._state.webhooks.clear()

    def _check_notifications(self) -> None:
        received: dict[str, list[int]] = {}
        for number, one in enumerate(self.world.provider.notifications):
            received.setdefault(one.headers["webhook-id"], []).append(number)
        first: dict[int, int] = {}
        for row in self.world.run(self.world.told()):
            assert row.state == "delivered"
            assert row.id in received, f"{row.kind} never arrived"
            assert received[row.id][0] > first.get(row.connection_row_id, -1), "out of order"
            first[row.connection_row_id] = received[row.id][0]
            assert len(received[row.id]) == 1 or self.world.crashes, "arrived twice"

    # --- doing ------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Let everything happen that needs no more time, and compare with the model."""
        self.world.run(self.world.settled())
        if self.fault is not None:
            self.world.forget(self.fault)
            self.fault = None
        self.model.run_due(self.world.clock.now())
        self.model.stumble = None
        shown, expected = self.world.run(self.world.snapshot()), self.model.snapshot()
        assert shown == expected, _differences(shown, expected)
        assert not self.world.overlaps
        self._read_due()

    def _read_due(self) -> None:
        """Take over when exactly things are due; the model knows about when."""
        events = self.world.run(self.world.events())
        rows = self.world.run(self.world.rows())
        for row, conn in zip(rows, self.model.conns, strict=True):
            for real, event in zip(events.get(row.id, []), conn.events, strict=True):
                if event.is_open:
                    off = (real.due_at - event.due).total_seconds()
                    assert abs(off) < 40, f"{event.name} is due {off} s off"
                    event.due = real.due_at

    def _pass(self, seconds: float) -> None:
        self.world.run(self.world.pass_time(seconds))
        self._settle()

    def _stumble(self, stumble: tuple[str, str] | None) -> None:
        """Have the provider fail the next call of a kind, once."""
        if stumble is not None and stumble[0] not in self.model.troubles:
            self.fault = self.world.trouble(*stumble, times=1)
            self.model.stumble = stumble

    def _dying(
        self,
        death: int,
        step: Callable[[], Coroutine[Any, Any, Any]],
        expected: Callable[[Model], Any],
    ) -> None:
        """Take a step on a server that dies in it: it is done, or as if it had not begun."""
        self.world.mortal.stop_after(death)
        with contextlib.suppress(CarrickError, Died, Stopped):
            self.world.run(step())
        with contextlib.suppress(Died, Stopped):
            self.world.run(self.world.settled())
        self.world.run_at_once(self.world.crash())
        self.world.run(self.world.settled())
        shown = self.world.run(self.world.snapshot())
        possible = list(self._possible(expected))
        self.model = next((one for one in possible if one.snapshot() == shown), possible[0])
        self._settle()

    def _possible(self, expected: Callable[[Model], Any]) -> Iterator[Model]:
        """Yield what may be after a death: the step is done or not, and a write or two in doubt."""
        now = self.world.clock.now()
        for takes in (expected, lambda _: None):
            begun = copy.deepcopy(self.model)
            takes(begun)
            doubts = begun.doubts()
            for count in range(3):
                for left in combinations(doubts, count):
                    model = copy.deepcopy(begun)
                    for doubt in left:
                        model.doubt(*doubt)
                    model.run_due(now)
                    yield model

    def _connected(self, request: ConnectRequest) -> str:
        try:
            self.world.run(self.world.app.services.lifecycle.connect(request))
        except ConnectionValidationFailed:
            return "refused"
        except ConnectionValidationUnavailable:
            return "undecided"
        return "accepted"

    async def _delete(self, id_: str) -> str:
        lifecycle = self.world.app.services.lifecycle
        deletion = await lifecycle.delete_connection(self.world.environment, "ledger", id_)
        return deletion.state

    async def _merge(self, id_: str, changes: dict[str, Any]) -> None:
        await self.world.app.rooms.connections.write_metadata(
            self.world.environment.row_id, "ledger", [id_], changes, merge=True
        )

    async def _event(self, conn: Conn, event: Event) -> Any:
        rows, events = await self.world.rows(), await self.world.events()
        row = rows[self.model.conns.index(conn)]
        return events[row.id][conn.events.index(event)]

    async def _retry(self, conn: Conn, event: Event) -> None:
        real = await self._event(conn, event)
        lifecycle = self.world.app.services.lifecycle
        await lifecycle.retry_cleanup(self.world.environment.row_id, real.id)

    async def _force(self, conn: Conn, event: Event) -> None:
        real = await self._event(conn, event)
        lifecycle = self.world.app.services.lifecycle
        await lifecycle.force_cleanup(self.world.environment.row_id, real.id, "it is enough")

    async def _retry_operation(self, conn: Conn, event: Event) -> None:
        real = await self._event(conn, event)
        lifecycle = self.world.app.services.lifecycle
        await lifecycle.retry_operation(self.world.environment.row_id, real.operation_id)

    async def _row_id(self, id_: str) -> int:
        found = await self.world.app.rooms.connections.find(
            self.world.environment.row_id, "ledger", id_
        )
        assert found is not None
        return found.row_id

    def _beginning(self) -> str | None:
        """Return a free id under which a connect would begin a setup that calls the provider."""
        model = copy.deepcopy(self.model)
        free = next((id_ for id_ in ("one", "two") if model.find(id_) is None), None)
        if free is None or "create" in model.troubles:
            return None
        is_accepted = model.connect(free, "a", None) == "accepted"
        return free if is_accepted else None

    def _usable(self) -> list[str]:
        return [conn.id for conn in self.model.conns if conn.is_usable]

    def _failed_setups(self) -> list[tuple[Conn, Event]]:
        return [
            (conn, event)
            for conn in self.model.conns
            if conn.is_usable
            for event in conn.events
            if event.state == "failed"
        ]


class Worlds:
    """One world for many examples, and another whenever one has failed."""

    def __init__(self, fresh_data: Callable[[], tuple[str, Path]], bundles: Any) -> None:
        self._fresh_data = fresh_data
        self._bundles = bundles
        self._world: World | None = None
        self.tenants = 0
        self.deaths: Counter[str] = Counter()

    def current(self) -> World:
        """Return a world in which nothing has gone wrong yet."""
        if self._world is not None and not self._world.is_clean:
            self.close()
        if self._world is None:
            self._world = World(*self._fresh_data(), self._bundles)
        return self._world

    def close(self) -> None:
        """Stop what runs."""
        if self._world is not None:
            self.deaths += self._world.deaths
            self.tenants += self._world.tenants
        if self._world is not None:
            world, self._world = self._world, None
            world.close()


def _differences(shown: list[dict[str, Any]], expected: list[dict[str, Any]]) -> str:
    """Say what is not as the model has it, connection by connection."""
    lines = [f"{len(shown)} connections instead of {len(expected)}"]
    for number, (real, wanted) in enumerate(zip(shown, expected, strict=False)):
        lines += [
            f"#{number} {name}: {real[name]!r} instead of {wanted[name]!r}"
            for name in wanted
            if real[name] != wanted[name]
        ]
    return "\n".join(lines)


def picked(these: Sequence[T], pick: int) -> T | None:
    """Return one of these; a number decides, so that the choice does not depend on them."""
    return these[pick % len(these)] if these else None
