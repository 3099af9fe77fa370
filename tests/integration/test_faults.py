"""A walk along every journey, cut off by SIGKILL at every instant that has a name.

The model is in `walk.py`, the journeys are in `journeys.py`. Points that several journeys pass in
the same way are walked in one of them here; `make faults` walks each passing of each in all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.integration.forks import FaultyServer
from tests.integration.journeys import JOURNEYS, cut_off
from tests.integration.walk import World, world

from carrick.model.faults import Point
from carrick.testing.fake_provider import FakeProvider
from carrick.testing.faults import read_plan

in_one_loop = pytest.mark.asyncio(loop_scope="module")

WALK = [(name, point) for name, journey in JOURNEYS.items() for point in journey.passed]
#: Passed before there is anything to go on a journey with; they have tests of their own below.
AT_START = {Point.SCHEMA_MIGRATED, Point.ESTATES_SETTLED}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def walked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A server that everything is deployed on, to be killed many times."""
    async with world(tmp_path_factory.mktemp("world")) as made:
        yield made


def test_every_point_is_on_the_walk() -> None:
    """A point that no journey is cut off at proves nothing."""
    walked_to = {read_plan(point)[0] for _, point in WALK}

    assert set(Point) - walked_to == AT_START


@in_one_loop
@pytest.mark.parametrize(("name", "point"), WALK, ids=[f"{name}-{point}" for name, point in WALK])
async def test_a_journey_that_is_cut_off_ends_as_before_or_as_after(
    walked: World, name: str, point: str
) -> None:
    """Killed there and started again, the server needs nobody to come to an end of the model."""
    found, passing = read_plan(point)

    assert await cut_off(walked, name, found, passing), "the journey does not pass this point"


@in_one_loop
@pytest.mark.faults
@pytest.mark.parametrize("name", JOURNEYS)
async def test_a_journey_can_be_cut_off_anywhere(walked: World, name: str) -> None:
    """The same at every passing of every point that the journey turns out to pass."""
    walked.server.passed()
    assert not await cut_off(walked, name, Point.SCHEMA_MIGRATED)
    passings = Counter(walked.server.passed())

    for point, count in passings.items():
        for passing in range(1, count + 1):
            print(f"{name} at {point}:{passing}")
            await cut_off(walked, name, Point(point), passing)


@pytest.mark.parametrize("point", sorted(AT_START))
async def test_a_first_start_that_is_cut_off_is_made_good_by_the_next(
    tmp_path: Path, point: str
) -> None:
    """A schema that was being made is made anew; nothing needs to be removed by hand."""
    async with FakeProvider() as provider:
        server = FaultyServer(tmp_path, provider, {"CARRICK_ISOLATION": "none"})
        server.arm(point)
        try:
            with pytest.raises(AssertionError):
                await server.start()
            await server.death()
            server.disarm()
            await server.start()
            assert (await server.call("GET", "/connections")).json["connections"] == []
        finally:
            await server.close()


#: Where a lease outlives its holder, and wake-ups are rows of the same transaction.
ON_POSTGRES = [
    ("import", "event-taken"),
    ("import", "before-send"),
    ("import", "last-look"),
    ("reconnect", "mailbox-taken"),
    ("delete", "wake-up-enqueued"),
    ("delete", "after-cleanup"),
]


@pytest.mark.parametrize("backend", [pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_journeys_that_are_cut_off_on_postgres_end_the_same_way(
    tmp_path: Path, empty_store_url: str
) -> None:
    """Leases of the dead are waited out, and what they held goes on."""
    async with world(tmp_path, empty_store_url) as on_postgres:
        for name, point in ON_POSTGRES:
            assert await cut_off(on_postgres, name, point), f"{name} does not pass {point}"


@pytest.mark.faults
@pytest.mark.parametrize("backend", [pytest.param("postgres", marks=pytest.mark.postgres)])
@pytest.mark.parametrize("name", ["import", "reconnect", "delete", "delete-half-set-up"])
async def test_a_journey_can_be_cut_off_anywhere_on_postgres(
    tmp_path: Path, empty_store_url: str, name: str
) -> None:
    """The first passing of every point."""
    async with world(tmp_path, empty_store_url) as on_postgres:
        on_postgres.server.passed()
        assert not await cut_off(on_postgres, name, Point.SCHEMA_MIGRATED)
        for point in dict.fromkeys(on_postgres.server.passed()):
            print(f"{name} at {point}")
            await cut_off(on_postgres, name, Point(point))
