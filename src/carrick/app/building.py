"""Builds every room in order, starts the loops that keep them, and stops them in reverse.

Nothing else knows which rooms there are. `running` is the whole server without a socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from carrick.api import create_api
from carrick.api.popups import Popups
from carrick.api.services import Readiness, Services, Stopping
from carrick.app.clockwatch import ClockWatch
from carrick.app.housekeeping import Housekeeping
from carrick.connections import Connections
from carrick.credentials import FreshCredentials, Results
from carrick.deployments import Deployments
from carrick.deployments.child import Isolate
from carrick.dryrun import DryRuns
from carrick.egress import Egress, EgressPolicy
from carrick.engine import EmbeddedEngine, PostgresEngine, install_schema
from carrick.environments import (
    ApiKeys,
    ConnectSessions,
    Environments,
    Integrations,
    ProviderImports,
    Variables,
)
from carrick.errors import CarrickError, StoreInUse, StoreNewer, StoreOutdated
from carrick.journal import Journal
from carrick.lifecycle.journeys import Lifecycle
from carrick.lifecycle.progress import Progress
from carrick.lifecycle.rooms import Rooms, Timing
from carrick.lifecycle.upkeep import Upkeep
from carrick.lifecycle.wake import Wake
from carrick.lifecycle.watch import RefreshWatch
from carrick.model.clock import Chance, Clock, SystemChance, SystemClock
from carrick.model.faults import NO_FAULTS, Faults, Point
from carrick.model.http import OutboundRequest
from carrick.notify import Deliveries, Notifier
from carrick.operations import Operations
from carrick.providers import Catalogue, load_catalogue, summarised
from carrick.proxy import Proxy
from carrick.runtime.calls import CallServices
from carrick.runtime.pool import RunnerLimits, RunnerPool
from carrick.settings import Settings
from carrick.store import clocks, mailboxes
from carrick.store import environments as environment_rows
from carrick.store import journal as journal_rows
from carrick.store.clocks import DatabaseClock
from carrick.store.mailboxes import Mailbox
from carrick.store.migrate import migrate, schema_state
from carrick.store.opening import open_store, sqlite_url
from carrick.store.signals import Signals
from carrick.store.unit import Store, Tx, ping, ping_writes
from carrick.vault import OpenedVault, Vault, open_vault

_log = structlog.get_logger("carrick")
_FLUSH_S = 1.0
#: On which nodes tell each other how popups ended.
_POPUPS = "carrick_popups"
#: No connect journey of another node takes as long.
_LONGEST_JOURNEY = timedelta(hours=1)


@dataclass(frozen=True)
class App:
    """A built and running server: what the HTTP layer serves and what tests look into."""

    settings: Settings
    api: Any
    services: Services
    rooms: Rooms
    vault: OpenedVault
    #: API keys that were made on this start, by environment.
    created_keys: dict[str, str]


class _Engine:
    """Joins the port `Wake` with the engine, which needs the lifecycle that needs the port."""

    def __init__(self) -> None:
        self.engine: EmbeddedEngine | PostgresEngine | None = None

    async def wake_in(
        self, tx: Tx, mailbox: Mailbox, *, event_id: int, attempt: int, due_at: datetime
    ) -> None:
        """Hand a wake-up to the engine."""
        assert self.engine is not None, "the engine is joined before the first journey"
        await self.engine.wake_in(tx, mailbox, event_id=event_id, attempt=attempt, due_at=due_at)


@contextlib.contextmanager
def only_server(data_dir: Path) -> Iterator[None]:
    """Hold a data directory against a second server.

    Raises:
        StoreInUse: Another server holds it.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data_dir / "server.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreInUse(
                f"Another server is using {data_dir}. One server process per SQLite file: stop it, "
                "choose another CARRICK_DATA_DIR, or use Postgres."
            ) from error
        yield


@contextlib.asynccontextmanager
async def opened_store(
    settings: Settings, clock: Clock, *, migrated: bool, faults: Faults = NO_FAULTS
) -> AsyncIterator[Store]:
    """Open the store, with its schema in order.

    Args:
        settings: Where it is.
        clock: What it takes as now.
        migrated: Migrate a Postgres store as well; SQLite is always migrated.
        faults: What happens around commits.

    Raises:
        StoreOutdated: A Postgres schema has to be migrated first.
        StoreNewer: A later version migrated it, and this one would not know what it writes to.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    url = settings.database_url or sqlite_url(settings.data_dir / "carrick.db")
    store = open_store(url, clock, faults)
    await store.start()
    try:
        state = await schema_state(store)
        if state == "newer":
            raise StoreNewer
        if state != "current":
            if store.is_postgres and not migrated:
                raise StoreOutdated(
                    f"The database schema is {state}. Run `carrick migrate`, "
                    "or start with `carrick serve --migrate`."
                )
            await migrate(store)
        if store.is_postgres and migrated:
            await install_schema(store)
        yield store
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def running(
    settings: Settings,
    *,
    clock: Clock | None = None,
    chance: Chance | None = None,
    timing: Timing | None = None,
    migrate_first: bool = False,
    faults: Faults = NO_FAULTS,
) -> AsyncIterator[App]:
    """Build and start everything, and stop it in reverse order at the end."""
    chance = chance or SystemChance()
    shared = DatabaseClock(SystemClock()) if clock is None and settings.database_url else None
    clock = clock or shared or SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        if settings.database_url is None:
            stack.enter_context(only_server(settings.data_dir))
        store = await stack.enter_async_context(
            opened_store(settings, clock, migrated=migrate_first, faults=faults)
        )
        if shared is not None:
            await shared.look(store)
        opened = open_vault(
            settings, is_postgres=store.is_postgres, sealed_with=await _key_in_use(store)
        )
        egress = Egress(
            EgressPolicy(settings.egress_allow), max_answer_bytes=settings.max_answer_bytes
        )
        stack.push_async_callback(egress.close)
        joint = _Engine()
        ground = _Ground(settings, store, opened, egress, clock, chance, faults)
        tenants = await _tenants(ground)
        rooms = _rooms(ground, tenants, joint, timing or Timing())
        signals = Signals(store, clock, _POPUPS) if store.is_postgres else None
        services = _services(ground, tenants, rooms, Popups(chance, signals))
        stack.push_async_callback(rooms.fresh.close)
        stack.push_async_callback(rooms.pool.close)
        await rooms.pool.start()
        await _settle_estates(store)
        await faults.reached(Point.ESTATES_SETTLED)
        warmth = services.lifecycle.warmth
        await warmth.refresh()
        housekeeping = Housekeeping(
            store, tenants.sessions, clock, retention_days=settings.retention_days
        )
        for loop in (
            rooms.operations.run,
            rooms.notifier.run,
            _flushing(rooms),
            warmth.run,
            housekeeping.run,
            ClockWatch(store, clock).run,
            *_following(shared, store),
            tenants.imports.following(tenants.catalogue, clock),
            *_upkeep(settings, rooms),
        ):
            stack.push_async_callback(_cancelled, asyncio.create_task(_kept_going(loop, clock)))
        if signals is not None:
            hearing = asyncio.create_task(signals.run(services.popups.hear))
            stack.push_async_callback(_cancelled, hearing)
        stack.push_async_callback(_flush, rooms)
        engine = _engine(rooms, services.lifecycle)
        joint.engine = engine
        await engine.start()
        stack.push_async_callback(engine.stop, rooms.timing.stop_s)
        api = create_api(services)
        yield App(settings, api, services, rooms, opened, tenants.created_keys)


async def _key_in_use(store: Store) -> str | None:
    """Return the id of the key that wrote what is stored; `None` when nothing is yet."""
    sealed = await store.read(environment_rows.signing_keys)
    return Vault.key_of(sealed[-1][1]) if sealed else None


@dataclass(frozen=True)
class _Ground:
    """What everything else stands on."""

    settings: Settings
    store: Store
    opened: OpenedVault
    egress: Egress
    clock: Clock
    chance: Chance
    faults: Faults


@dataclass(frozen=True)
class _Tenants:
    """Environments and what is in them, and who is told about it."""

    catalogue: Catalogue
    imports: ProviderImports
    environments: Environments
    api_keys: ApiKeys
    variables: Variables
    integrations: Integrations
    sessions: ConnectSessions
    connections: Connections
    operations: Operations
    notifier: Notifier
    #: API keys that were made just now.
    created_keys: dict[str, str]


async def _tenants(ground: _Ground) -> _Tenants:
    store, clock, chance = ground.store, ground.clock, ground.chance
    settings, vault = ground.settings, ground.opened.vault
    imports = ProviderImports(store)
    catalogue = load_catalogue(settings.providers_file, await imports.definitions())
    for line in summarised(catalogue.warnings):
        _log.warning("provider_odd", reason=line)
    environments = Environments(store, vault, clock, chance)
    created = await environments.ensure_defaults(
        {name: key.get_secret_value() for name, key in settings.secret_keys.items()},
        ground.opened.keyfile,
    )
    operations = Operations(store, clock, chance)
    return _Tenants(
        catalogue=catalogue,
        imports=imports,
        environments=environments,
        api_keys=ApiKeys(store, chance, environments.recent),
        variables=Variables(store, vault),
        integrations=Integrations(store, vault, catalogue, chance),
        sessions=ConnectSessions(store, clock, chance),
        connections=Connections(store, clock),
        operations=operations,
        notifier=Notifier(
            store,
            environments,
            operations,
            send=ground.egress.send,
            clock=clock,
            chance=chance,
            webhook_urls=settings.webhook_urls,
            faults=ground.faults,
        ),
        created_keys=created,
    )


def _deployments(ground: _Ground, tenants: _Tenants, isolate: Isolate) -> Deployments:
    async def known_integrations(environment_id: int) -> set[str]:
        return {one.integration_id for one in await tenants.integrations.list(environment_id)}

    return Deployments(
        ground.store,
        ground.settings.data_dir.absolute(),
        ground.clock,
        known_integrations=known_integrations,
        memory_bytes=ground.settings.runner_memory_bytes,
        isolate=isolate,
        faults=ground.faults,
    )


def _pool(ground: _Ground, deployments: Deployments) -> RunnerPool:
    settings = ground.settings
    limits = RunnerLimits(
        memory_bytes=settings.runner_memory_bytes, concurrency=settings.runner_concurrency
    )
    return RunnerPool(limits, ground.clock, deployments.materialise, isolation=settings.isolation)


def _fresh(ground: _Ground, tenants: _Tenants) -> FreshCredentials:
    return FreshCredentials(
        store=ground.store,
        vault=ground.opened.vault,
        send=ground.egress.send,
        catalogue=tenants.catalogue,
        integrations=tenants.integrations,
        results=Results(
            store=ground.store,
            vault=ground.opened.vault,
            observer=RefreshWatch(tenants.operations, tenants.notifier, tenants.catalogue),
            clock=ground.clock,
            chance=ground.chance,
            new_operation_id=tenants.operations.new_id,
            idle=_idle(ground.settings),
        ),
        clock=ground.clock,
        chance=ground.chance,
        faults=ground.faults,
    )


def _idle(settings: Settings) -> timedelta:
    return timedelta(hours=settings.idle_hours)


def _upkeep(settings: Settings, rooms: Rooms) -> list[Callable[[], Awaitable[None]]]:
    if settings.background_refresh == 0:
        return []
    at_once, idle = settings.background_refresh, _idle(settings)
    return [Upkeep(rooms, at_once=at_once, idle=idle).run]


def _following(shared: DatabaseClock | None, store: Store) -> list[Callable[[], Awaitable[None]]]:
    return [partial(shared.follow, store)] if shared is not None else []


def _rooms(ground: _Ground, tenants: _Tenants, wake: Wake, timing: Timing) -> Rooms:
    store, vault, clock = ground.store, ground.opened.vault, ground.clock

    def isolate(readable: Sequence[Path]) -> Sequence[str]:
        return pool.isolated(readable)  # each needs the other; nothing is inspected before both are

    deployments = _deployments(ground, tenants, isolate)
    pool = _pool(ground, deployments)
    proxy = Proxy(ground.egress, clock, ground.chance)
    return Rooms(
        store=store,
        vault=vault,
        clock=clock,
        chance=ground.chance,
        catalogue=tenants.catalogue,
        environments=tenants.environments,
        integrations=tenants.integrations,
        connections=tenants.connections,
        fresh=_fresh(ground, tenants),
        deployments=deployments,
        journal=Journal(store, vault, ground.faults),
        operations=tenants.operations,
        notifier=tenants.notifier,
        proxy=proxy,
        pool=pool,
        calls=CallServices(
            store=store,
            vault=vault,
            clock=clock,
            proxy=proxy,
            egress=ground.egress,
            variables=tenants.variables,
            operations=tenants.operations,
        ),
        wake=wake,
        progress=Progress(),
        node_id=f"node-{ground.chance.token_hex(6)}",
        timing=timing,
        faults=ground.faults,
    )


def _services(ground: _Ground, tenants: _Tenants, rooms: Rooms, popups: Popups) -> Services:
    return Services(
        settings=ground.settings,
        clock=ground.clock,
        chance=ground.chance,
        catalogue=tenants.catalogue,
        environments=tenants.environments,
        api_keys=tenants.api_keys,
        variables=tenants.variables,
        integrations=tenants.integrations,
        sessions=tenants.sessions,
        connections=tenants.connections,
        credentials=rooms.fresh,
        lifecycle=Lifecycle(rooms),
        deployments=rooms.deployments,
        dry_runs=DryRuns(rooms),
        operations=tenants.operations,
        deliveries=Deliveries(ground.store, tenants.notifier.wake),
        proxy=rooms.proxy,
        popups=popups,
        ping=partial(ping, ground.store),
        ping_writes=partial(ping_writes, ground.store),
        ready=lambda: _readiness(rooms.pool),
        stopping=Stopping(),
        check_url=_url_check(ground.egress),
    )


def _readiness(pool: RunnerPool) -> Readiness:
    if pool.is_ready():
        return Readiness(True)
    reason = "Function runners cannot be started on this machine"
    return Readiness(False, f"{reason}: {pool.ailment}." if pool.ailment else f"{reason}.")


def _engine(rooms: Rooms, lifecycle: Lifecycle) -> EmbeddedEngine | PostgresEngine:
    if rooms.store.is_postgres:
        return PostgresEngine(
            rooms.store,
            drain=lifecycle.drain,
            due=lifecycle.due,
            clock=rooms.clock,
            node_id=rooms.node_id,
            turns=lifecycle.turns,
        )
    return EmbeddedEngine(
        drain=lifecycle.drain,
        due=lifecycle.due,
        clock=rooms.clock,
        node_id=rooms.node_id,
        turns=lifecycle.turns,
    )


def _url_check(egress: Egress) -> Callable[[str], Awaitable[None]]:
    async def check(url: str) -> None:
        await egress.check(OutboundRequest("GET", url))

    return check


async def _settle_estates(store: Store) -> None:
    """Take what processes that died without an end of their own have left behind.

    On SQLite this process is the only one, so whatever held a lease is dead.
    """

    async def unit(tx: Tx) -> None:
        if not store.is_postgres:
            await mailboxes.void_all(tx)
        longest = _LONGEST_JOURNEY if store.is_postgres else timedelta()
        await journal_rows.erase_unclaimed(tx, longest)
        await clocks.bring_back(tx)

    await store.write(unit)


def _flushing(rooms: Rooms) -> Callable[[], Coroutine[Any, Any, None]]:
    async def flush_forever() -> None:
        while True:
            await rooms.clock.sleep(_FLUSH_S)
            try:
                await rooms.connections.flush()
            except CarrickError as error:
                _log.debug("facts_not_written", reason=error.message)

    return flush_forever


async def _flush(rooms: Rooms) -> None:
    with contextlib.suppress(CarrickError):
        await rooms.connections.flush()
        await rooms.operations.flush()


async def _kept_going(loop: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Run a loop that must not end; what ends it is logged, and it begins again."""
    while True:
        try:
            await loop()
        except Exception as error:
            # The outermost layer of this task: nobody awaits it before the server stops.
            _log.exception("background_loop_failed", loop=repr(loop), error=str(error))
        await clock.sleep(_FLUSH_S)


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
