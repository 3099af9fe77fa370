"""The lifecycle in a page: what must be true after each step, whatever broke on the way.

Nothing here knows how Carrick does it. A step is done or it is not; functions are attempted when
they are due, one connection's in order; the provider answers as it is told to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from tests.machine.editions import ATTEMPTS, EDITIONS, WAIT_S, event_of

_CHECK, _SETUP, _CLEANUP = (
    "validate-connection",
    "post-connection-creation",
    "pre-connection-deletion",
)


_MOST_FAILED_DAYS = 4


@dataclass(frozen=True)
class Trouble:
    """How the provider misbehaves: whether it acts all the same, and what the caller hears."""

    acts: bool
    hears: str  # ok, no, error or nothing
    takes_long: bool = False


FINE = Trouble(acts=True, hears="ok")
TROUBLES = {
    "down": Trouble(acts=False, hears="error"),
    "denies": Trouble(acts=False, hears="no"),
    "drops": Trouble(acts=False, hears="nothing"),
    "loses": Trouble(acts=True, hears="nothing"),
    "hangs": Trouble(acts=False, hears="nothing", takes_long=True),
    "acts-and-hangs": Trouble(acts=True, hears="nothing", takes_long=True),
    "gateway": Trouble(acts=True, hears="nothing"),  # a gateway answers that it got none
}


@dataclass(eq=False)
class Event:
    """One function that has to run for a connection."""

    name: str
    kind: str
    due: datetime
    state: str = "waiting"
    attempts: int = 0
    is_last: bool = False
    #: Accounts where a setup's webhook is; the one that told it so; whether one did not answer.
    at: set[str] = field(default_factory=set)
    answered_by: str | None = None
    is_unsure: bool = False
    #: A cleanup knows that it has removed it, or only that it asked.
    is_removed: bool = False
    is_doubtful: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it still has to run."""
        return self.state == "waiting"


@dataclass(eq=False)
class Conn:
    """One connection, and everything that ever had to happen for it."""

    id: str
    account: str
    metadata: dict[str, Any]
    state: str = "active"
    cause: str | None = None
    recorded: str | None = None
    #: Setups whose webhook the metadata names.
    hooks: list[Event] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    #: Days on which its credentials could not be refreshed.
    failed_days: list[date] = field(default_factory=list)

    @property
    def is_usable(self) -> bool:
        """Whether callers see it."""
        return self.state in ("active", "auth_error")

    def to_remove(self) -> list[Event]:
        """Return the setups whose webhook a cleanup sees to, in its order."""
        failed = [e for e in self.events if e.state == "failed" and e.answered_by]
        return [*self.hooks, *(e for e in failed if e not in self.hooks)]

    def is_in_doubt(self, event: Event) -> bool:
        """Whether an event that may run again does not know what became of a write."""
        if event.state not in ("waiting", "parked"):
            return False
        if event_of(event.kind) == _SETUP:
            return event.is_unsure and event.answered_by is None
        return event.kind == "removes" and any(
            setup.is_doubtful and not setup.is_removed for setup in self.to_remove()
        )

    @property
    def setup(self) -> str:
        """What is shown of its setups."""
        latest = {event.name: event for event in self.events if event_of(event.kind) == _SETUP}
        states = {event.state for event in latest.values()}
        return "pending" if "waiting" in states else "failed" if "failed" in states else "done"


class Model:
    """Everything an environment should hold."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.conns: list[Conn] = []
        self.functions: dict[str, str] = {}
        self.last_seen: dict[str, str] = {}
        self.keeps_refused = False
        self.troubles: dict[str, str] = {}
        self.stumble: tuple[str, str] | None = None

    # --- what callers do --------------------------------------------------------------------

    def deploy(self, edition: str) -> None:
        """Make an edition's functions the active ones."""
        self.functions = dict(EDITIONS[edition])
        self.last_seen |= self.functions

    def connect(self, id_: str, account: str, metadata: dict[str, Any] | None) -> str:
        """Connect or reconnect, and return accepted, refused or undecided."""
        conn = self.find(id_)
        verdict, noted, recorded = self._verdict(conn, account)
        if verdict == "accepted":
            self._accept(conn, id_, account, metadata, noted, recorded)
        elif verdict == "refused" and conn is not None:
            conn.told.append("connection_override")
            if not self.keeps_refused:
                conn.state, conn.cause = "auth_error", "refused"
        return verdict

    def _verdict(self, conn: Conn | None, account: str) -> tuple[str, dict[str, str], str | None]:
        noted: dict[str, str] = {}
        known = conn.recorded if conn is not None else None
        for kind in self._active(_CHECK):
            if kind in ("refuses", "defective"):
                return "refused", {}, None
            heard = self._ask("identity")
            while heard.hears in ("error", "nothing") and "identity" not in self.troubles:
                if heard.takes_long:
                    return "undecided", {}, None
                heard = self._ask("identity")
            if heard.hears != "ok":
                return ("refused" if heard.hears == "no" else "undecided"), {}, None
            if kind == "notes":
                noted["seen"] = "yes"
            elif known not in (None, account):
                return "refused", {}, None
            else:
                known = account
        return "accepted", noted, known

    def _accept(
        self,
        conn: Conn | None,
        id_: str,
        account: str,
        metadata: dict[str, Any] | None,
        noted: dict[str, str],
        recorded: str | None,
    ) -> None:
        is_new = conn is None
        if conn is None:
            conn = Conn(id_, account, {})
            self.conns.append(conn)
        if metadata is not None:
            conn.metadata, conn.hooks = dict(metadata), []
        conn.metadata |= noted
        conn.account, conn.recorded = account, recorded
        self._heal(conn)
        conn.told.append("connection_create" if is_new else "connection_override")
        self._write(conn, [k for k in self._named(_SETUP) if is_new or k[1] == "again"])

    def merge(self, id_: str, changes: dict[str, Any]) -> None:
        """Write metadata through the API."""
        conn = self.find(id_)
        assert conn is not None
        conn.metadata |= changes

    def refresh(self, id_: str) -> bool:
        """Refresh by force and say whether that worked."""
        conn = self.find(id_)
        assert conn is not None
        if conn.cause == "refused":
            return False
        if self._ask("token").hears == "ok":
            self._heal(conn)
            return True
        if self.now.date() not in conn.failed_days[-1:]:
            conn.failed_days.append(self.now.date())
        conn.told.append("connection_refresh")
        if len(conn.failed_days) >= _MOST_FAILED_DAYS:
            conn.state, conn.cause = "auth_error", "refresh"
        return False

    def _heal(self, conn: Conn) -> None:
        conn.state, conn.cause, conn.failed_days = "active", None, []

    def delete(self, id_: str) -> Conn:
        """Hide a connection and write its cleanups."""
        conn = self.find(id_)
        assert conn is not None
        conn.state = "deleting"
        for event in conn.events:
            if event.is_open and (event.answered_by or event.is_unsure):
                event.is_last, event.due = True, self.now
            elif event.is_open:
                event.state = "superseded"
        self._write(conn, self._named(_CLEANUP))
        conn.told.append("connection_delete")
        self._end(conn)
        return conn

    def retry(self, conn: Conn, event: Event) -> None:
        """Give a cleanup or a failed setup another set of attempts."""
        if not event.is_open:
            event.state, event.attempts = "waiting", 0
        event.due = self.now

    def force(self, conn: Conn, event: Event) -> None:
        """Give a cleanup up."""
        event.state = "superseded"
        self._end(conn)

    # --- death ------------------------------------------------------------------------------

    def doubts(self) -> list[tuple[int, int, str]]:
        """Return what a server that dies now may leave in doubt: whose write, and of which kind."""
        found = []
        for number, conn in enumerate(self.conns):
            is_cleaned_up = any(
                event.is_open and event_of(event.kind) == _CLEANUP for event in conn.events
            )
            for at, event in enumerate(conn.events):
                if event.is_open and event_of(event.kind) == _SETUP:
                    found.append((number, at, "is_unsure"))
                elif is_cleaned_up and event in conn.to_remove():
                    found.append((number, at, "is_doubtful"))
        return found

    def doubt(self, number: int, at: int, which: str) -> None:
        """Leave a write in doubt."""
        setattr(self.conns[number].events[at], which, True)

    # --- what follows -----------------------------------------------------------------------

    def run_due(self, now: datetime) -> None:
        """Let everything happen that is due by now."""
        self.now = now
        for conn in self.conns:
            while (head := self.head(conn)) is not None and head.due <= now:
                self._attempt(conn, head)

    def _attempt(self, conn: Conn, event: Event) -> None:
        event.kind = self.functions.get(event.name) or self.last_seen[event.name]
        run = self._set_up if event_of(event.kind) == _SETUP else self._clean_up
        outcome = run(conn, event)
        if outcome == "done":
            event.state = "done"
        else:
            self._failed(conn, event, is_final=outcome == "final")
        self._end(conn)

    def _failed(self, conn: Conn, event: Event, *, is_final: bool) -> None:
        event.attempts += 1
        if event.is_last or is_final or event.attempts >= ATTEMPTS:
            is_setup = event_of(event.kind) == _SETUP
            event.state, event.is_last = ("failed" if is_setup else "parked"), False
            conn.told.append("setup_failed" if is_setup else "cleanup_parked")
        else:
            event.due = self.now + timedelta(seconds=WAIT_S)

    def _set_up(self, conn: Conn, event: Event) -> str:
        if event.kind == "declines":
            return "final"
        if conn.state == "auth_error":
            return "again"  # credentials of which nothing good is known are not used
        if event.answered_by is None:
            heard = self._ask("create")
            if heard.acts:
                event.at.add(conn.account)
            event.is_unsure |= heard.hears == "nothing"
            if heard.hears != "ok":
                return "again"
            event.answered_by = conn.account
        if event.kind == "half":
            return "again"
        if event not in conn.hooks:
            conn.hooks.append(event)
        return "done"

    def _clean_up(self, conn: Conn, event: Event) -> str:
        if event.kind in ("parks", "breaks"):
            return "final" if event.kind == "parks" else "again"
        for setup in conn.to_remove():
            if setup.is_removed:
                continue
            heard = self._ask("remove")
            is_there = setup.answered_by == conn.account  # accounts do not see others' webhooks
            if heard.acts and is_there:
                setup.at.discard(conn.account)
            setup.is_removed = heard.hears == "ok" and (is_there or setup.is_doubtful)
            setup.is_doubtful |= heard.hears == "nothing"
            if not setup.is_removed:
                return "again"
        return "done"

    def _end(self, conn: Conn) -> None:
        left = any(event.state in ("waiting", "parked") for event in conn.events)
        if conn.state == "deleting" and not left:
            conn.state, conn.metadata, conn.hooks, conn.recorded = "gone", {}, [], None

    # --- small things -----------------------------------------------------------------------

    def find(self, id_: str) -> Conn | None:
        """Return the connection callers see under an id."""
        return next((conn for conn in self.conns if conn.id == id_ and conn.is_usable), None)

    def head(self, conn: Conn) -> Event | None:
        """Return what has to run next for a connection."""
        return next((event for event in conn.events if event.is_open), None)

    def next_due(self) -> datetime | None:
        """Return when something happens by itself next."""
        heads = [self.head(conn) for conn in self.conns]
        return min((head.due for head in heads if head is not None), default=None)

    def cleanups(self) -> list[tuple[Conn, Event]]:
        """Return the cleanups that are not done, oldest first."""
        return [
            (conn, event)
            for conn in self.conns
            for event in conn.events
            if event_of(event.kind) == _CLEANUP and event.state in ("waiting", "parked")
        ]

    def _write(self, conn: Conn, named: list[tuple[str, str]]) -> None:
        conn.events += [Event(name, kind, self.now) for name, kind in named]

    def _named(self, event: str) -> list[tuple[str, str]]:
        return [(n, k) for n, k in sorted(self.functions.items()) if event_of(k) == event]

    def _active(self, event: str) -> Iterator[str]:
        return (kind for _, kind in self._named(event))

    def _ask(self, where: str) -> Trouble:
        if self.stumble is not None and self.stumble[0] == where:
            kind, self.stumble = self.stumble[1], None
            return TROUBLES[kind]
        return TROUBLES[self.troubles[where]] if where in self.troubles else FINE

    def snapshot(self) -> list[dict[str, Any]]:
        """Return what the store must show, connection by connection."""
        return [
            {
                "id": conn.id,
                "state": conn.state,
                "cause": conn.cause if conn.is_usable else None,
                "account": None if conn.state == "gone" else conn.account,
                "recorded": conn.recorded,
                "metadata": conn.metadata,
                "hooks": len(conn.hooks),
                "setup": conn.setup if conn.is_usable else None,
                "told": conn.told,
                "events": [
                    (e.name, e.state, e.attempts, len(e.at), conn.is_in_doubt(e))
                    for e in conn.events
                ],
            }
            for conn in self.conns
        ]
