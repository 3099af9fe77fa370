"""Runs once after the account was connected."""

from __future__ import annotations

from carrick import EventContext, create_on_event

from ..hub import Metadata, read_user, tokens_of


@create_on_event(
    event="post-connection-creation",
    description="Create an API token at the hub and remember its id",
    metadata=Metadata,
)
async def post_connection_setup(ctx: EventContext[Metadata]) -> None:
    """Create a token of our own, so that the user can see and revoke it by its note."""
    user = await read_user(ctx)
    token = await ctx.post(tokens_of(user), data={"note": f"carrick {ctx.connection_id}"})
    await ctx.update_metadata(user=user, token_id=token.data["id"])
