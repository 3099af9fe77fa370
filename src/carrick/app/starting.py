"""Starts a server's rooms and the loops that keep them, and stops them in reverse.

`running` is the whole server without a socket.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from carrick.api import create_api
from carrick.api.popups import Popups
from carrick.api.services import Services
from carrick.app.building import (
    Ground,
    JoinedEngine,
    Tenants,
    build_engine,
    build_rooms,
    build_services,
    build_tenants,
    idle_of,
)
from carrick.app.clockwatch import ClockWatch
from carrick.app.housekeeping import Housekeeping
from carrick.app.keyring import Keyring
from carrick.app.stores import key_in_use, only_server, opened_store
from carrick.egress import Egress, EgressPolicy
from carrick.errors import CarrickError
from carrick.lifecycle.rooms import Rooms, Timing
from carrick.lifecycle.upkeep import Upkeep
from carrick.model.clock import Chance, Clock, SystemChance, SystemClock
from carrick.model.faults import NO_FAULTS, Faults, Point
from carrick.settings import Settings
from carrick.store import clocks, journal, mailboxes
from carrick.store.clocks import DatabaseClock
from carrick.store.signals import Signals
from carrick.store.unit import Store, Tx
from carrick.vault import OpenedVault, open_vault

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
            settings, is_postgres=store.is_postgres, sealed_with=await key_in_use(store)
        )
        egress = Egress(
            EgressPolicy(settings.egress_allow), max_answer_bytes=settings.max_answer_bytes
        )
        stack.push_async_callback(egress.close)
        joint = JoinedEngine()
        node_id = f"node-{chance.token_hex(6)}"
        keyring = Keyring(store, opened, clock, node_id)
        await keyring.join()
        stack.push_async_callback(keyring.leave)
        ground = Ground(settings, store, opened, egress, clock, chance, faults, node_id)
        tenants = await build_tenants(ground)
        rooms = build_rooms(ground, tenants, joint, timing or Timing())
        signals = Signals(store, clock, _POPUPS) if store.is_postgres else None
        services = build_services(ground, tenants, rooms, Popups(chance, signals))
        stack.push_async_callback(rooms.fresh.close)
        stack.push_async_callback(rooms.pool.close)
        await rooms.pool.start()
        await _settle_estates(store)
        await faults.reached(Point.ESTATES_SETTLED)
        await services.lifecycle.warmth.refresh()
        for loop in (keyring.run, *_loops(ground, tenants, rooms, services)):
            _begin(stack, _kept_going(loop, clock))
        if shared is not None:
            _begin(stack, _kept_going(partial(shared.follow, store), clock))
        if signals is not None:
            _begin(stack, signals.run(services.popups.hear))
        stack.push_async_callback(_flush, rooms)
        engine = build_engine(rooms, services.lifecycle)
        joint.engine = engine
        await engine.start()
        stack.push_async_callback(engine.stop, rooms.timing.stop_s)
        api = create_api(services)
        yield App(settings, api, services, rooms, opened, tenants.created_keys)


def _loops(
    ground: Ground, tenants: Tenants, rooms: Rooms, services: Services
) -> list[Callable[[], Awaitable[None]]]:
    """Return what goes on for as long as the server runs."""
    settings, store, clock = ground.settings, ground.store, ground.clock
    housekeeping = Housekeeping(
        store, tenants.sessions, clock, retention_days=settings.retention_days
    )
    loops: list[Callable[[], Awaitable[None]]] = [
        rooms.operations.run,
        rooms.notifier.run,
        _flushing(rooms),
        services.lifecycle.warmth.run,
        housekeeping.run,
        ClockWatch(store, clock).run,
        tenants.imports.following(tenants.catalogue, clock),
    ]
    if settings.background_refresh:
        upkeep = Upkeep(rooms, at_once=settings.background_refresh, idle=idle_of(settings))
        loops.append(upkeep.run)
    return loops


async def _settle_estates(store: Store) -> None:
    """Take what processes that died without an end of their own have left behind.

    On SQLite this process is the only one, so whatever held a lease is dead.
    """

    async def unit(tx: Tx) -> None:
        if not store.is_postgres:
            await mailboxes.void_all(tx)
        longest = _LONGEST_JOURNEY if store.is_postgres else timedelta()
        await journal.erase_unclaimed(tx, longest)
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


def _begin(stack: contextlib.AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    """Do something beside everything else, until the stack is left."""
    stack.push_async_callback(_cancelled, asyncio.create_task(work))


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
