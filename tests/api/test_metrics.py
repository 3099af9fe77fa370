"""What is measured, as whoever scrapes a server reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prometheus_client.parser import text_string_to_metric_families
from tests.api.conftest import PROD_KEY, Desk
from tests.api.test_api_records import deploy

from carrick.api.meter import Meter, backlog_families
from carrick.model.event import Event
from carrick.store.backlog import Backlog, EventCount, NotificationCount

#: One parks at once, everything else waits for an hour.
CLEANUP = """
@create_on_event(event="pre-connection-deletion", description="Never", waits=[3600])
async def function(ctx: EventContext) -> None:
    raise ActionError("not today") if ctx.connection_id == "parks" else ValueError("not yet")
"""
#: A sample's name and labels, and its value.
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: bytes) -> Samples:
    """Read the format as a scraper does."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


async def measured(desk: Desk, key: str | None = "") -> Samples:
    """Scrape."""
    answer = await desk.ask("GET", "/metrics", key=key)
    assert answer.status == 200, answer.body
    return read(answer.body)


def at(samples: Samples, name: str, /, **labels: str) -> float | None:
    """Return one value, `None` where it is not there."""
    return samples.get((name, frozenset(labels.items())))


async def test_what_was_answered_is_counted_by_route(desk: Desk) -> None:
    """Never by address: that can hold an id, or a session's token."""
    await desk.connected("somebody")
    await desk.ask("GET", "/connections/somebody?provider_config_key=acme")
    await desk.ask("GET", "/connections/nobody?provider_config_key=acme")
    samples = await measured(desk)
    route = {"method": "GET", "route": "/connections/{connection_id:path}"}
    for status in ("200", "404"):
        assert at(samples, "carrick_answers_total", **route, status=status) == 1
    assert at(samples, "carrick_answer_seconds_count", **route) == 2
    assert not any("somebody" in value for _, labels in samples for _, value in labels)


async def test_what_is_still_to_be_done_is_counted(desk: Desk) -> None:
    """Parked cleanups above all: a person has to see to them."""
    await deploy(desk, {"cleanup": CLEANUP})
    for name in ("parks", "waits", "waits-too"):
        await desk.connected(name)
        await desk.ask("DELETE", f"/connections/{name}?provider_config_key=acme")
    samples = await measured(desk)
    cleanups = {"environment": "dev", "event": "pre-connection-deletion"}
    assert at(samples, "carrick_events", **cleanups, state="parked") == 1
    assert at(samples, "carrick_events", **cleanups, state="waiting") == 2
    assert at(samples, "carrick_events_overdue_seconds", **cleanups) == 0  # due in an hour


async def test_operations_are_counted_by_how_they_ended(desk: Desk) -> None:
    """Those that are recorded when they are over, like proxied calls, as well."""
    await desk.connected("one")
    for path in ("/proxy/api/me", "/proxy/nowhere"):
        headers = {"connection-id": "one", "provider-config-key": "acme"}
        await desk.ask("GET", path, headers=headers)
    samples = await measured(desk)
    dev = {"environment": "dev"}
    counted = "carrick_operations_total"
    assert at(samples, counted, **dev, type="auth", action="create_connection", state="success")
    for state in ("success", "failed"):
        assert at(samples, counted, **dev, type="proxy", action="call", state=state) == 1


async def test_a_key_sees_its_own_environment(desk: Desk) -> None:
    """One of the account sees all; without a key, or the scope, there is nothing to see."""
    await deploy(desk, {"cleanup": CLEANUP})
    await desk.connected("waits")
    await desk.ask("DELETE", "/connections/waits?provider_config_key=acme")
    waiting = {"environment": "dev", "event": "pre-connection-deletion", "state": "waiting"}
    every = await desk.key("account:metrics:read")
    seen = [
        at(await measured(desk, key), "carrick_events", **waiting) for key in ("", PROD_KEY, every)
    ]
    assert seen == [1, None, 1]
    other = await desk.key("environment:connections:list")
    answer = await desk.ask("GET", "/metrics", key=other)
    assert (answer.status, answer.code) == (403, "forbidden")
    assert (await desk.ask("GET", "/metrics", key=None)).status == 401


def test_what_has_been_due_for_long_stands_out() -> None:
    """The one number to watch: how long the first that waits should have begun."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    kind, minute = Event.POST_CONNECTION_CREATION.value, timedelta(minutes=1)
    backlog = Backlog(
        [EventCount(1, kind, "waiting", 3, now - minute), EventCount(1, kind, "running", 1, None)],
        [NotificationCount(1, 2, now - minute), NotificationCount(7, 9, now)],
    )
    samples = read(Meter().written(backlog_families(backlog, {1: "dev"}, now)))
    own = {"environment": "dev"}
    assert at(samples, "carrick_events_overdue_seconds", **own, event=kind) == 60
    assert at(samples, "carrick_notifications_overdue_seconds", **own) == 60
    assert at(samples, "carrick_notifications_waiting", **own) == 2
