"""Runs before new credentials count: on connect and on every reconnect."""

from __future__ import annotations

from carrick import EventContext, create_on_event

from ..hub import Metadata, read_user


@create_on_event(
    event="validate-connection",
    description="Refuse a reconnect with the token of another user",
    metadata=Metadata,
)
async def validate_connection(ctx: EventContext[Metadata]) -> None:
    """Hold the connection to the user it was first made for."""
    await ctx.require_same_account(await read_user(ctx))
