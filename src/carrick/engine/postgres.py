"""The engine of many nodes: PgQueuer on the store's Postgres, in the event's own transaction."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, cast

import asyncpg
import structlog
from pgqueuer import AsyncpgPoolDriver, QueueManager
from pgqueuer.domain.models import HealthCheckEvent
from pgqueuer.ports.driver import Driver
from pgqueuer.queries import Queries
from sqlalchemy.ext.asyncio import AsyncConnection

from carrick.engine.drains import Drain, Drains
from carrick.engine.queue import (
    BATCH,
    ENTRYPOINT,
    HORIZON_S,
    WakeUp,
    builders,
    handle_with,
    settings,
)
from carrick.engine.schema import arguments, schema_is_installed
from carrick.engine.sweep import Due, Sweep
from carrick.errors import StoreOutdated
from carrick.lifecycle.turns import Turns
from carrick.model.clock import Clock
from carrick.store import sockets
from carrick.store.mailboxes import Mailbox
from carrick.store.unit import Store, Tx

#: Seconds between the removals of PgQueuer's log, which nobody reads.
_PRUNE_S = 60.0
#: Seconds within which the database has to answer; every statement here is short.
_DATABASE_S = 10.0

_log = structlog.get_logger(__name__)


class PostgresEngine:
    """Wakes mailboxes on any node, and takes over the wake-ups of nodes that died."""

    def __init__(
        self,
        store: Store,
        *,
        drain: Drain,
        due: Due,
        clock: Clock,
        node_id: str,
        turns: Turns,
        sweep_s: float = 2.0,
        heartbeat_timeout_s: float = 5.0,
        dequeue_timeout_s: float = 3.0,
        reconnect_s: float = 1.0,
    ) -> None:
        """Build it.

        Args:
            store: A Postgres store.
            drain: Works off one connection's mailbox.
            due: Finds mailboxes with due events that nobody holds.
            clock: What the sweep waits on.
            node_id: This process's name, shown in `pg_stat_activity`.
            turns: Whose turn it is, and how many mailboxes this node drains at a time.
            sweep_s: Seconds between sweeps.
            heartbeat_timeout_s: After this long without a sign of life, a node's jobs are taken.
            dequeue_timeout_s: How often the queue is looked at when nothing is announced.
            reconnect_s: Pause before connecting again.
        """
        self._store = store
        self._clock = clock
        self._node_id = node_id
        self._concurrency = max(turns.places, 2 * BATCH)
        self._heartbeat_timeout = timedelta(seconds=heartbeat_timeout_s)
        self._dequeue_timeout = timedelta(seconds=dequeue_timeout_s)
        self._reconnect_s = reconnect_s
        self._names = settings()
        self._builders = builders(self._names)
        self._drains = Drains(drain, turns, clock)
        self._sweep = Sweep(due, self._drains, clock=clock, interval_s=sweep_s)
        self._stopping = asyncio.Event()
        self._is_lost = False
        self._working: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def wake_in(
        self, tx: Tx, mailbox: Mailbox, *, event_id: int, attempt: int, due_at: datetime
    ) -> None:
        """Ask for a look at the mailbox once the transaction is durable and the event is due."""
        delay_s = max(0.0, (due_at - tx.now).total_seconds())
        if delay_s > HORIZON_S:
            return
        assert isinstance(tx.connection, AsyncConnection)
        wake_up = WakeUp(mailbox, event_id, attempt)
        # Putting a job into the queue asks nothing of a driver but `fetch`.
        driver = cast("Driver", _InTransaction(tx.connection))
        await Queries(driver, *self._builders).enqueue(
            ENTRYPOINT,
            wake_up.payload,
            execute_after=timedelta(seconds=delay_s),
            dedupe_key=wake_up.key,
            on_conflict="skip",  # raising would abort the transaction that carries the event
        )

    async def start(self) -> None:
        """Begin to look at mailboxes: those with something due at once.

        Raises:
            StoreOutdated: The engine's tables are missing or old.
        """
        if not await schema_is_installed(self._store):
            raise StoreOutdated
        self._working = asyncio.create_task(self._keep_working(), name="engine-queue")
        self._sweeping = asyncio.create_task(self._sweep.run(), name="engine-sweep")

    async def stop(self, limit_s: float = 30.0) -> None:
        """Begin nothing more, and wait for what is running.

        Args:
            limit_s: After this long, what is still running is cancelled.
        """
        self._stopping.set()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait({self._sweeping})
        await self._drains.finish(limit_s)
        if self._working is not None:
            await asyncio.wait({self._working})

    async def _keep_working(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._work()
            except Exception as error:
                # The outermost layer of this task: the database may be back at the next try.
                self._tell_lost(str(error) or type(error).__name__)
            if not self._stopping.is_set():
                await self._pause()

    def _tell_lost(self, reason: str) -> None:
        """Log it the first time only; every second is too often for an outage of hours."""
        if not self._is_lost:
            _log.warning("engine_disconnected", error=reason)
        self._is_lost = True

    async def _pause(self) -> None:
        pause = asyncio.create_task(self._clock.sleep(self._reconnect_s), name="engine-pause")
        stopping = asyncio.create_task(self._stopping.wait(), name="engine-stopping")
        await asyncio.wait({pause, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await _end(pause, stopping)

    async def _work(self) -> None:
        """Handle jobs until told to stop, or until the database goes away."""
        async with self._pool() as pool:
            if self._is_lost:
                _log.warning("engine_connected")
            self._is_lost = False
            driver = _WatchedDriver(pool)
            queries = Queries(driver, *self._builders)
            manager = _WatchedQueue(queries, channel=self._names.channel)
            handle_with(manager, functools.partial(self._look, driver))
            running = asyncio.create_task(
                manager.run(
                    dequeue_timeout=self._dequeue_timeout,
                    heartbeat_timeout=self._heartbeat_timeout,
                    batch_size=BATCH,
                    max_concurrent_tasks=self._concurrency,
                    shutdown_on_listener_failure=True,
                    log_aggregation_interval=timedelta(0),
                ),
                name="engine-manager",
            )
            pruning = asyncio.create_task(self._prune(queries), name="engine-prune")
            try:
                await self._watch(running, driver, manager)
            finally:
                if driver.lost.is_set():
                    pool.terminate()  # what is still to be said to the database fails at once
                await _end(running, pruning)

    async def _look(self, driver: _WatchedDriver, mailbox: Mailbox) -> None:
        """Drain a mailbox; when the database goes away the drain goes on without its job.

        The manager waits for its jobs before it gives up, and a drain can take minutes. Nothing
        depends on the job: the drain holds its mailbox by a lease.
        """
        draining = asyncio.create_task(self._drains.run(mailbox), name="engine-look")
        lost = asyncio.create_task(driver.lost.wait(), name="engine-lost")
        await asyncio.wait({draining, lost}, return_when=asyncio.FIRST_COMPLETED)
        await _end(draining, lost)

    async def _watch(
        self, running: asyncio.Task[None], driver: _WatchedDriver, manager: QueueManager
    ) -> None:
        lost = asyncio.create_task(driver.lost.wait(), name="engine-lost")
        stopping = asyncio.create_task(self._stopping.wait(), name="engine-stopping")
        try:
            await asyncio.wait({running, lost, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.is_set() and not driver.lost.is_set():
                manager.shutdown.set()
                # Ends when its jobs have: `stop` sees to it that they do.
                await asyncio.wait({running, lost}, return_when=asyncio.FIRST_COMPLETED)
            if driver.lost.is_set():
                raise ConnectionError("the connection to the database is lost")
            await running
        finally:
            await _end(lost, stopping)

    async def _prune(self, queries: Queries) -> None:
        while True:
            await self._clock.sleep(_PRUNE_S)
            await queries.clear_queue_log(ENTRYPOINT)

    @contextlib.asynccontextmanager
    async def _pool(self) -> AsyncIterator[asyncpg.Pool]:
        keywords = arguments(self._store)
        keywords["server_settings"] = {
            **keywords.get("server_settings", {}),
            "application_name": f"carrick-engine-{self._node_id}",
        }
        pool = await asyncpg.create_pool(
            **keywords,
            min_size=2,
            max_size=4,
            command_timeout=_DATABASE_S,
            timeout=_DATABASE_S,
            connect=_connect,
        )
        try:
            yield pool
        finally:
            pool.terminate()


async def _connect(*positional: Any, **named: Any) -> asyncpg.Connection:
    connection = await asyncpg.connect(*positional, **named)
    sockets.notice_silence(connection)
    return connection


class _WatchedDriver(AsyncpgPoolDriver):
    """Says at once when the database is gone: PgQueuer itself would first wait for its jobs."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__(pool)
        self.lost = asyncio.Event()

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        with self._watching():
            return await super().fetch(query, *args)

    async def execute(self, query: str, *args: object) -> str:
        with self._watching():
            return await super().execute(query, *args)

    async def notify(self, channel: str, payload: str) -> None:
        with self._watching():
            await super().notify(channel, payload)

    async def add_listener(self, channel: str, callback: Any) -> None:
        with self._watching():
            await super().add_listener(channel, callback)
        assert self._listener_connection is not None
        self._listener_connection.add_termination_listener(self._on_termination)

    def _on_termination(self, _connection: object) -> None:
        self.lost.set()

    @contextlib.contextmanager
    def _watching(self) -> Any:
        try:
            yield
        except (
            OSError,
            asyncpg.PostgresConnectionError,
            asyncpg.InterfaceError,
            asyncpg.OperatorInterventionError,
        ):
            self.lost.set()
            raise


class _WatchedQueue(QueueManager):
    """Says at once when notifications no longer arrive."""

    async def listener_healthy(
        self, timeout: timedelta = timedelta(seconds=10)
    ) -> HealthCheckEvent:
        try:
            return await super().listener_healthy(timeout)
        except Exception:
            driver = self.queries.driver
            assert isinstance(driver, _WatchedDriver)
            driver.lost.set()
            raise


class _InTransaction:
    """Runs PgQueuer's statements in a transaction of the store."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        result = await self._connection.exec_driver_sql(query, args)
        return [dict(row) for row in result.mappings()]


async def _end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and see their end; what they raise has been dealt with."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
