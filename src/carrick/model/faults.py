"""Fault points: the instants at which a process may be stopped to see that nothing is lost.

Every instant that matters has a name, and the code says when it passes one. A server that serves
is built with `NO_FAULTS`, which does nothing; what stops a process lies in `carrick.testing`, and
no setting leads there.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class Point(StrEnum):
    """Every fault point there is. One marked *uncommitted* lies inside its transaction."""

    # --- starting
    #: Uncommitted: the schema is migrated.
    SCHEMA_MIGRATED = "schema-migrated"
    #: Leases and unclaimed journals of dead processes are put away.
    ESTATES_SETTLED = "estates-settled"

    # --- every transaction
    #: Uncommitted: one or more units have run.
    BEFORE_COMMIT = "before-commit"
    #: They are durable, and nobody has heard of it.
    AFTER_COMMIT = "after-commit"

    # --- connect, reconnect, import
    #: A flow's state waits for its callback.
    OAUTH_STATE_STORED = "oauth-state-stored"
    #: A callback took its state: nobody gets it again.
    OAUTH_STATE_TAKEN = "oauth-state-taken"
    #: A reconnect holds its connection's mailbox.
    MAILBOX_TAKEN = "mailbox-taken"
    #: The candidate is in memory.
    CANDIDATE_OBTAINED = "candidate-obtained"
    #: The catalogue's own check passed.
    CANDIDATE_VERIFIED = "candidate-verified"
    #: Every function has been asked, or one has ended it.
    VERDICT_REACHED = "verdict-reached"
    #: Uncommitted: the candidate is live, with everything that follows.
    BEFORE_PROMOTE = "before-promote"
    #: It is, and the caller has not heard.
    AFTER_PROMOTE = "after-promote"
    #: Uncommitted: the candidate is discarded, the connection marked.
    BEFORE_REFUSE = "before-refuse"
    #: It is, and the caller has not heard.
    AFTER_REFUSE = "after-refuse"
    #: An undecided candidate's journal is erased.
    CANDIDATE_LEFT = "candidate-left"

    # --- events
    #: Uncommitted: the mailbox's wake-up goes with the transaction.
    WAKE_UP_ENQUEUED = "wake-up-enqueued"
    #: The mailbox is held and its first event begun.
    EVENT_TAKEN = "event-taken"
    #: The function is about to run.
    ATTEMPT_BEGUN = "attempt-begun"
    #: It has ended; nothing says so yet.
    ATTEMPT_ENDED = "attempt-ended"
    #: A cleanup has succeeded; nothing says so yet.
    AFTER_CLEANUP = "after-cleanup"
    #: Uncommitted: what became of the attempt, and what follows.
    BEFORE_SETTLE = "before-settle"
    #: It is written.
    AFTER_SETTLE = "after-settle"
    #: Uncommitted: nothing due was found, the mailbox is about to be given up.
    LAST_LOOK = "last-look"
    #: A mailbox's lease is about to be renewed.
    LEASE_RENEWAL = "lease-renewal"

    # --- a function's writes
    #: Uncommitted: the intent of a write.
    BEFORE_INTENT = "before-intent"
    #: The intent is written, the request is not sent.
    BEFORE_SEND = "before-send"
    #: The provider has answered; nothing says so yet.
    AFTER_ANSWER = "after-answer"
    #: Uncommitted: the answer.
    BEFORE_RECORD = "before-record"
    #: The answer is recorded; the function has not heard.
    AFTER_RECORD = "after-record"
    #: Uncommitted: a function's metadata write, with its entry.
    METADATA_WRITTEN = "metadata-written"

    # --- deletion
    #: Uncommitted: the connection is hidden, its cleanup written.
    DELETE_MARKED = "delete-marked"
    #: It is, and no cleanup is awaited yet.
    AFTER_DELETE = "after-delete"
    #: Uncommitted: everything the connection held is erased.
    CONNECTION_ERASED = "connection-erased"
    #: Uncommitted: an integration and all its connections are marked.
    INTEGRATION_MARKED = "integration-marked"
    #: Uncommitted: the last connection of a deleted integration is gone, and so is it.
    INTEGRATION_ERASED = "integration-erased"
    #: Uncommitted: an environment and everything in it are marked.
    ENVIRONMENT_MARKED = "environment-marked"
    #: Uncommitted: the last integration of a deleted environment is gone, and so is it.
    ENVIRONMENT_ERASED = "environment-erased"

    # --- refreshing
    #: The right to refresh is taken.
    REFRESH_LEASED = "refresh-leased"
    #: The provider is about to be asked.
    REFRESH_ASKED = "refresh-asked"
    #: It has answered; the only copy of what it gave is in memory.
    REFRESH_ANSWERED = "refresh-answered"
    #: What it gave is stored; nobody has it yet.
    REFRESH_STORED = "refresh-stored"
    #: A failure is recorded; nobody has heard.
    REFRESH_FAILED = "refresh-failed"
    #: The right to refresh is about to be extended.
    REFRESH_LEASE_RENEWAL = "refresh-lease-renewal"

    # --- notifications
    #: Uncommitted: a notification, in the transaction it tells of.
    NOTIFICATION_WRITTEN = "notification-written"
    #: This process is to send it.
    NOTIFICATION_CLAIMED = "notification-claimed"
    #: The app has answered, or not; nothing says so yet.
    NOTIFICATION_SENT = "notification-sent"
    #: What became of it is written.
    NOTIFICATION_RECORDED = "notification-recorded"

    # --- deployments
    #: A bundle lies unpacked on this machine.
    BUNDLE_UNPACKED = "bundle-unpacked"
    #: What it holds is known.
    BUNDLE_INSPECTED = "bundle-inspected"
    #: Uncommitted: the deployment is written and not active.
    DEPLOYMENT_WRITTEN = "deployment-written"
    #: Uncommitted: it is active.
    DEPLOYMENT_ACTIVATED = "deployment-activated"
    #: It is, and the caller has not heard.
    AFTER_DEPLOY = "after-deploy"
    #: Uncommitted: an earlier deployment is active again.
    BEFORE_ROLLBACK = "before-rollback"
    #: It is, and the caller has not heard.
    AFTER_ROLLBACK = "after-rollback"


class Faults(Protocol):
    """What happens at fault points."""

    async def reached(self, point: Point) -> None:
        """Hear that a point is passed now."""


class NoFaults:
    """Nothing happens."""

    async def reached(self, point: Point) -> None:
        """Go on."""


#: What every server is built with that is not under test.
NO_FAULTS: Faults = NoFaults()
