"""SQL of the write journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, bindparam, delete, exists, insert, select, update

from carrick.store.tables import journal_entries
from carrick.store.unit import Tx


class EntryState(StrEnum):
    """What is known of a write."""

    SENDING = "sending"  # intent written; until something else is, the outcome is unknown
    SUCCEEDED = "succeeded"  # 2xx: never sent again
    ANSWERED = "answered"  # any other answer: sent again on a retry
    UNSENT = "unsent"  # certainly never left


#: States in which the provider may have acted.
EFFECTIVE = (EntryState.SENDING.value, EntryState.SUCCEEDED.value)


@dataclass(frozen=True)
class Entry:
    """One journalled write."""

    id: int
    run_id: str
    connection_row_id: int | None
    function: str
    key: str
    idempotency_key: str
    method: str
    endpoint: str
    state: EntryState
    sends: int
    status: int | None
    answer: bytes | None


_COLUMNS = [journal_entries.c[name] for name in Entry.__dataclass_fields__]


_THE_WRITE = (
    journal_entries.c.run_id == bindparam("run"),
    journal_entries.c.key == bindparam("write_key"),
)
_FIND = select(*_COLUMNS).where(*_THE_WRITE)
_ADD = insert(journal_entries)
_CHANGE = update(journal_entries).where(*_THE_WRITE)


def _read(row: Row[Any]) -> Entry:
    values = dict(row._mapping)
    values["state"] = EntryState(values["state"])
    return Entry(**values)


async def find(tx: Tx, run_id: str, key: str) -> Entry | None:
    """Return the entry of a write, if the run made it before."""
    row = await tx.row(_FIND, {"run": run_id, "write_key": key})
    return _read(row) if row is not None else None


async def add(tx: Tx, **values: Any) -> None:
    """Write a new entry."""
    await tx.execute(_ADD, {"created_at": tx.now, "updated_at": tx.now, **values})


async def change(tx: Tx, run_id: str, key: str, **values: Any) -> None:
    """Write columns of one entry."""
    await tx.execute(_CHANGE, {"run": run_id, "write_key": key, "updated_at": tx.now, **values})


async def has_effects(tx: Tx, run_id: str) -> bool:
    """Say whether a run made, or may have made, a write at the provider."""
    statement = select(
        exists().where(
            journal_entries.c.run_id == run_id,
            journal_entries.c.state.in_(EFFECTIVE),
            journal_entries.c.method != "METADATA",
        )
    )
    return bool(await tx.scalar(statement))


async def effects(tx: Tx, run_ids: Sequence[str]) -> list[Entry]:
    """Return what runs made or may have made at the provider, in the order it was sent."""
    if not run_ids:
        return []
    rows = await tx.rows(
        select(*_COLUMNS)
        .where(
            journal_entries.c.run_id.in_(list(run_ids)),
            journal_entries.c.state.in_(EFFECTIVE),
            journal_entries.c.method != "METADATA",
        )
        .order_by(journal_entries.c.id)
    )
    return [_read(row) for row in rows]


async def adopt(tx: Tx, run_ids: Sequence[str], connection_row_id: int) -> None:
    """Give the entries of a candidate's runs to the connection it became."""
    if run_ids:
        await tx.execute(
            update(journal_entries)
            .where(journal_entries.c.run_id.in_(list(run_ids)))
            .values(connection_row_id=connection_row_id)
        )


async def erase_runs(tx: Tx, run_ids: Sequence[str]) -> None:
    """Forget runs that belong to nothing: a refused candidate's."""
    if run_ids:
        await tx.execute(delete(journal_entries).where(journal_entries.c.run_id.in_(list(run_ids))))


async def erase_unclaimed(tx: Tx, older_than: timedelta) -> None:
    """Forget candidates' runs whose journey ended without a verdict: with its process."""
    await tx.execute(
        delete(journal_entries).where(
            journal_entries.c.connection_row_id.is_(None),
            journal_entries.c.created_at <= tx.now - older_than,
        )
    )


async def erase_answers(tx: Tx, connection_row_id: int) -> None:
    """Erase what providers answered to a connection's writes; the fact of each write stays."""
    await tx.execute(
        update(journal_entries)
        .where(journal_entries.c.connection_row_id == connection_row_id)
        .values(answer=None, updated_at=tx.now)
    )
