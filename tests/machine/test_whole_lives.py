"""The lifecycle as a state machine: any order of steps, any fault, checked against a small model.

A step is taken on a real server, on a real database, with real function processes, under a clock
that only the machine moves. After every step that has settled, the store and the provider must
show exactly what the model says (`model.py`). A server that is stopped dead in the middle of a
step leaves the world as if the step had not begun, or as done.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    rule,
    run_state_machine_as_test,
)
from tests.machine.editions import EDITIONS, write_bundles
from tests.machine.lives import Life, Worlds, picked
from tests.machine.model import TROUBLES, Model
from tests.machine.world import PLACES

from carrick.environments import IntegrationChanges
from carrick.errors import (
    CarrickError,
    ConnectionValidationFailed,
    UnknownConnection,
)
from carrick.lifecycle.journeys import ConnectRequest

#: With every `make test`. What it finds, `make machine` makes small.
SHORT = settings(
    max_examples=5,
    stateful_step_count=12,
    phases=[Phase.generate],
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

IDS = st.sampled_from(["one", "two"])
ACCOUNTS = st.sampled_from(["a", "b"])
METADATA = st.sampled_from([None, None, {"plan": 1}, {"plan": 2}])
STUMBLES = st.none() | st.tuples(
    st.sampled_from(["identity", "create", "remove"]), st.sampled_from(sorted(TROUBLES))
)
#: Which of the things that can be chosen is.
PICKS = st.integers(0, 5)
#: How many fault points a server passes before it dies.
DEATHS = st.integers(0, 40)


class Lifecycle(Life):
    """One tenant's life."""

    @initialize(edition=st.sampled_from(sorted(EDITIONS)))
    def move_in(self, edition: str) -> None:
        """Start with an empty environment and something deployed."""
        self.world.run_at_once(self.world.move_in())
        self.model = Model(self.world.clock.now())
        self.numbers = {self.world.run_at_once(self.world.deploy(edition)): edition}
        self.model.deploy(edition)

    # --- steps ------------------------------------------------------------------------------

    @rule(id_=IDS, account=ACCOUNTS, metadata=METADATA, stumble=STUMBLES)
    def connect(
        self, id_: str, account: str, metadata: Any, stumble: tuple[str, str] | None
    ) -> None:
        """Connect or reconnect."""
        self._stumble(stumble)
        verdict = self._connected(self.world.request(id_, account, metadata))
        assert verdict == self.model.connect(id_, account, metadata)
        self._settle()

    @rule(pick=PICKS, number=st.integers(1, 3))
    def write_metadata(self, pick: int, number: int) -> None:
        """Write metadata through the API."""
        id_ = picked(self._usable(), pick)
        if id_ is None:
            return
        self.world.run(self._merge(id_, {"note": number}))
        self.model.merge(id_, {"note": number})
        self._settle()

    @rule(pick=PICKS)
    def refresh(self, pick: int) -> None:
        """Refresh by force."""
        id_ = picked(self._usable(), pick)
        if id_ is None:
            return
        row_id = self.world.run(self._row_id(id_))
        try:
            self.world.run(self.world.app.rooms.fresh.get(row_id, force=True))
            worked = True
        except CarrickError:
            worked = False
        assert worked == self.model.refresh(id_)
        self._settle()
        self._pass(31)  # until then a failure keeps everybody from trying

    @rule(pick=PICKS, stumble=STUMBLES)
    def delete(self, pick: int, stumble: tuple[str, str] | None) -> None:
        """Delete a connection."""
        id_ = picked(self._usable(), pick)
        if id_ is None:
            return
        self._stumble(stumble)
        state = self.world.run(self._delete(id_))
        conn = self.model.delete(id_)
        self._settle()
        if state in ("done", "parked"):
            assert state == ("done" if conn.state == "gone" else "parked")
        else:  # it was still going on when the answer was due, and may have ended since
            assert state in ("pending", "retrying")

    @rule(pick=PICKS)
    def delete_twice_at_once(self, pick: int) -> None:
        """Two deletes at once clean up once."""
        id_ = picked(self._usable(), pick)
        if id_ is None:
            return

        async def both() -> list[Any]:
            return await asyncio.gather(
                self._delete(id_), self._delete(id_), return_exceptions=True
            )

        answers = self.world.run(both())
        self.model.delete(id_)
        self._settle()
        assert sum(isinstance(answer, str) for answer in answers) >= 1
        assert all(isinstance(answer, str | UnknownConnection) for answer in answers)

    @rule(
        second=st.sampled_from(
            ["delete", "reconnect", "another account", "integration", "crash", "runner killed"]
        )
    )
    def while_a_setup_runs(self, second: str) -> None:
        """Something else is asked for while a setup waits for the provider."""
        id_ = self._beginning()
        if id_ is None:
            return
        self.fault = self.world.trouble("create", "waits", times=1)
        account = "b" if second == "another account" else "a"
        first = self.world.request(id_, "a", None)
        again = self.world.request(id_, account, None)
        self.world.run(self._at_once(first, second, again))
        if second == "crash":
            self.world.run_at_once(self.world.crash())
        # A killed runner is an interruption, as a crash is: the setup goes on under the same key.
        self.model.connect(id_, "a", None)
        self.model.run_due(self.world.clock.now())
        if second == "delete":
            self.model.delete(id_)
        elif second == "integration":
            self._without_integration()
        elif second in ("reconnect", "another account"):
            self.model.connect(id_, account, None)
        self._settle()

    async def _at_once(self, first: ConnectRequest, second: str, again: ConnectRequest) -> None:
        """Connect, and do something else while the provider holds the setup's call back."""
        lifecycle = self.world.app.services.lifecycle
        await lifecycle.connect(first)
        await self.world.until_held()
        if second == "delete":
            await self._delete(str(first.connection_id))
        elif second == "integration":
            await lifecycle.delete_integration(self.world.environment, "ledger")
        elif second == "runner killed":
            self.world.kill_runners()
            await self.world.clock.sleep(3)  # the provider goes on with what it was asked
        elif second != "crash":
            with contextlib.suppress(ConnectionValidationFailed):
                await lifecycle.connect(again)

    @rule(edition=st.sampled_from(sorted(EDITIONS)))
    def deploy(self, edition: str) -> None:
        """Deploy another edition."""
        self._pass(1)
        self.numbers[self.world.run_at_once(self.world.deploy(edition))] = edition
        self.model.deploy(edition)
        self._settle()

    @rule(pick=PICKS)
    def roll_back(self, pick: int) -> None:
        """Make an earlier deployment the active one."""
        number = picked(sorted(self.numbers), pick)
        assert number is not None
        self._pass(1)
        deployments = self.world.app.rooms.deployments
        self.world.run(deployments.rollback(self.world.environment.row_id, number))
        self.model.deploy(self.numbers[number])
        self._settle()

    @rule(where=st.sampled_from(sorted(PLACES)), kind=st.sampled_from(sorted(TROUBLES)))
    def trouble(self, where: str, kind: str) -> None:
        """The provider begins to misbehave."""
        if where == "token" and TROUBLES[kind].takes_long:
            return  # how long a token endpoint gets is measured in real time
        if where not in self.model.troubles:
            self.world.trouble(where, kind)
            self.model.troubles[where] = kind

    @rule()
    def recover(self) -> None:
        """The provider is well again."""
        self.world.provider.recover()
        self.model.troubles.clear()

    @rule(times=st.integers(1, 4))
    def pass_time(self, times: int) -> None:
        """Time passes until something is due."""
        for _ in range(times):
            due = self.model.next_due()
            if due is not None:
                self._pass((due - self.world.clock.now()).total_seconds())

    @rule()
    def pass_a_day(self) -> None:
        """A day passes, one due thing after the other."""
        end = self.world.clock.now().timestamp() + 86_400
        while (due := self.model.next_due()) is not None and due.timestamp() < end:
            self._pass((due - self.world.clock.now()).total_seconds())
        self._pass(max(0.0, end - self.world.clock.now().timestamp()))

    @rule(pick=PICKS, is_forced=st.booleans())
    def see_to_a_cleanup(self, pick: int, is_forced: bool) -> None:
        """A person retries or forces a cleanup."""
        found = picked(self.model.cleanups(), pick)
        if found is None:
            return
        conn, event = found
        if is_forced:
            self.world.run(self._force(conn, event))
            self.model.force(conn, event)
        else:
            self.world.run(self._retry(conn, event))
            self.model.retry(conn, event)
        self._settle()

    @rule(pick=PICKS)
    def retry_a_setup(self, pick: int) -> None:
        """A person has a failed setup run again."""
        found = picked(self._failed_setups(), pick)
        if found is None:
            return
        conn, event = found
        self.world.run(self._retry_operation(conn, event))
        self.model.retry(conn, event)
        self._settle()

    @rule(keeps=st.booleans())
    def change_integration(self, keeps: bool) -> None:
        """What a refused reconnect does is a setting."""
        change = IntegrationChanges(on_refused_reconnect="keep" if keeps else "auth_error")
        self.world.run(
            self.world.app.rooms.integrations.update(
                self.world.environment.row_id, "ledger", change
            )
        )
        self.model.keeps_refused = keeps

    @rule()
    def delete_integration(self) -> None:
        """Delete the integration with all that hangs on it, and make one of the same id."""
        lifecycle = self.world.app.services.lifecycle
        self.world.run(lifecycle.delete_integration(self.world.environment, "ledger"))
        self._without_integration()
        self._settle()

    def _without_integration(self) -> None:
        for id_ in self._usable():
            self.model.delete(id_)
        self.model.keeps_refused = False
        self.world.run_at_once(self.world.make_integration())

    # --- death ------------------------------------------------------------------------------

    @rule()
    def crash(self) -> None:
        """The server dies while nothing is under way."""
        self.world.run_at_once(self.world.crash())
        self._settle()

    @rule(id_=IDS, account=ACCOUNTS, metadata=METADATA, death=DEATHS)
    def crash_in_connect(self, id_: str, account: str, metadata: Any, death: int) -> None:
        """The server dies somewhere in a connect or in what follows."""
        request = self.world.request(id_, account, metadata)
        self._dying(
            death,
            lambda: self.world.app.services.lifecycle.connect(request),
            lambda model: model.connect(id_, account, metadata),
        )

    @rule(pick=PICKS, death=DEATHS)
    def crash_in_delete(self, pick: int, death: int) -> None:
        """The server dies somewhere in a delete or in its cleanup."""
        id_ = picked(self._usable(), pick)
        if id_ is None:
            return
        self._dying(death, lambda: self._delete(id_), lambda model: model.delete(id_))

    @rule(death=DEATHS)
    def crash_in_a_function(self, death: int) -> None:
        """The server dies somewhere in what is due."""
        due = self.model.next_due()
        if due is None:
            return
        left = (due - self.world.clock.now()).total_seconds()
        self._dying(death, lambda: self.world.pass_time(left), lambda model: None)

    @rule(pick=PICKS, is_forced=st.booleans(), death=DEATHS)
    def crash_in_seeing_to_a_cleanup(self, pick: int, is_forced: bool, death: int) -> None:
        """The server dies when a person retries or forces a cleanup."""
        found = picked(self.model.cleanups(), pick)
        if found is None:
            return
        step = self._force if is_forced else self._retry
        conn, event = found

        def expected(model: Model) -> None:
            again = picked(model.cleanups(), pick)
            assert again is not None
            (model.force if is_forced else model.retry)(*again)

        self._dying(death, lambda: step(conn, event), expected)


@pytest.fixture
def worlds(fresh_data: Callable[[], tuple[str, Path]], tmp_path: Path) -> Iterator[Worlds]:
    """Worlds on one kind of database."""
    made = Worlds(fresh_data, write_bundles(tmp_path / "projects"))
    yield made
    made.close()


def test_the_lifecycle_is_as_the_model_says(worlds: Worlds) -> None:
    """Any order of steps and faults leaves the store and the provider as the model says."""
    machine = type("Lifecycle", (Lifecycle,), {"worlds": worlds})
    if settings.get_current_profile_name() != "machine":
        run_state_machine_as_test(machine, settings=SHORT)
        return
    end = time.monotonic() + 60 * float(os.environ.get("MINUTES", "15"))
    while time.monotonic() < end:
        run_state_machine_as_test(machine)
    worlds.close()
    print(f"\n{worlds.tenants} tenants; servers died:")
    for where, count in worlds.deaths.most_common():
        print(f"{count:5} {where}")
