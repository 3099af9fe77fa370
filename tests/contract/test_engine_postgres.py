"""What holds for the engine on Postgres alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text
from tests.contract.conftest import Engine, Mailboxes

from carrick.engine import install_schema, schema_is_installed
from carrick.errors import StoreOutdated
from carrick.store.mailboxes import Mailbox
from carrick.store.migrate import migrate
from carrick.store.unit import Store, Tx
from carrick.testing.clock import FakeClock

pytestmark = pytest.mark.parametrize(
    "backend", [pytest.param("postgres", marks=pytest.mark.postgres)]
)
Eventually = Callable[[Callable[[], bool]], Awaitable[None]]
Wake = Callable[..., Awaitable[None]]


async def test_starting_without_its_tables_says_what_to_do(
    store: Store, build_engine: Callable[..., Engine]
) -> None:
    """An engine whose tables are missing names the command that makes them."""
    with pytest.raises(StoreOutdated, match="carrick migrate"):
        await build_engine().start()


async def test_installing_twice_does_nothing_the_second_time(store: Store) -> None:
    """Tables that are there are left alone."""
    assert await schema_is_installed(store) is False
    assert await install_schema(store) is True
    assert await install_schema(store) is False
    assert await schema_is_installed(store) is True


async def test_two_nodes_may_install_at_once(store: Store) -> None:
    """Concurrent installations wait for each other instead of failing."""
    assert sorted(await asyncio.gather(install_schema(store), install_schema(store))) == [
        False,
        True,
    ]


async def test_the_tables_of_the_engine_do_not_disturb_migrations(empty_store: Store) -> None:
    """Migrations and the engine's tables may come in either order."""
    await install_schema(empty_store)

    assert await migrate(empty_store) is True


async def test_wake_ups_are_spread_over_nodes(
    store: Store,
    build_engine: Callable[..., Engine],
    mailboxes: Mailboxes,
    wake: Wake,
    eventually: Eventually,
) -> None:
    """A wake-up written through one node may be followed by another, and by one only."""
    await install_schema(store)
    nodes = [build_engine(node_id=f"node-{number}") for number in (1, 2)]
    for node in nodes:
        await node.start()
    await asyncio.gather(*(wake(nodes[0], number, event_id=number) for number in range(50)))

    await eventually(lambda: len(mailboxes.drained) >= 50)
    for node in nodes:
        await node.stop()
    assert sorted(mailboxes.drained) == list(range(50))


async def test_the_engine_goes_on_after_the_database_was_away(
    engine: Engine,
    store: Store,
    mailboxes: Mailboxes,
    wake: Wake,
    clock: FakeClock,
    eventually: Eventually,
) -> None:
    """Losing every connection interrupts no drain, and wake-ups are followed again afterwards."""
    mailboxes.open.clear()
    await wake(engine, 7)
    await eventually(lambda: mailboxes.active[7] == 1)
    await store.write(_end_connections_of_engines)
    await wake(engine, 8, event_id=2)

    def has_begun_again() -> bool:
        clock.move(0.1)  # past the pause before connecting again
        return mailboxes.active[8] == 1

    await eventually(has_begun_again)
    mailboxes.open.set()

    await eventually(lambda: sorted(set(mailboxes.drained)) == [7, 8])
    assert not mailboxes.cancelled


async def test_an_error_of_the_queue_reaches_the_unit_as_one_of_the_store(
    store: Store, build_engine: Callable[..., Engine]
) -> None:
    """A wake-up that cannot be written fails its transaction like any other statement."""
    engine = build_engine()

    async def unit(tx: Tx) -> None:
        await engine.wake_in(tx, Mailbox(7, 1), event_id=1, attempt=1, due_at=tx.now)

    with pytest.raises(Exception, match="engine_jobs") as raised:
        await store.write(unit)
    assert type(raised.value).__module__.startswith("sqlalchemy")


async def _end_connections_of_engines(tx: Tx) -> None:
    await tx.execute(
        text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'carrick-engine-%' AND datname = current_database()"
        )
    )
