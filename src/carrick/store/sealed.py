"""Every place that holds ciphertext, and sealing it again in place.

A column that is not in `SEALED` would become unreadable when an old key is dropped; tests compare
the list with the tables and with everything that is ever sealed.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, Row, case, func, literal, select, update

from carrick.store.tables import (
    checkpoints,
    connections,
    environment_variables,
    environments,
    integrations,
    journal_entries,
    lifecycle_events,
    oauth_states,
)
from carrick.store.unit import Tx
from carrick.vault import contexts


@dataclass(frozen=True)
class SealedColumn:
    """A column that holds ciphertext."""

    column: Column[Any]
    #: What a row's ciphertext is bound to: made from these columns of it.
    context: Callable[..., str]
    made_of: tuple[Column[Any], ...]
    #: In a JSON column: the name under which base64 of the ciphertext stands.
    inside: str | None = None

    def __str__(self) -> str:
        """Return `table.column`."""
        name = f"{self.column.table.name}.{self.column.name}"
        return f"{name}.{self.inside}" if self.inside else name

    @property
    def key(self) -> Column[Any]:
        """The column that numbers the rows."""
        (key,) = self.column.table.primary_key.columns
        return key


@dataclass(frozen=True)
class Found:
    """A row's ciphertext."""

    key: Any
    context: str
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True)
class Window:
    """Some rows one after another: those to look at, and where the next ones begin."""

    found: list[Found]
    last: Any
    is_end: bool


def _integration(column: Column[Any]) -> SealedColumn:
    def context(credential_set: str) -> str:
        return contexts.integration_secret(credential_set, column.name)

    return SealedColumn(column, context, (integrations.c.credential_set,))


SEALED = (
    SealedColumn(environments.c.webhook_signing_key, contexts.signing_key, (environments.c.uuid,)),
    SealedColumn(
        environments.c.settings, contexts.hmac_key, (environments.c.uuid,), inside="hmac_key"
    ),
    SealedColumn(
        environment_variables.c.value,
        contexts.variable,
        (environment_variables.c.environment_id, environment_variables.c.name),
    ),
    _integration(integrations.c.credentials),
    _integration(integrations.c.integration_config),
    _integration(integrations.c.custom),
    SealedColumn(
        connections.c.credentials,
        contexts.connection_credentials,
        (connections.c.credential_set,),
    ),
    SealedColumn(
        checkpoints.c.value,
        contexts.checkpoint,
        (checkpoints.c.connection_row_id, checkpoints.c.function),
    ),
    SealedColumn(lifecycle_events.c.previous, contexts.previous, (lifecycle_events.c.run_id,)),
    SealedColumn(
        journal_entries.c.answer,
        contexts.journal_answer,
        (journal_entries.c.run_id, journal_entries.c.key),
    ),
    SealedColumn(oauth_states.c.request, contexts.oauth_state, (oauth_states.c.hash,)),
)


async def window(
    tx: Tx, place: SealedColumn, header: bytes, *, after: Any = None, most: int
) -> Window:
    """Return the next rows, and of them what does not begin with a header.

    Args:
        tx: The transaction.
        place: Where to look.
        header: How everything begins that is sealed with the key in use.
        after: The last row of the window before.
        most: Rows looked at, whatever is in them, so that this takes the same time everywhere.
    """
    value: Any = place.column
    if place.inside is None:
        is_new = func.substr(place.column, 1, len(header)) == literal(header)
        value = case((is_new, None), else_=place.column)
    made_of = [column.label(f"of_{number}") for number, column in enumerate(place.made_of)]
    statement = select(place.key.label("row_key"), value.label("value"), *made_of)
    if after is not None:
        statement = statement.where(place.key > after)
    rows = await tx.rows(statement.order_by(place.key).limit(most))
    found = [one for row in rows if (one := _found(place, row, header)) is not None]
    return Window(found, rows[-1].row_key if rows else after, len(rows) < most)


def _found(place: SealedColumn, row: Row[Any], header: bytes) -> Found | None:
    value = row.value
    if place.inside is not None:
        text = (value or {}).get(place.inside)
        value = base64.b64decode(text) if text else None
    if value is None or value.startswith(header):
        return None
    context = place.context(*(getattr(row, f"of_{n}") for n in range(len(place.made_of))))
    return Found(row.row_key, context, value)


async def replace(tx: Tx, place: SealedColumn, found: Found, ciphertext: bytes) -> bool:
    """Put another ciphertext in the place of one, unless somebody has written there meanwhile."""
    of_row = place.key == found.key
    if place.inside is None:
        statement = update(place.column.table).where(of_row, place.column == found.ciphertext)
        return await tx.changed(statement.values({place.column.name: ciphertext})) == 1
    was, now = (base64.b64encode(one).decode() for one in (found.ciphertext, ciphertext))
    value = await tx.scalar(select(place.column).where(of_row).with_for_update())
    if value is None or value.get(place.inside) != was:
        return False
    changed = {place.column.name: {**value, place.inside: now}}
    await tx.execute(update(place.column.table).where(of_row).values(changed))
    return True
