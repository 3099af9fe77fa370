"""A context's facts, identity, state, locks and log."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.unit.sdk_host import FACTS, MemoryHost, context

from carrick.model.event import Effect, Event, Occasion
from carrick.sdk import (
    ActionError,
    CarrickUsageError,
    HostError,
    IncompleteDryRun,
    LockUnavailable,
    Placeholder,
)
from carrick.testing.clock import FakeClock

SAME: dict[str, Any] = {"same": True, "known": True}


def test_facts_are_attributes() -> None:
    """What a run knows from the start stands on the context, typed."""
    facts = replace(
        FACTS,
        attempt=3,
        dry_run=True,
        operation="reconnect",
        previous={"metadata": {"a": 1}, "connection_config": {}, "tags": {}},
        effects=[
            {
                "function": "setup",
                "method": "POST",
                "endpoint": "/webhooks",
                "state": "succeeded",
                "status": 201,
                "data": {"id": 1},
            }
        ],
    )
    ctx = context(MemoryHost(), facts)
    assert ctx.connection_id == "customer-1"
    assert (ctx.integration_id, ctx.provider, ctx.environment) == (
        "salesforce",
        "salesforce",
        "dev",
    )
    assert ctx.event is Event.POST_CONNECTION_CREATION
    assert ctx.operation is Occasion.RECONNECT
    assert (ctx.run_id, ctx.attempt, ctx.dry_run) == ("run-1", 3, True)
    assert ctx.previous is not None
    assert ctx.previous["metadata"] == {"a": 1}
    assert ctx.effects == (Effect("setup", "POST", "/webhooks", "succeeded", 201, {"id": 1}),)


def test_now_is_the_first_start_of_the_run() -> None:
    """Every attempt sees the same moment, so that bodies built from it match the journal."""
    assert context(MemoryHost()).now() == datetime(2026, 1, 5, 9, tzinfo=UTC)


def test_uuids_repeat_in_every_attempt_of_a_run() -> None:
    """The n-th UUID is the same on every attempt, and another in another run."""
    first, second = context(MemoryHost()), context(MemoryHost(), replace(FACTS, attempt=2))
    ids = [first.uuid() for _ in range(3)]
    assert ids == [second.uuid() for _ in range(3)]
    assert len(set(ids)) == 3
    assert uuid.UUID(ids[0]).version == 5
    assert context(MemoryHost(), replace(FACTS, run_id="run-2")).uuid() != ids[0]


async def test_the_same_account_passes() -> None:
    """An account that the host knows, or records, lets the function go on."""
    host = MemoryHost()
    host.on["require_same_account"] = lambda _: SAME
    await context(host).require_same_account(42)
    assert host.calls == [("require_same_account", {"account_id": "42"})]


async def test_another_account_is_refused_in_words_for_the_user() -> None:
    """A mismatch raises the author's own no, with a sentence that can be replaced."""
    host = MemoryHost()
    host.on["require_same_account"] = lambda _: {"same": False, "known": True}
    with pytest.raises(ActionError, match="not the account that was connected before"):
        await context(host).require_same_account("00D1")
    with pytest.raises(ActionError) as caught:
        await context(host).require_same_account("00D1", message="Wrong workspace")
    assert caught.value.message == "Wrong workspace"


@pytest.mark.parametrize("account_id", [None, "", True, {}, 1.5])
async def test_an_account_id_must_be_one(account_id: Any) -> None:
    """An empty or missing id never reaches the host: it would equal every other missing one."""
    host = MemoryHost()
    with pytest.raises(CarrickUsageError):
        await context(host).require_same_account(account_id)
    assert host.calls == []


async def test_a_placeholder_is_no_account() -> None:
    """A dry run cannot compare an account that a real write would have named."""
    account: Any = Placeholder("POST /login", "id")
    with pytest.raises(IncompleteDryRun):
        await context(MemoryHost()).require_same_account(account)


@pytest.mark.parametrize("name", ["get_connection", "get_token"])
async def test_secrets_need_a_declaration(name: str) -> None:
    """Without `credentials=True` the call is refused before it reaches the host."""
    host = MemoryHost()
    with pytest.raises(CarrickUsageError, match="credentials=True"):
        await getattr(context(host), name)()
    assert host.calls == []
    await getattr(context(host, replace(FACTS, credentials=True)), name)()
    assert host.calls == [(name, {})]


async def test_environment_variables_are_those_declared() -> None:
    """The declared names are asked for; without any the author is told to name them."""
    host = MemoryHost()
    host.on["get_environment_variables"] = lambda _: {"APP_URL": "u"}
    with pytest.raises(CarrickUsageError, match="variables="):
        await context(host).get_environment_variables()
    declared = replace(FACTS, variables=("APP_URL",))
    assert await context(host, declared).get_environment_variables() == {"APP_URL": "u"}
    assert host.calls == [("get_environment_variables", {"names": ["APP_URL"]})]


async def test_checkpoints_are_json_of_bounded_size() -> None:
    """A checkpoint is plain data of at most 16 KiB, read back as it was saved."""
    host = MemoryHost()
    ctx = context(host)
    await ctx.save_checkpoint({"page": 3, "id": Placeholder("POST /x", "id")})
    assert await ctx.get_checkpoint() == {"page": 3, "id": "«POST /x → id»"}
    with pytest.raises(CarrickUsageError, match="at most 16384 bytes"):
        await ctx.save_checkpoint("x" * 16 * 1024)
    with pytest.raises(CarrickUsageError, match="cannot be written as JSON"):
        await ctx.save_checkpoint({"at": datetime.now(UTC)})
    await ctx.clear_checkpoint()
    assert host.calls[-1] == ("clear_checkpoint", {})


class Locks(MemoryHost):
    """A host whose lock is busy for the first tries."""

    def __init__(self, busy: int) -> None:
        super().__init__()
        self.busy = busy
        self.on["acquire_lock"] = self._acquire

    def _acquire(self, _params: dict[str, Any]) -> Any:
        self.busy -= 1
        return {"acquired": self.busy < 0, "fence": 7}


async def test_a_lock_is_held_for_a_block_and_given_back() -> None:
    """`async with` waits for the lock and releases it under its fence, also after an error."""
    host, clock = Locks(busy=2), FakeClock()

    async def sleep(seconds: float) -> None:
        clock.move(seconds)

    async def fail_inside() -> None:
        async with context(host, sleep=sleep).lock("customers", ttl=5) as lock:
            assert lock
            assert lock.fence == 7
            raise KeyError("x")

    with pytest.raises(KeyError):
        await fail_inside()
    assert [name for name, _ in host.calls] == ["acquire_lock"] * 3 + ["release_lock"]
    assert host.calls[0][1] == {"key": "customers", "ttl_s": 5}
    assert host.calls[-1][1] == {"key": "customers", "fence": 7}
    assert clock.monotonic() == pytest.approx(0.15)


async def test_a_lock_that_stays_busy_is_given_up() -> None:
    """After `wait` seconds the block is not entered, and nothing is released."""
    host, clock = Locks(busy=1000), FakeClock()

    async def sleep(seconds: float) -> None:
        clock.move(seconds)

    async def enter() -> None:
        async with context(host, sleep=sleep).lock("customers", wait=3):
            pytest.fail("entered without the lock")

    with pytest.raises(LockUnavailable, match="within 3 s"):
        await enter()
    assert clock.monotonic() == pytest.approx(3)
    assert "release_lock" not in [name for name, _ in host.calls]


async def test_awaiting_a_lock_tries_once() -> None:
    """`await ctx.lock(...)` comes back at once and says whether the lock is held."""
    host = Locks(busy=1)
    lock = await context(host).lock("customers")
    assert not lock
    await lock.release()
    lock = await context(host).lock("customers")
    assert lock
    await lock.release()
    await lock.release()
    assert [name for name, _ in host.calls].count("release_lock") == 1


@pytest.mark.parametrize("arguments", [("", 30), ("key", 0), ("key", -1)])
def test_a_lock_needs_a_key_and_a_lifetime(arguments: tuple[str, float]) -> None:
    """A lock without a key or a lifetime is refused."""
    with pytest.raises(CarrickUsageError):
        context(MemoryHost()).lock(*arguments)


async def test_log_lines_are_bounded_plain_data() -> None:
    """A line's message has a limit, and fields that JSON cannot say become text."""
    host = MemoryHost()
    await context(host).log("x" * 20_000, level="warning", at=datetime(2026, 1, 5, tzinfo=UTC))
    ((_, params),) = host.calls
    assert params["level"] == "warning"
    assert len(params["message"]) == 10_001
    assert "2026" in params["fields"]["at"]


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ("No", "No"),
        ({"message": "No", "error": "x"}, "No"),
        ({"error": "No"}, "No"),
        ({"error": {"deep": 1}}, None),
        (None, None),
        (42, None),
        ("", None),
    ],
)
def test_an_action_error_has_the_message_its_payload_says(
    payload: Any, message: str | None
) -> None:
    """Text is the message; of a dict its `message`, else its `error`."""
    assert ActionError(payload).message == message


async def test_the_webhook_url_comes_from_the_host() -> None:
    """Facts that only the host knows are asked for."""
    host = MemoryHost()
    host.on["get_webhook_url"] = lambda _: "https://carrick.example/webhook/1"
    assert await context(host).get_webhook_url() == "https://carrick.example/webhook/1"


def test_host_errors_carry_code_and_payload() -> None:
    """A host error can be told apart by its code."""
    error = HostError("egress_denied", "no", {"host": "x"})
    assert (error.code, error.message, error.payload) == ("egress_denied", "no", {"host": "x"})
