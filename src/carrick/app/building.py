"""Builds every room from those below it, and the engine above them. Nothing is started here.

Nothing else knows which rooms there are, and what each of them needs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import structlog

from carrick.api.popups import Popups
from carrick.api.services import Load, Readiness, Services, Stopping
from carrick.connections import Connections
from carrick.credentials import FreshCredentials, Results
from carrick.deployments import Deployments
from carrick.deployments.child import Isolate
from carrick.dryrun import DryRuns
from carrick.egress import Egress
from carrick.engine import EmbeddedEngine, PostgresEngine
from carrick.environments import (
    ApiKeys,
    ConnectSessions,
    Environments,
    Integrations,
    ProviderImports,
    Variables,
    of_no_environment,
)
from carrick.journal import Journal
from carrick.lifecycle.journeys import Lifecycle
from carrick.lifecycle.progress import Progress
from carrick.lifecycle.rooms import Rooms, Timing
from carrick.lifecycle.turns import Turns
from carrick.lifecycle.wake import Wake
from carrick.lifecycle.watch import RefreshWatch
from carrick.model.clock import Chance, Clock
from carrick.model.faults import Faults
from carrick.model.http import OutboundRequest
from carrick.notify import Deliveries, Notifier
from carrick.operations import Operations
from carrick.providers import Catalogue, load_catalogue, summarised
from carrick.proxy import Proxy
from carrick.runtime.calls import CallServices
from carrick.runtime.pool import RunnerLimits, RunnerPool
from carrick.settings import Settings
from carrick.store import backlog
from carrick.store.mailboxes import Mailbox
from carrick.store.unit import Store, Tx, ping, ping_writes
from carrick.vault import OpenedVault

_log = structlog.get_logger("carrick")


@dataclass(frozen=True)
class Ground:
    """What everything else stands on."""

    settings: Settings
    store: Store
    opened: OpenedVault
    egress: Egress
    clock: Clock
    chance: Chance
    faults: Faults
    node_id: str


@dataclass(frozen=True)
class Tenants:
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


async def build_tenants(ground: Ground) -> Tenants:
    """Build what is there by environment; on a first start the default environments are made."""
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
    if settings.webhook_urls:
        names = [each.name for each in await environments.list()]
        for name in of_no_environment(settings.webhook_urls, names):
            _log.warning("webhook_url_unused", setting=f"CARRICK_WEBHOOK_URL_{name.upper()}")
    operations = Operations(store, clock, chance)
    return Tenants(
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


def _deployments(ground: Ground, isolate: Isolate) -> Deployments:
    return Deployments(
        ground.store,
        ground.settings.data_dir.absolute(),
        ground.clock,
        memory_bytes=ground.settings.runner_memory_bytes,
        isolate=isolate,
        faults=ground.faults,
    )


def _pool(ground: Ground, deployments: Deployments) -> RunnerPool:
    settings = ground.settings
    limits = RunnerLimits(
        memory_bytes=settings.runner_memory_bytes, concurrency=settings.runner_concurrency
    )
    return RunnerPool(
        limits, ground.clock, deployments.bundles.materialise, isolation=settings.isolation
    )


def _fresh(ground: Ground, tenants: Tenants) -> FreshCredentials:
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
            idle=idle_of(ground.settings),
        ),
        clock=ground.clock,
        chance=ground.chance,
        faults=ground.faults,
    )


def idle_of(settings: Settings) -> timedelta:
    """Return after how long credentials nobody asks for are left alone."""
    return timedelta(hours=settings.idle_hours)


def build_rooms(ground: Ground, tenants: Tenants, wake: Wake, timing: Timing) -> Rooms:
    """Build what the journeys work with."""
    store, vault, clock = ground.store, ground.opened.vault, ground.clock

    def isolate(readable: Sequence[Path]) -> Sequence[str]:
        return pool.isolated(readable)  # each needs the other; nothing is inspected before both are

    deployments = _deployments(ground, isolate)
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
        node_id=ground.node_id,
        timing=timing,
        faults=ground.faults,
    )


def build_services(ground: Ground, tenants: Tenants, rooms: Rooms, popups: Popups) -> Services:
    """Build what the API answers with."""
    lifecycle = Lifecycle(rooms)
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
        lifecycle=lifecycle,
        deployments=rooms.deployments,
        dry_runs=DryRuns(rooms),
        operations=tenants.operations,
        deliveries=Deliveries(ground.store, tenants.notifier.wake),
        proxy=rooms.proxy,
        popups=popups,
        ping=partial(ping, ground.store),
        ping_writes=partial(ping_writes, ground.store),
        ready=lambda: _readiness(rooms.pool),
        load=lambda: _load(rooms.pool, lifecycle.turns),
        backlog=partial(backlog.count, ground.store),
        stopping=Stopping(),
        check_url=_url_check(ground.egress),
    )


def _readiness(pool: RunnerPool) -> Readiness:
    if pool.is_ready():
        return Readiness(True)
    reason = "Function runners cannot be started on this machine"
    return Readiness(False, f"{reason}: {pool.ailment}." if pool.ailment else f"{reason}.")


def _load(pool: RunnerPool, turns: Turns) -> Load:
    return Load(len(pool.processes), turns.taken, turns.places, turns.outages)


def _url_check(egress: Egress) -> Callable[[str], Awaitable[None]]:
    async def check(url: str) -> None:
        await egress.check(OutboundRequest("GET", url))

    return check


def build_engine(rooms: Rooms, lifecycle: Lifecycle) -> EmbeddedEngine | PostgresEngine:
    """Build what wakes mailboxes, for the store there is."""
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


class JoinedEngine:
    """Joins the port `Wake` with the engine, which needs the lifecycle that needs the port."""

    def __init__(self) -> None:
        self.engine: EmbeddedEngine | PostgresEngine | None = None

    async def wake_in(
        self, tx: Tx, mailbox: Mailbox, *, event_id: int, attempt: int, due_at: datetime
    ) -> None:
        """Hand a wake-up to the engine."""
        assert self.engine is not None, "the engine is joined before the first journey"
        await self.engine.wake_in(tx, mailbox, event_id=event_id, attempt=attempt, due_at=due_at)
