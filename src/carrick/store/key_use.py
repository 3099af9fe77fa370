"""SQL of which encryption keys are in use, and of which running servers have which.

Keys stand here by their ids. They are facts of the store, so that all nodes seal with the same one
and a node without it is refused before it meets what it cannot read. Whoever decides anything here
holds the row of the sealing key first, so that two decide one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from carrick.store.tables import store_facts
from carrick.store.unit import Tx

#: A node that has said nothing for as long is taken for dead.
LIVES_S = 60.0
_SEALING = "sealing_key"
_ROTATING = "rotating_to"
_USED = "sealed_with:"
_NODE = "key_node:"


@dataclass(frozen=True)
class KeyNode:
    """A server process that reads and writes secrets."""

    node_id: str
    host: str
    known: frozenset[str]
    sealing: str
    seen_at: datetime


async def hold(tx: Tx) -> str | None:
    """Return the id of the key that seals, if one does; nobody changes it before this ends."""
    await _put(tx, _SEALING, "", replace=False)
    statement = select(store_facts.c.value).where(store_facts.c.name == _SEALING)
    return await tx.scalar(statement.with_for_update()) or None


async def sealing_key(tx: Tx) -> str | None:
    """Return the id of the key that seals, if one does."""
    return await _get(tx, _SEALING) or None


async def set_sealing_key(tx: Tx, key: str) -> None:
    """Have all nodes seal with another key; the transaction must `hold` the present one."""
    await _put(tx, _SEALING, key)
    await _put(tx, _USED + key, "")


async def note_used(tx: Tx, key: str) -> None:
    """Note that until now a key may have sealed what is stored."""
    await _put(tx, _USED + key, tx.now.isoformat())


async def rotating_to(tx: Tx) -> str | None:
    """Return the id of the key that everything is being sealed with again, if that goes on."""
    return await _get(tx, _ROTATING)


async def begin_rotation(tx: Tx, key: str) -> None:
    """Note that everything is to be sealed again with a key."""
    await _put(tx, _ROTATING, key)


async def end_rotation(tx: Tx) -> None:
    """Note that everything is."""
    await tx.execute(delete(store_facts).where(store_facts.c.name == _ROTATING))


async def used(tx: Tx) -> dict[str, datetime | None]:
    """Return which keys may have sealed something that is stored, and until when they sealed."""
    found = await _all_of(tx, _USED)
    return {key: datetime.fromisoformat(until) if until else None for key, until in found.items()}


async def forget(tx: Tx, keys: Iterable[str]) -> None:
    """Note that nothing is stored any more that keys have sealed."""
    names = [_USED + key for key in keys]
    await tx.execute(delete(store_facts).where(store_facts.c.name.in_(names)))


async def announce(tx: Tx, node_id: str, *, host: str, known: Iterable[str], sealing: str) -> None:
    """Say which keys a node has, and with which it seals from now on."""
    said = {"host": host, "known": sorted(known), "sealing": sealing, "at": tx.now.isoformat()}
    await _put(tx, _NODE + node_id, json.dumps(said))


async def nodes(tx: Tx) -> list[KeyNode]:
    """Return the nodes that have announced themselves, on Postgres within the last minute.

    The one server of a SQLite file says so once; whether it lives is told by its lock.
    """
    found = [_node(*one) for one in (await _all_of(tx, _NODE)).items()]
    since = tx.now - timedelta(seconds=LIVES_S)
    return [node for node in found if not tx.is_postgres or node.seen_at > since]


async def leave(tx: Tx, node_id: str) -> None:
    """Note that a node has ended."""
    await tx.execute(delete(store_facts).where(store_facts.c.name == _NODE + node_id))


async def sweep(tx: Tx, *, all_nodes: bool) -> None:
    """Remove what dead nodes have left: of all, or of those silent for an hour."""
    found = [_node(*one) for one in (await _all_of(tx, _NODE)).items()]
    since = tx.now - timedelta(hours=1)
    dead = [_NODE + node.node_id for node in found if all_nodes or node.seen_at < since]
    await tx.execute(delete(store_facts).where(store_facts.c.name.in_(dead)))


def _node(node_id: str, value: str) -> KeyNode:
    said = json.loads(value)
    return KeyNode(
        node_id=node_id,
        host=said["host"],
        known=frozenset(said["known"]),
        sealing=said["sealing"],
        seen_at=datetime.fromisoformat(said["at"]),
    )


async def _all_of(tx: Tx, kind: str) -> dict[str, str]:
    """Return the facts of one kind, in the order of what they are about."""
    names = store_facts.c.name
    rows = await tx.rows(
        select(names, store_facts.c.value)
        .where(names.startswith(kind, autoescape=True))
        .order_by(names)
    )
    return {row.name.removeprefix(kind): row.value for row in rows}


async def _get(tx: Tx, name: str) -> str | None:
    found: str | None = await tx.scalar(
        select(store_facts.c.value).where(store_facts.c.name == name)
    )
    return found


async def _put(tx: Tx, name: str, value: str, *, replace: bool = True) -> None:
    if replace and await tx.changed(
        update(store_facts).where(store_facts.c.name == name).values(value=value)
    ):
        return
    make = postgresql.insert if tx.is_postgres else sqlite.insert
    await tx.execute(
        make(store_facts)
        .values(name=name, value=value)
        .on_conflict_do_nothing(index_elements=["name"])
    )
