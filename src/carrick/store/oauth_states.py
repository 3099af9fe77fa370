"""SQL of OAuth states: what waits for a provider's callback, found by a hash and taken once."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime

from sqlalchemy import delete, insert, select

from carrick.store.tables import oauth_states
from carrick.store.unit import Tx


@dataclass(frozen=True)
class OAuthState:
    """A flow that has gone to the provider and has not come back."""

    hash: str
    environment_id: int
    integration_row_id: int
    reconnect_row_id: int | None
    cookie_hash: str
    #: Sealed: the code verifier, and what is to be connected.
    request: bytes = field(repr=False)
    expires_at: datetime


async def insert_state(tx: Tx, state: OAuthState) -> None:
    """Store a state."""
    await tx.execute(insert(oauth_states).values(**asdict(state), created_at=tx.now))


async def exists(tx: Tx, state_hash: str) -> bool:
    """Say whether a state is there, expired or not."""
    statement = select(oauth_states.c.hash).where(oauth_states.c.hash == state_hash)
    return await tx.scalar(statement) is not None


async def take(tx: Tx, state_hash: str) -> OAuthState | None:
    """Remove a state and return it, expired or not; of two that try, one gets it."""
    columns = [column for column in oauth_states.c if column.name != "created_at"]
    statement = delete(oauth_states).where(oauth_states.c.hash == state_hash).returning(*columns)
    row = await tx.row(statement)
    return OAuthState(**row._mapping) if row is not None else None
