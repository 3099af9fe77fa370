"""What is measured, in the text format that Prometheus and its relatives read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from carrick.api.services import Load
from carrick.operations.tally import Tally
from carrick.store.backlog import Backlog

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
#: The names of the environments that are shown, by row id.
Names = Mapping[int, str]


class Meter:
    """Counts the answers of one process, and writes measurements down."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._answers = Counter(
            "carrick_answers",
            "Requests that were answered; a status of 0 is one that was broken off.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "carrick_answer_seconds",
            "How long answers took.",
            ["method", "route"],
            registry=self._registry,
        )

    def answered(self, method: str, route: str, status: int | None, seconds: float) -> None:
        """Count a request by its route's template."""
        self._answers.labels(method, route, status or 0).inc()
        self._seconds.labels(method, route).observe(seconds)

    def written(self, measured: Iterable[Metric]) -> bytes:
        """Return what this process counted, and what was measured for this answer."""
        moment = CollectorRegistry()
        moment.register(_Measured(measured))
        return generate_latest(self._registry) + generate_latest(moment)


class _Measured(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def load_families(load: Load) -> Iterable[Metric]:
    """Tell what this server is busy with."""
    for name, value, meaning in (
        ("carrick_runners", load.runners, "Processes that run functions."),
        ("carrick_turns", load.turns, "Connections whose setups and cleanups run here."),
        ("carrick_turns_most", load.most_turns, "How many of them may."),
        ("carrick_outages", load.outages, "Integrations whose provider is held to be away."),
    ):
        yield GaugeMetricFamily(name, meaning, value=value)


def backlog_families(backlog: Backlog, names: Names, now: datetime) -> Iterable[Metric]:
    """Tell what is still to be done, and how long the first of it has been due."""
    events = GaugeMetricFamily(
        "carrick_events",
        "Setups and cleanups that wait, run, or are parked for a person.",
        labels=["environment", "event", "state"],
    )
    overdue = GaugeMetricFamily(
        "carrick_events_overdue_seconds",
        "How long the first of those that wait has been due.",
        labels=["environment", "event"],
    )
    for row in backlog.events:
        if row.environment_id in names:
            name = names[row.environment_id]
            events.add_metric([name, row.event, row.state], row.count)
            if row.due_at is not None:
                overdue.add_metric([name, row.event], _since(row.due_at, now))
    waiting = GaugeMetricFamily(
        "carrick_notifications_waiting",
        "Notifications that were not delivered yet.",
        labels=["environment"],
    )
    late = GaugeMetricFamily(
        "carrick_notifications_overdue_seconds",
        "How long the first of them has been due.",
        labels=["environment"],
    )
    for told in backlog.notifications:
        if told.environment_id in names:
            name = names[told.environment_id]
            waiting.add_metric([name], told.count)
            late.add_metric([name], _since(told.due_at, now))
    return events, overdue, waiting, late


def tally_family(tally: Tally, names: Names) -> Metric:
    """Tell what ended in this process, and how."""
    family = CounterMetricFamily(
        "carrick_operations",
        "Operations that ended in this process.",
        labels=["environment", "type", "action", "state"],
    )
    for ended, count in tally.items():
        if ended.environment_id in names:
            name = names[ended.environment_id]
            family.add_metric([name, ended.type, ended.action, ended.state], count)
    return family


def log_family(buffered: int, dropped: int) -> Iterable[Metric]:
    """Tell what waits to be written to the log of operations, and what found no room."""
    yield GaugeMetricFamily(
        "carrick_log_waiting", "Log entries that wait to be written.", value=buffered
    )
    yield CounterMetricFamily(
        "carrick_log_dropped", "Log entries that were lost, because too many waited.", value=dropped
    )


def _since(due_at: datetime, now: datetime) -> float:
    return max(0.0, (now - due_at).total_seconds())
