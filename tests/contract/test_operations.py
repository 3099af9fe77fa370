"""Operations and their messages are written in order, without secrets, and are not lost."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from carrick.environments import Environments
from carrick.errors import StoreUnavailable
from carrick.operations import Opening, OperationFilter, Operations
from carrick.operations.buffer import Buffer
from carrick.store.unit import Store, Tx, Unit
from carrick.testing.clock import FakeChance, FakeClock
from carrick.vault import Vault


class FailingStore:
    """A store whose writes fail while it is told so."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.is_down = False
        self.is_postgres = store.is_postgres

    async def write(self, unit: Unit[Any]) -> Any:
        """Write, or fail."""
        if self.is_down:
            raise StoreUnavailable("down")
        return await self._store.write(unit)

    async def read(self, unit: Unit[Any], *, scans: bool = False) -> Any:
        """Read."""
        return await self._store.read(unit, scans=scans)


@pytest.fixture
async def environment_id(store: Store, clock: FakeClock) -> int:
    """An environment to work in."""
    rooms = Environments(store, Vault({"k": bytes(32)}, "k"), clock, FakeChance(1))
    return (await rooms.create("dev")).environment.row_id


@pytest.fixture
def failing(store: Store) -> FailingStore:
    """The store, which can be made to fail."""
    return FailingStore(store)


@pytest.fixture
def operations(failing: FailingStore, clock: FakeClock, chance: FakeChance) -> Operations:
    """The room under test."""
    return Operations(failing, clock, chance)  # type: ignore[arg-type]


@pytest.fixture
async def running(operations: Operations, clock: FakeClock) -> AsyncIterator[Operations]:
    """The same, with its background task."""
    task = asyncio.create_task(operations.run())
    await clock.wait_for_sleepers()
    yield operations
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _opening(environment_id: int, **changes: Any) -> Opening:
    values: dict[str, Any] = {
        "environment_id": environment_id,
        "type": "auth",
        "action": "create_connection",
        "integration_id": "gh",
        "connection_id": "c1",
        **changes,
    }
    return Opening(**values)


async def _texts(operations: Operations, operation_id: str) -> list[str]:
    messages = await operations.messages(operation_id, limit=100_000)
    return [message.message for message in messages]


def test_ids_have_the_contracts_shape_and_differ(operations: Operations) -> None:
    """An id is the time and eight characters, and no two are equal."""
    ids = [operations.new_id() for _ in range(1000)]

    assert len(set(ids)) == 1000
    assert all(re.fullmatch(r"[a-zA-Z0-9_]{20,25}", one) for one in ids)
    assert ids[0].startswith("1767603600000_")


async def test_an_operation_opens_and_closes(
    operations: Operations, environment_id: int, clock: FakeClock
) -> None:
    """It runs from its opening to its closing and then says how it ended."""
    operation_id = await operations.open(
        _opening(environment_id, function="f", provider="github", meta={"a": 1})
    )
    opened = await operations.get(environment_id, operation_id)
    assert opened is not None
    assert (opened.state, opened.ended_at, opened.meta) == ("running", None, {"a": 1})
    assert opened.started_at == opened.created_at == clock.now()

    clock.move(2)
    error = {"name": "timeout", "message": "too slow"}
    assert await operations.close(operation_id, state="failed", error=error, message="Too slow")

    closed = await operations.get(environment_id, operation_id)
    assert closed is not None
    assert (closed.state, closed.error, closed.message) == ("failed", error, "Too slow")
    assert closed.ended_at == clock.now()


async def test_only_an_open_operation_can_be_closed(
    operations: Operations, environment_id: int
) -> None:
    """The first closing counts; a later one changes nothing until it is reopened."""
    operation_id = await operations.open(_opening(environment_id))
    assert await operations.close(operation_id, state="success")
    assert not await operations.close(operation_id, state="failed")
    assert not await operations.close("1_unknown", state="failed")

    async def reopen(tx: Tx) -> bool:
        return await operations.reopen_in(tx, operation_id)

    assert await operations._store.write(reopen)
    assert await operations.close(operation_id, state="failed")


async def test_an_operation_is_undone_with_what_it_tells_of(
    store: Store, operations: Operations, environment_id: int
) -> None:
    """Opened in a transaction that is rolled back, it never was."""

    async def unit(tx: Tx) -> None:
        await operations.open_in(tx, _opening(environment_id))
        raise LookupError

    with pytest.raises(LookupError):
        await store.write(unit)

    assert await operations.list(environment_id) == []


async def test_a_waiting_operation_has_not_started(
    operations: Operations, environment_id: int
) -> None:
    """One that waits has no start, and may be given its id beforehand."""
    given = operations.new_id()
    opening = _opening(environment_id, state="waiting", id=given)

    assert await operations.open(opening) == given
    found = await operations.get(environment_id, given)
    assert found is not None
    assert (found.state, found.started_at) == ("waiting", None)


async def test_another_environment_sees_nothing(
    operations: Operations, environment_id: int
) -> None:
    """Operations are shown to their own environment only."""
    operation_id = await operations.open(_opening(environment_id))

    assert await operations.get(environment_id + 1, operation_id) is None
    assert await operations.list(environment_id + 1) == []


async def test_notes_are_written_once_a_second_in_order(
    running: Operations, environment_id: int, store: Store, clock: FakeClock
) -> None:
    """Lines of an operation appear within a second, in the order they were made."""
    operation_id = running.new_id()
    for number in range(450):
        running.note(operation_id, "info", f"line {number}", kind="log", number=number)
    assert running.buffered == 450

    await clock.advance(1)
    await running.flush()

    assert running.buffered == 0
    messages = await running.messages(operation_id, limit=1000)
    assert [message.fields["number"] for message in messages] == list(range(450))
    assert messages[0].at == clock.now().replace(second=0)
    assert (messages[0].level, messages[0].kind) == ("info", "log")


async def test_messages_are_read_page_by_page(operations: Operations) -> None:
    """The next page begins after the last message of this one."""
    operation_id = operations.new_id()
    for number in range(5):
        operations.note(operation_id, "info", str(number))
    operations.note(operations.new_id(), "info", "of another one")

    first = await operations.messages(operation_id, limit=3)
    rest = await operations.messages(operation_id, after=first[-1].id, limit=3)

    assert [message.message for message in (*first, *rest)] == ["0", "1", "2", "3", "4"]


async def test_secrets_are_written_nowhere(operations: Operations, environment_id: int) -> None:
    """A known secret is taken out of messages, fields, errors and meta."""
    secret = "tok-1234567890"
    operations.scrubber.add([secret])
    operation_id = await operations.open(
        _opening(environment_id, message=f"m {secret}", meta={"a": [secret]})
    )
    operations.note(operation_id, "error", f"note {secret}", headers={"authorization": "Basic x"})
    recorded = operations.record(
        _opening(environment_id), state="failed", error={"message": f"e {secret}"}
    )
    await operations.close(operation_id, state="failed", error={"m": secret}, message=secret)

    written = [
        repr(await operations.get(environment_id, operation_id)),
        repr(await operations.get(environment_id, recorded)),
        repr(await operations.messages(operation_id)),
    ]

    assert not any(secret in text or "Basic x" in text for text in written)


async def test_a_recorded_operation_has_its_times(
    operations: Operations, environment_id: int, clock: FakeClock
) -> None:
    """What is recorded when it is over began that long before."""
    recorded = operations.record(
        _opening(environment_id, type="proxy", action="call"), state="success", duration_s=1.5
    )

    found = await operations.get(environment_id, recorded)

    assert found is not None
    assert found.ended_at == clock.now()
    assert found.started_at is not None
    assert (found.ended_at - found.started_at).total_seconds() == 1.5


async def test_a_store_that_does_not_answer_loses_nothing(
    running: Operations, failing: FailingStore, environment_id: int, clock: FakeClock
) -> None:
    """What could not be written is kept in order and written once the store is back."""
    operation_id = running.new_id()
    running.note(operation_id, "info", "before")
    failing.is_down = True
    await clock.advance(2)
    with pytest.raises(StoreUnavailable):
        await running.flush()
    running.note(operation_id, "info", "during")

    failing.is_down = False
    await clock.advance(1)

    assert await _texts(running, operation_id) == ["before", "during"]


async def test_concurrent_flushes_write_each_message_once(operations: Operations) -> None:
    """Two flushes at the same time neither lose nor repeat a message."""
    operation_id = operations.new_id()
    for number in range(500):
        operations.note(operation_id, "info", str(number))

    await asyncio.gather(*(operations.flush() for _ in range(4)))

    assert await _texts(operations, operation_id) == [str(number) for number in range(500)]


async def test_a_cancelled_flush_does_not_repeat_messages(operations: Operations) -> None:
    """A flush whose caller goes away still clears what it wrote."""
    operation_id = operations.new_id()
    for number in range(300):
        operations.note(operation_id, "info", str(number))
    flushing = asyncio.create_task(operations.flush())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    flushing.cancel()
    await asyncio.gather(flushing, return_exceptions=True)

    await operations.flush()

    assert await _texts(operations, operation_id) == [str(number) for number in range(300)]


async def test_a_row_the_store_refuses_takes_no_other_with_it(
    operations: Operations, environment_id: int
) -> None:
    """A row that can never be written is dropped and counted; its neighbours are written."""
    good = operations.record(_opening(environment_id), state="success")
    operations.record(_opening(environment_id + 999), state="success")
    also_good = operations.record(_opening(environment_id), state="success")

    await operations.flush()

    assert {one.id for one in await operations.list(environment_id)} == {good, also_good}
    assert (operations.dropped, operations.buffered) == (1, 0)


async def test_the_buffer_is_bounded(store: Store, clock: FakeClock) -> None:
    """When there is no room the newest entries are dropped and counted."""
    buffer = Buffer(store, most_rows=3)
    for number in range(5):
        buffer.add_message(
            {
                "operation_id": "op",
                "at": clock.now(),
                "level": "info",
                "kind": "log",
                "message": str(number),
                "fields": {},
            }
        )

    assert (len(buffer), buffer.dropped) == (3, 2)
    await buffer.flush()
    assert len(buffer) == 0


async def test_the_list_is_filtered(operations: Operations, environment_id: int) -> None:
    """State, type, action, integration and connection narrow the list together."""
    wanted = operations.record(
        _opening(environment_id, connection_row_id=5, action="refresh_token"), state="failed"
    )
    operations.record(_opening(environment_id, type="proxy", action="call"), state="success")
    operations.record(_opening(environment_id, integration_id="other"), state="failed")
    operations.record(_opening(environment_id, connection_id="c2"), state="failed")

    for narrowed in (
        OperationFilter(states=["failed"], integration_ids=["gh"], connection_ids=["c1"]),
        OperationFilter(types=["auth", "proxy"], actions=["refresh_token"]),
        OperationFilter(connection_row_id=5),
    ):
        found = await operations.list(environment_id, narrowed)
        assert [one.id for one in found] == [wanted]
    assert len(await operations.list(environment_id)) == 4


async def test_pages_of_the_list_neither_repeat_nor_skip(
    operations: Operations, environment_id: int, clock: FakeClock
) -> None:
    """Reading on before the last id gives every operation once, newest first."""
    made = []
    for number in range(25):
        made.append(operations.record(_opening(environment_id), state="success"))
        if number % 3 == 0:
            clock.move(1)
    seen: list[str] = []
    before = None
    while page := await operations.list(environment_id, OperationFilter(before=before, limit=4)):
        seen += [one.id for one in page]
        before = seen[-1]

    assert sorted(seen) == sorted(made)
    assert len(seen) == 25
    assert seen[0] in made[22:]  # these three are of the same moment


async def test_a_cursor_that_is_gone_still_works(
    operations: Operations, environment_id: int, clock: FakeClock
) -> None:
    """A cursor whose operation is not there is read by the time in it."""
    old = operations.record(_opening(environment_id), state="success")
    clock.move(10)
    gone = operations.new_id()
    clock.move(10)
    operations.record(_opening(environment_id), state="success")

    page = await operations.list(environment_id, OperationFilter(before=gone))

    assert [one.id for one in page] == [old]
