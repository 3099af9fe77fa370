"""SQL of mailboxes: the lease under which one holder at a time runs a connection's functions.

A holder has a name, a fence (a number that only grows) and an expiry. Whoever finds an expired
lease takes it with the next fence; the earlier holder's writes then fail their check.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, or_, select, update

from carrick.errors import ResultLost
from carrick.store.tables import connections
from carrick.store.unit import Tx

#: Seconds a lease lives without being renewed.
LEASE_S = 6.0


@dataclass(frozen=True)
class Mailbox:
    """A connection's mailbox, and the integration whose functions it is for."""

    connection_row_id: int
    integration_row_id: int


@dataclass(frozen=True)
class Lease:
    """The right to run one connection's functions."""

    connection_row_id: int
    owner: str
    fence: int


_MINE = (
    connections.c.id == bindparam("row"),
    connections.c.mailbox_owner == bindparam("holder"),
    connections.c.mailbox_fence == bindparam("fence"),
)
_UPDATE_MINE = update(connections).where(*_MINE)
_RELEASE = _UPDATE_MINE.values(mailbox_owner=None, mailbox_until=None)
_IS_HELD = select(connections.c.id).where(*_MINE)
_DEMAND = _IS_HELD.with_for_update(read=True)
_BUMP = (
    update(connections)
    .where(connections.c.id == bindparam("row"))
    .values(mailbox_version=connections.c.mailbox_version + 1)
)
_ACQUIRE = (
    update(connections)
    .where(
        connections.c.id == bindparam("row"),
        or_(
            connections.c.mailbox_owner.is_(None),
            connections.c.mailbox_until < bindparam("moment"),
        ),
    )
    .values(
        mailbox_owner=bindparam("holder"),
        mailbox_fence=connections.c.mailbox_fence + 1,
        mailbox_until=bindparam("ends"),
    )
    .returning(connections.c.mailbox_fence)
)


async def acquire(tx: Tx, connection_row_id: int, owner: str) -> Lease | None:
    """Take a mailbox that is free or whose holder stopped renewing; `None` when it is held."""
    wanted = {
        "row": connection_row_id,
        "holder": owner,
        "moment": tx.now,
        "ends": tx.now + timedelta(seconds=LEASE_S),
    }
    row = await tx.row(_ACQUIRE, wanted)
    return Lease(connection_row_id, owner, row.mailbox_fence) if row is not None else None


def _of(lease: Lease) -> dict[str, Any]:
    return {"row": lease.connection_row_id, "holder": lease.owner, "fence": lease.fence}


async def renew(tx: Tx, lease: Lease) -> bool:
    """Push the expiry out; `False` when somebody else has taken over."""
    until = tx.now + timedelta(seconds=LEASE_S)
    return await tx.changed(_UPDATE_MINE, {**_of(lease), "mailbox_until": until}) == 1


async def release(tx: Tx, lease: Lease) -> bool:
    """Give a mailbox up; whether it was still held."""
    return await tx.changed(_RELEASE, _of(lease)) == 1


async def demand(tx: Tx, lease: Lease) -> None:
    """Make sure the lease is still held, and keep it so until this transaction ends.

    Raises:
        ResultLost: Another holder took over.
    """
    if await tx.scalar(_DEMAND, _of(lease)) is None:
        raise ResultLost


async def is_held(tx: Tx, lease: Lease) -> bool:
    """Say whether the lease is held at this moment."""
    return await tx.scalar(_IS_HELD, _of(lease)) is not None


async def bump(tx: Tx, connection_row_id: int) -> None:
    """Touch the mailbox, so that whoever is about to give it up goes first or sees the news."""
    await tx.execute(_BUMP, {"row": connection_row_id})


async def void_all(tx: Tx) -> int:
    """End every lease: for a store that only this process can be using."""
    return await tx.changed(
        update(connections)
        .where(
            or_(connections.c.mailbox_owner.is_not(None), connections.c.refresh_owner.is_not(None))
        )
        .values(mailbox_owner=None, mailbox_until=None, refresh_owner=None, refresh_until=None)
    )
