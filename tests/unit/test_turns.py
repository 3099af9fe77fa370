"""Whose turn it is on one node: shares, outages, and what a developer allows."""

from __future__ import annotations

import pytest

from carrick.lifecycle.turns import OTHERS_FIRST_S, OUTAGE_AFTER, Turns
from carrick.model.environment import Integration, IntegrationState
from carrick.model.event import (
    ActionRefused,
    Defective,
    HostFailed,
    Outcome,
    ProviderFailed,
    Succeeded,
    TimedOut,
)
from carrick.testing.clock import FakeClock

SLACK, GITHUB, STRIPE = 1, 2, 3
DOWN = ProviderFailed(503, "unavailable")


@pytest.fixture
def turns(clock: FakeClock) -> Turns:
    """The turns of a node with sixteen places."""
    return Turns(clock, places=16)


def all_of(turns: Turns, integration: int) -> int:
    """Take every turn an integration gets now, and return how many that were."""
    taken = 0
    while turns.take(integration):
        taken += 1
    return taken


def tell(turns: Turns, integration: int, *outcomes: Outcome) -> None:
    """Have one connection after another end like that."""
    for number, outcome in enumerate(outcomes):
        turns.note(integration, number, outcome)


async def test_nobody_takes_more_than_half_of_what_is_free(turns: Turns) -> None:
    """However much one integration has to do, there is room for the next one, and the next."""
    assert [all_of(turns, each) for each in (SLACK, GITHUB, STRIPE)] == [8, 4, 2]
    turns.give_back(SLACK)
    turns.give_back(SLACK)
    assert all_of(turns, STRIPE) == 1


async def test_a_few_failures_are_no_outage(turns: Turns) -> None:
    """One connection that fails again and again, or a few, do not hold up the others."""
    for _ in range(50):
        turns.note(SLACK, 7, DOWN)
    tell(turns, SLACK, *[DOWN] * (OUTAGE_AFTER - 2), Succeeded(), *[DOWN] * (OUTAGE_AFTER - 1))
    assert all_of(turns, SLACK) == 8


@pytest.mark.parametrize(
    "outcome", [ActionRefused("no"), Defective("KeyError"), ProviderFailed(404, "not found")]
)
async def test_what_is_not_the_provider_s_fault_is_no_outage(
    turns: Turns, outcome: Outcome
) -> None:
    """A function that refuses, is wrong, or is told no by a provider that works."""
    tell(turns, SLACK, *[outcome] * 50)
    assert all_of(turns, SLACK) == 8


@pytest.mark.parametrize("outcome", [ProviderFailed(None, "no route"), HostFailed("disk full")])
async def test_what_may_be_this_nodes_own_trouble_is_left_to_others_first(
    clock: FakeClock, outcome: Outcome
) -> None:
    """For five seconds from when it is due again, and not a second time."""
    turns = Turns(clock, has_others=True)
    turns.note(SLACK, 7, outcome)
    clock.move(60)

    assert [turns.leaves(7), turns.leaves(8)] == [True, False]
    clock.move(OTHERS_FIRST_S - 0.1)
    assert turns.leaves(7)
    clock.move(0.1)
    assert [turns.leaves(7), turns.leaves(7)] == [False, False]


async def test_an_old_failure_holds_nothing_up(clock: FakeClock) -> None:
    """Nor does one that was followed by an answer, nor any where there are no other nodes."""
    turns, alone = Turns(clock, has_others=True), Turns(clock)
    silence = ProviderFailed(None, "no route")
    for connection in (1, 2):
        turns.note(SLACK, connection, silence)
        alone.note(SLACK, connection, silence)
    turns.note(SLACK, 2, DOWN)

    assert [turns.leaves(2), alone.leaves(2)] == [False, False]
    clock.move(301)
    assert not turns.leaves(1)


async def test_only_so_many_failures_are_remembered(clock: FakeClock) -> None:
    """An outage of everything does not eat the node's memory."""
    turns = Turns(clock, has_others=True)
    for connection in range(5000):
        turns.note(SLACK, connection, ProviderFailed(None, "no route"))

    assert sum(turns.leaves(connection) for connection in range(5000)) == 4096


async def test_during_an_outage_one_is_tried_at_a_time_ever_less_often(
    turns: Turns, clock: FakeClock
) -> None:
    """Pauses double up to fifteen seconds; other integrations do not notice."""
    tell(turns, SLACK, *[DOWN] * OUTAGE_AFTER)
    waits = []
    for connection in range(7):
        wait_s = turns.opens_in(SLACK)
        assert wait_s is not None
        assert not turns.take(SLACK)
        await clock.advance(wait_s)
        assert all_of(turns, SLACK) == 1
        turns.note(SLACK, connection, DOWN)
        turns.give_back(SLACK)
        waits.append(wait_s)
    assert waits == [1, 2, 4, 8, 15, 15, 15]
    assert all_of(turns, GITHUB) == 8


@pytest.mark.parametrize(
    ("status", "is_away"), [(None, True), (503, True), (429, True), (500, False), (404, False)]
)
async def test_only_a_provider_that_is_not_there_is_to_blame(
    turns: Turns, status: int | None, is_away: bool
) -> None:
    """And only in an outage that is known; 500 may be the doing of what was asked."""
    outcome = ProviderFailed(status, "it failed")
    assert not turns.is_away(SLACK, outcome)
    tell(turns, SLACK, *[DOWN] * OUTAGE_AFTER)
    assert turns.is_away(SLACK, outcome) == is_away
    assert not turns.is_away(SLACK, TimedOut(30.0))
    assert not turns.is_away(GITHUB, outcome)


async def test_a_provider_that_comes_back_is_not_met_by_everything_at_once(
    turns: Turns, clock: FakeClock
) -> None:
    """Each success doubles how many may follow, until the outage is over."""
    tell(turns, SLACK, *[DOWN] * OUTAGE_AFTER)
    await clock.advance(1)
    admitted = []
    for _ in range(5):
        count = all_of(turns, SLACK)
        admitted.append(count)
        turns.note(SLACK, 1, Succeeded())
        for _ in range(count):
            turns.give_back(SLACK)
    assert admitted == [1, 2, 4, 8, 8]


async def test_a_provider_says_itself_when_to_come_back(turns: Turns, clock: FakeClock) -> None:
    """`Retry-After` is heeded where it asks for more, up to five minutes."""
    asked = ProviderFailed(429, "slow down", retry_after_s=90)
    tell(turns, SLACK, *[asked] * OUTAGE_AFTER)
    assert turns.opens_in(SLACK) == 90
    await clock.advance(90)
    turns.note(SLACK, 9, ProviderFailed(429, "slow down", retry_after_s=86_400))
    assert turns.opens_in(SLACK) == 300


async def test_an_integration_has_limits_of_its_own(turns: Turns, clock: FakeClock) -> None:
    """What the developer set bounds how many run at a time and how many begin in a minute."""
    turns.learn(integration(function_concurrency=3))
    assert all_of(turns, SLACK) == 3
    turns.learn(integration(function_concurrency=0, functions_per_minute=60))
    assert all_of(turns, SLACK) == 1
    assert turns.opens_in(SLACK) == 1
    await clock.advance(1)
    assert all_of(turns, SLACK) == 1


def integration(**settings: int) -> Integration:
    """Return an integration with settings."""
    return Integration(
        row_id=SLACK,
        environment_id=1,
        integration_id="slack",
        provider="slack",
        display_name=None,
        state=IntegrationState.ACTIVE,
        credentials=None,
        **settings,
    )
