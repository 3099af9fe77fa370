"""PgQueuer as it is used here: the names of its objects, what a job says, how jobs are handled."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pgqueuer import Job, QueueManager
from pgqueuer.adapters.persistence.qb import (
    QueryBuilderEnvironment,
    QueryQueueBuilder,
    QuerySchedulerBuilder,
)
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import Channel

from carrick.store.mailboxes import Mailbox

#: Looks at one mailbox.
Look = Callable[[Mailbox], Awaitable[None]]

ENTRYPOINT = "drain"
#: A wake-up for a moment further away than this is left to the sweep.
HORIZON_S = 60.0
#: Jobs taken from the queue at a time. PgQueuer wants at least twice as much concurrency.
BATCH = 16


@dataclass(frozen=True)
class WakeUp:
    """The wish that a connection's mailbox be looked at for one attempt of one event."""

    mailbox: Mailbox
    event_id: int
    attempt: int

    @property
    def key(self) -> str:
        """What tells a double apart. Per attempt: see `on_conflict` in PgQueuer's documentation.

        Its unique index covers running jobs too, so a key per connection would drop the wake-up
        of an event that is written while a drain is about to end.
        """
        return f"{self.event_id}:{self.attempt}"

    @property
    def payload(self) -> bytes:
        """The job's content, readable by a person."""
        return json.dumps(
            {
                "connection_row_id": self.mailbox.connection_row_id,
                "integration_row_id": self.mailbox.integration_row_id,
                "event_id": self.event_id,
                "attempt": self.attempt,
            }
        ).encode()


def settings() -> DBSettings:
    """Return the names of PgQueuer's objects.

    All are given: it would take those that are not from variables as plain as `CHANNEL`. Its
    tables are unlogged, because losing wake-ups with the whole server is what the sweep is for.
    """
    return DBSettings(
        prefix="engine_",
        db_schema=None,
        channel=Channel("engine_wake_ups"),
        function="engine_fn_changed",
        trigger="engine_tg_changed",
        statistics_table="engine_statistics",
        queue_status_type="engine_status",
        queue_table="engine_jobs",
        queue_table_log="engine_log",
        schedules_table="engine_schedules",
        durability=Durability.volatile,
        widen_id=True,
    )


def builders(
    names: DBSettings,
) -> tuple[QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder]:
    """Return what writes PgQueuer's statements for objects of these names."""
    return (
        QueryBuilderEnvironment(names),
        QueryQueueBuilder(names),
        QuerySchedulerBuilder(names),
    )


def handle_with(manager: QueueManager, look: Look) -> None:
    """Have the manager's jobs look at the mailboxes they name."""

    @manager.entrypoint(ENTRYPOINT, accepts_context=False)
    async def drain(job: Job) -> None:
        said = json.loads(job.payload or b"{}")
        # A node of an earlier version does not say the integration.
        await look(Mailbox(said["connection_row_id"], said.get("integration_row_id", 0)))
