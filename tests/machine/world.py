"""A real server, provider and database under a clock that only this test moves.

The server can be stopped dead at any fault point: from then on nothing of it reaches the database
or the network any more, and its function processes are killed. That is what the rest of the world
sees of a SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select
from tests.machine.mortal import Clock, Mortal, is_only_death, quiet_about_death

from carrick.app import App, running
from carrick.deployments.bundle import Bundle
from carrick.environments import NewIntegration
from carrick.lifecycle.journeys import ConnectRequest
from carrick.lifecycle.rooms import Timing
from carrick.model.environment import Environment
from carrick.settings import Settings
from carrick.store.journal import EntryState
from carrick.store.tables import connections, journal_entries, lifecycle_events, notifications
from carrick.testing.clock import FakeChance
from carrick.testing.fake_provider import Account, Call, FakeProvider, Fault

T = TypeVar("T")

TIMING = Timing(busy_s=3.0, validation_s=3.0, deletion_s=3.0, stop_s=0.5)
#: Where providers can be told to misbehave.
PLACES = {
    "identity": ("GET", "/api/me"),
    "create": ("POST", "/webhooks"),
    "remove": ("DELETE", "/webhooks/*"),
    "token": ("POST", "/oauth/token"),
}
_FAULTS: dict[str, dict[str, Any]] = {
    "down": {"kind": "status", "status": 503},
    "denies": {"kind": "status", "status": 401},
    "drops": {"kind": "close"},
    "loses": {"kind": "close", "after": True},
    "hangs": {"kind": "hang"},
    "acts-and-hangs": {"kind": "hang", "after": True},
    "gateway": {"kind": "status", "status": 504, "after": True},
    "waits": {"kind": "slow", "delay_s": 2.0},
}
_STUCK_S = 60.0


class World:
    """One database, one provider, and one server after another."""

    def __init__(self, store_url: str, directory: Path, bundles: Mapping[str, Bundle]) -> None:
        self._loop = asyncio.Runner()
        self._url = store_url
        self._directory = directory
        self._bundles = bundles
        self.clock = Clock()
        self.chance = FakeChance()
        self.app: App
        self.mortal: Mortal
        self.environment: Environment
        self.overlaps: list[str] = []
        self.crashes = 0
        #: Where servers died.
        self.deaths: Counter[str] = Counter()
        self.tenants = 0
        self.is_clean = True
        self._on_stage: Counter[int] = Counter()
        self._unheard: set[int] = set()
        self._loop.run(self._open())

    async def _open(self) -> None:
        asyncio.get_running_loop().set_exception_handler(quiet_about_death)
        self.provider = FakeProvider(
            clock=self.clock,
            chance=FakeChance(seed=1),
            honour_idempotency_keys=True,
            token_lifetime_s=1e9,
            client_id="c",
        )
        await self.provider.start()
        self.accounts = {name: self.provider.add_account(name) for name in ("a", "b")}
        self._names = {one.organization_id: name for name, one in self.accounts.items()}
        await self._start()

    async def _start(self) -> None:
        is_postgres = self._url.startswith("postgres")
        settings = Settings(
            data_dir=self._directory,
            database_url=self._url if is_postgres else None,
            encryption_key="AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            egress_allow=("127.0.0.0/8",),
            background_refresh=0,  # credentials are refreshed when somebody asks for it
            providers_file=Path(__file__).with_name("providers.yaml"),
        )
        self.mortal = mortal = Mortal()
        self._running = running(
            settings,
            clock=self.clock,
            chance=self.chance,
            timing=TIMING,
            migrate_first=is_postgres,
            faults=mortal,
        )
        self.app = await self._running.__aenter__()
        self._on_stage.clear()
        store: Any = self.app.rooms.store
        egress: Any = self.app.rooms.calls.egress
        pool: Any = self.app.rooms.pool
        self._read = store.read
        write, read, ask, run = store.write, store.read, egress._ask, pool.run
        store.write = lambda unit: mortal.through("store", lambda: write(unit))
        store.read = lambda unit, **how: mortal.through("store", lambda: read(unit, **how))
        egress._ask = lambda *what: mortal.through("egress", lambda: ask(*what))
        pool.run = lambda job, calls: self._watched(run, job, calls)

    async def _watched(self, run: Any, job: Any, calls: Any) -> Any:
        """See to it that functions of one connection never overlap."""
        existing = getattr(calls.subject, "existing", None)
        row_id = calls.connection_row_id or (existing.row_id if existing is not None else None)
        if row_id is not None and self._on_stage[row_id]:
            self.overlaps.append(f"{job.function} of connection {row_id}")
        self._on_stage[row_id] += 1
        try:
            return await run(job, calls)
        finally:
            self._on_stage[row_id] -= 1

    def close(self) -> None:
        """Stop everything."""
        self._loop.run(self._die())
        self._loop.run(self.provider.stop())
        self._loop.close()

    # --- time -------------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something to its end, moving the clock only when everything waits for it."""
        return self._loop.run(self._driven(work))

    def run_at_once(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something to its end that takes no time but that of other processes."""
        return self._loop.run(work)

    async def _driven(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.ensure_future(work)
        try:
            async with asyncio.timeout(_STUCK_S):
                while not task.done():
                    await self._calm({task})
                    if not task.done():
                        self.clock.move(0.5)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=1)
        return await task

    async def _calm(self, tasks: set[asyncio.Task[Any]] | None = None) -> None:
        """Come back when everything waits for time to pass, or a task is done."""
        quiet = 0
        while quiet < 3 and not (self.mortal.is_dead and not tasks):
            if tasks:
                done, _ = await asyncio.wait(tasks, timeout=0.002)
                if done:
                    return
            else:
                await asyncio.sleep(0.002)
            quiet = 0 if self._is_busy() else quiet + 1

    def _is_busy(self) -> bool:
        """Whether something goes on that needs no time to pass."""
        if self.mortal.is_dead:
            return False
        under_way = self.mortal.under_way
        if not under_way["egress"]:
            self._unheard |= {call.number for call in self.held()}
        held = min(len(self.held()), under_way["egress"])
        seats = self.app.rooms.pool._seats
        loads = sum(seat.runner.load for seat in seats if not seat.runner.has_ended)
        starting = any(not seat.starting.done() for seat in seats)
        at_work = under_way["store"] > 0 or under_way["egress"] > held or loads > held
        return starting or at_work

    async def until_held(self) -> None:
        """Come back when the provider holds a call back."""
        await self.provider.until(lambda: bool(self.held()))

    def held(self) -> list[Call]:
        """Return the calls that the provider has taken and does not answer for now."""
        return [
            call
            for call in self.provider.calls
            if call.fault in ("hang", "slow")
            and call.status is None
            and call.number not in self._unheard
        ]

    async def settled(self) -> None:
        """Come back when nothing is left to do before more time passes."""
        for _ in range(200):
            await self._calm()
            if self.mortal.is_dead:
                return
            if not await self._is_any_due():
                return
            self.clock.move(1.0)
        raise AssertionError(f"it does not settle: {await self._events()}")

    async def _is_any_due(self) -> bool:
        events, told = lifecycle_events.c, notifications.c
        now = self.clock.now()

        async def unit(tx: Any) -> bool:
            found = await tx.rows(
                select(events.connection_row_id, events.position, events.due_at)
                .where(events.state.in_(("waiting", "running")))
                .order_by(events.position)
            )
            heads: dict[int, Any] = {}
            for row in found:
                heads.setdefault(row.connection_row_id, row)
            if any(row.due_at <= now for row in heads.values()):
                return True
            waiting = select(told.id).where(told.state == "waiting", told.due_at <= now)
            if await tx.row(waiting) is not None:
                return True
            # A dead node's lease without anything to do is nobody's business: it just ends.
            held = select(connections.c.id).where(connections.c.mailbox_until >= now)
            return await tx.row(held) is not None

        return await self._read(unit)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass at once."""
        self.clock.move(max(0.0, seconds))
        await self.settled()

    # --- dying ------------------------------------------------------------------------------

    async def crash(self) -> None:
        """Stop the server dead and start another on what it left."""
        self.deaths[str(self.mortal.died_at or "at rest")] += 1
        await self._die()
        self.crashes += 1
        await self._start()

    async def _die(self) -> None:
        self.mortal.is_dead = True
        for pid in self.app.rooms.pool.processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._unheard |= {call.number for call in self.held()}
        end = asyncio.ensure_future(self._running.__aexit__(None, None, None))
        async with asyncio.timeout(_STUCK_S):
            while not end.done():  # what ends in order waits a moment for what runs
                await asyncio.wait({end}, timeout=0.01)
                self.clock.move(0.25)
        error = end.exception()
        if error is not None and not is_only_death(error):
            raise error

    def kill_runners(self) -> None:
        """Kill every function process."""
        for pid in self.app.rooms.pool.processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._unheard |= {call.number for call in self.held()}

    # --- a tenant ---------------------------------------------------------------------------

    async def move_in(self) -> None:
        """Make an environment of its own."""
        self.tenants += 1
        environments = self.app.rooms.environments
        made = await environments.create(f"tenant-{self.tenants}")
        self.environment = await environments.update_settings(
            made.environment.row_id,
            {"primary_url": self.provider.notification_url, "on_connection_deletion": True},
        )
        await self.make_integration()

    async def make_integration(self) -> None:
        """Make the integration everything belongs to."""
        client = {
            "type": "OAUTH2",
            "client_id": self.provider.client_id,
            "client_secret": self.provider.client_secret,
        }
        await self.app.rooms.integrations.create(
            self.environment.row_id,
            NewIntegration(integration_id="ledger", provider="ledger", credentials=client),
        )

    async def deploy(self, edition: str) -> int:
        """Deploy an edition and return the deployment's number."""
        deployed = await self.app.rooms.deployments.deploy(
            self.environment.row_id, self._bundles[edition], allow_removals=True
        )
        return deployed.number

    def request(self, id_: str, account: str, metadata: Mapping[str, Any] | None) -> ConnectRequest:
        """Return a request to connect an account."""
        tokens: Account = self.provider.issue_tokens(self.accounts[account])
        return ConnectRequest(
            environment=self.environment,
            integration_id="ledger",
            source="import",
            body={
                "type": "OAUTH2",
                "access_token": tokens.access_token,
                "refresh_token": tokens.refresh_token,
            },
            connection_id=id_,
            connection_config={"base_url": self.provider.url},
            metadata=metadata,
        )

    def trouble(self, where: str, kind: str, times: int | None = None) -> Fault:
        """Have the provider misbehave."""
        method, path = PLACES[where]
        return self.provider.fail(**_FAULTS[kind], method=method, path=path, times=times)

    def forget(self, fault: Fault) -> None:
        """Switch one fault off, if it is still on."""
        active = self.provider._state.faults._active
        if fault in active:
            active.remove(fault)

    # --- looking ----------------------------------------------------------------------------

    async def rows(self) -> list[Any]:
        """Return the connections of this tenant, oldest first."""
        table = connections
        mine = table.c.environment_id == self.environment.row_id
        return list(
            await self._read(lambda tx: tx.rows(select(table).where(mine).order_by(table.c.id)))
        )

    async def _events(self) -> list[Any]:
        table = lifecycle_events
        mine = table.c.environment_id == self.environment.row_id
        order = (table.c.connection_row_id, table.c.position)
        return list(
            await self._read(lambda tx: tx.rows(select(table).where(mine).order_by(*order)))
        )

    async def told(self) -> list[Any]:
        """Return the notifications of this tenant, in order."""
        table = notifications
        mine = table.c.environment_id == self.environment.row_id
        order = (table.c.connection_row_id, table.c.sequence)
        return list(
            await self._read(lambda tx: tx.rows(select(table).where(mine).order_by(*order)))
        )

    async def events(self) -> dict[int, list[Any]]:
        """Return the events of this tenant, by connection."""
        found: dict[int, list[Any]] = {}
        for event in await self._events():
            found.setdefault(event.connection_row_id, []).append(event)
        return found

    async def in_doubt(self) -> set[str]:
        """Return the runs that do not know what became of a write."""
        entries = journal_entries.c
        doubtful = select(entries.run_id).where(
            entries.state == EntryState.SENDING.value, entries.method != "METADATA"
        )
        return {row.run_id for row in await self._read(lambda tx: tx.rows(doubtful))}

    async def snapshot(self) -> list[dict[str, Any]]:
        """Return what the store and the provider show, as the model says it."""
        rows, events, told = await self.rows(), await self.events(), await self.told()
        in_doubt = await self.in_doubt()
        urls = Counter(hook.url.rpartition("/")[2] for hook in self.provider.webhooks)
        shown = []
        for row in rows:
            metadata = dict(row.metadata or {})
            hooks = metadata.pop("hooks", [])
            usable = row.state in ("active", "auth_error")
            shown.append(
                {
                    "id": row.connection_id,
                    "state": row.state,
                    "cause": row.error_cause if usable else None,
                    "account": await self._account(row),
                    "recorded": self._names.get(row.account_id, row.account_id),
                    "metadata": metadata,
                    "hooks": len(hooks),
                    "setup": row.setup if usable else None,
                    "told": [one.kind for one in told if one.connection_row_id == row.id],
                    "events": [
                        (
                            e.function,
                            e.state,
                            e.attempt,
                            urls[e.run_id],
                            e.state in ("waiting", "parked") and e.run_id in in_doubt,
                        )
                        for e in events.get(row.id, [])
                    ],
                }
            )
        return shown

    async def _account(self, row: Any) -> str | None:
        """Return whose the stored credentials are, as the provider sees it."""
        if row.credentials is None:
            return None
        credentials = await self.app.rooms.fresh.stored(row.id)
        token = credentials.values["access_token"]
        found = self.provider._state.accounts.identify(f"Bearer {token}", None)
        return found.name if found is not None else "nobody"
