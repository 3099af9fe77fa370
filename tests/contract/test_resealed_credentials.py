"""A rotation seals credentials again while a refresh is out: nothing is replaced or hidden."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable

import pytest
from tests.contract.test_credentials import (  # noqa: F401 - the fixture
    REFUSED,
    VAULT,
    House,
    StoreWithOutages,
    T,
    access,
    house,
    token,
)

from carrick.errors import InvalidCredentials
from carrick.store.unit import Tx
from carrick.vault import Vault, contexts

NEW_KEY = {"new": b"n" * 32}
ROTATED = Vault({"k": bytes(32), **NEW_KEY}, "new")
VAULT.learn(NEW_KEY)


async def reseal(house: House, row_id: int) -> None:  # noqa: F811
    """Seal a connection's credentials with the new key, as a rotation does."""
    row = await house.row(row_id)
    assert row.credentials is not None
    context = contexts.connection_credentials(row.credential_set)
    await house.set(row_id, credentials=ROTATED.reseal(row.credentials, context=context))


class StoreThatIsRotated(StoreWithOutages):
    """A store in which something happens right after the next read that may be remembered."""

    def __init__(self, house: House) -> None:  # noqa: F811
        super().__init__(house.store)
        self.then: Callable[[], Awaitable[None]] | None = None

    async def recall(self, key: Hashable, unit: Callable[[Tx], Awaitable[T]]) -> T:
        found = await super().recall(key, unit)
        if self.then is not None:
            then, self.then = self.then, None
            await then()
        return found


async def test_a_refusal_counts_although_the_row_was_sealed_again(house: House) -> None:  # noqa: F811
    """The refresh is recorded as failed, and the old token is not handed out as a new one."""
    row_id = await house.connect(token(house.clock, 1))
    house.endpoint.faults.append(REFUSED)
    house.endpoint.open.clear()
    getting = asyncio.create_task(access(house.fresh.get(row_id)))
    await house.endpoint.arrived.wait()
    await reseal(house, row_id)
    house.endpoint.open.set()

    with pytest.raises(InvalidCredentials):
        await getting
    assert len(house.watch.failures) == 1
    assert (await house.row(row_id)).refresh_attempts == 1


async def test_an_answer_is_kept_although_the_row_was_sealed_again(house: House) -> None:  # noqa: F811
    """Nor is it lost when the connection is being deleted as well: its cleanup needs the token."""
    row_id = await house.connect(token(house.clock, 1))
    house.endpoint.open.clear()
    getting = asyncio.create_task(access(house.fresh.get(row_id)))
    await house.endpoint.arrived.wait()
    await reseal(house, row_id)
    await house.set(row_id, generation=7)
    house.endpoint.open.set()

    assert await getting == "access-1"
    assert (await house.stored(row_id)).values["refresh_token"] == "refresh-1"


async def test_sealing_again_is_no_refresh(house: House) -> None:  # noqa: F811
    """Whoever asks for a refresh gets one, and not the token that was sealed again meanwhile."""
    row_id = await house.connect(token(house.clock, 60))
    store = StoreThatIsRotated(house)
    node = house.node(store)
    store.then = lambda: reseal(house, row_id)

    assert await access(node.get(row_id, force=True)) == "access-1"
    assert len(house.endpoint.asked) == 1
