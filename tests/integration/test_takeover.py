"""A node that dies leaves nothing undone: another one follows its wake-ups."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import pytest

from carrick.engine import PostgresEngine, install_schema
from carrick.lifecycle.turns import Turns
from carrick.model.clock import SystemClock
from carrick.store.mailboxes import Mailbox
from carrick.store.unit import Store, Tx

_NODE = """
import asyncio, sys
from carrick.engine import PostgresEngine
from carrick.lifecycle.turns import Turns
from carrick.model.clock import SystemClock
from carrick.store.opening import open_store

async def main():
    async def drain(connection_row_id):
        print("draining", connection_row_id, flush=True)
        await asyncio.Event().wait()

    async def due(most):
        return []

    clock = SystemClock()
    store = open_store(sys.argv[1], clock)
    await store.start()
    engine = PostgresEngine(
        store,
        drain=drain,
        due=due,
        clock=clock,
        node_id="doomed",
        turns=Turns(clock),
        heartbeat_timeout_s=1,
    )
    await engine.start()
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("backend", [pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_the_wake_up_of_a_killed_node_is_taken_over(
    store: Store,
    store_url: str,
    eventually: Callable[[Callable[[], bool]], Awaitable[None]],
) -> None:
    """A wake-up whose node was killed in the middle of the drain is followed by another node."""
    await install_schema(store)
    drained: list[int] = []

    async def drain(connection_row_id: int) -> None:
        drained.append(connection_row_id)

    async def nothing_due(most: int) -> list[Mailbox]:
        return []

    survivor = PostgresEngine(
        store,
        drain=drain,
        due=nothing_due,
        clock=SystemClock(),
        node_id="survivor",
        turns=Turns(SystemClock()),
        heartbeat_timeout_s=1,
        dequeue_timeout_s=0.2,
    )

    async def unit(tx: Tx) -> None:
        await survivor.wake_in(tx, Mailbox(7, 1), event_id=1, attempt=1, due_at=tx.now)

    node = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _NODE, store_url, stdout=asyncio.subprocess.PIPE
    )
    assert node.stdout is not None
    try:
        assert await node.stdout.readline() == b"ready\n"
        await store.write(unit)
        assert await node.stdout.readline() == b"draining 7\n"
    finally:
        node.kill()
        await node.communicate()
    await survivor.start()

    await eventually(lambda: drained == [7])
    await survivor.stop()
