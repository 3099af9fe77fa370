"""When credentials are looked after although nobody asks for them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from carrick.credentials import rules
from carrick.errors import CredentialsBackingOff
from carrick.model.connection import ConnectionState
from carrick.store.refresh import RefreshRow

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
ROW = RefreshRow(
    row_id=1,
    environment_id=1,
    integration_row_id=1,
    integration_id="i",
    provider="p",
    connection_id="c",
    state=ConnectionState.ACTIVE,
    error_cause=None,
    generation=1,
    credential_set="s",
    auth_mode="OAUTH2",
    credentials=b"",
    connection_config={},
    refresh_attempts=0,
    last_refresh_failure_at=None,
    credentials_expires_at=None,
    refresh_owner=None,
    refresh_until=None,
    refresh_unanswered_at=None,
    last_fetched_at=None,
    last_refresh_success_at=None,
    created_at=NOW - 10 * DAY,
    upkeep_at=NOW,
)


@pytest.mark.parametrize(
    ("expires_in", "at"),
    [
        (None, DAY),
        (-HOUR, DAY),
        (HOUR, 35 * MINUTE),
        (20 * MINUTE, 10 * MINUTE),
        (90 * DAY, DAY),
    ],
)
def test_fresh_credentials_are_looked_after_before_they_are_due(
    expires_in: timedelta | None, at: timedelta
) -> None:
    """25 minutes before the end; half way through short lives; once a day through long ones."""
    expires_at = None if expires_in is None else NOW + expires_in
    assert rules.next_upkeep(expires_at, NOW, DAY) == NOW + at


@pytest.mark.parametrize(
    ("refreshed", "fetched", "expires_in", "wanted"),
    [
        (HOUR, 10 * MINUTE, 20 * MINUTE, True),  # used in its present life
        (10 * MINUTE, HOUR, 20 * MINUTE, False),  # not used since it is fresh
        (2 * DAY, 2 * DAY + HOUR, -DAY, True),  # idle for long: kept alive
        (HOUR, 2 * DAY, -MINUTE, False),  # idle, and kept alive not long ago
        (2 * DAY, 3 * DAY, None, True),  # a key that nobody uses
        (2 * DAY, HOUR, None, False),  # a key that is used shows by itself whether it works
    ],
)
def test_who_is_looked_after(
    refreshed: timedelta, fetched: timedelta, expires_in: timedelta | None, wanted: bool
) -> None:
    """What is used gets successors in time; what is not is kept alive once a day."""
    row = replace(
        ROW,
        last_refresh_success_at=NOW - refreshed,
        last_fetched_at=NOW - fetched,
        credentials_expires_at=NOW + expires_in if expires_in is not None else None,
    )
    assert rules.wants_upkeep(row, NOW, DAY) is wanted


def test_a_missing_answer_is_asked_for_at_once() -> None:
    """However fresh the credentials look."""
    row = replace(ROW, last_refresh_success_at=NOW, refresh_unanswered_at=NOW)
    assert rules.wants_upkeep(row, NOW, DAY)


@pytest.mark.parametrize(
    ("refreshed", "fetched", "at"),
    [
        (5 * HOUR, 3 * HOUR, DAY),
        (3 * HOUR, 5 * HOUR, DAY - 3 * HOUR),
        (3 * DAY, 2 * DAY, DAY),
    ],
)
def test_what_was_left_alone_is_looked_at_again(
    refreshed: timedelta, fetched: timedelta, at: timedelta
) -> None:
    """A day after it was used or refreshed last, and never at once."""
    row = replace(ROW, last_refresh_success_at=NOW - refreshed, last_fetched_at=NOW - fetched)
    assert rules.upkeep_of(row, NOW, DAY) == NOW + at


@pytest.mark.parametrize(
    ("unanswered", "transient", "at"),
    [
        (None, False, DAY),
        (None, True, 10 * MINUTE),
        (timedelta(seconds=1), True, timedelta(seconds=30)),
        (2 * MINUTE, True, 2 * MINUTE),
        (DAY, True, 10 * MINUTE),
    ],
)
def test_failures_are_tried_again(
    unanswered: timedelta | None, transient: bool, at: timedelta
) -> None:
    """A refusal once a day, an outage soon, a lost answer while it can still be mended."""
    since = NOW - unanswered if unanswered is not None else None
    assert rules.upkeep_after_failure(ROW, since, NOW, transient=transient) == NOW + at


def test_what_a_clock_wrote_that_was_set_back_says_nothing_of_now() -> None:
    """A failure that lies ahead holds nobody off; the end of credentials from ahead is wrong."""
    ahead = NOW + 3 * HOUR
    failed = replace(ROW, last_refresh_failure_at=ahead)
    rules.demand_rested(failed, NOW, force=False)
    with pytest.raises(CredentialsBackingOff):
        rules.demand_rested(failed, ahead + timedelta(seconds=1), force=False)

    fresh = replace(ROW, last_refresh_success_at=ahead)
    assert rules.is_from_ahead(fresh, NOW)
    assert not rules.is_from_ahead(fresh, ahead - timedelta(seconds=30))
