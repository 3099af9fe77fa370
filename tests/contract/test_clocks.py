"""Nodes whose own clocks differ go by the database's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from carrick.model.clock import SystemClock
from carrick.store.clocks import DatabaseClock
from carrick.store.opening import open_store, running

pytestmark = pytest.mark.parametrize(
    "backend", [pytest.param("postgres", marks=pytest.mark.postgres)]
)


class _WrongClock(SystemClock):
    def __init__(self, ahead: timedelta) -> None:
        self._ahead = ahead

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead


async def test_nodes_with_wrong_clocks_agree_with_the_database(store_url: str) -> None:
    """However far a machine's clock is off, its node's time is the database's."""
    for hours in (-30, 0, 5):
        clock = DatabaseClock(_WrongClock(timedelta(hours=hours)))
        async with running(open_store(store_url, clock)) as store:
            await clock.look(store)
            moment = await store.read(lambda tx: tx.scalar(select(func.clock_timestamp())))
            assert abs(clock.now() - moment) < timedelta(seconds=2)
