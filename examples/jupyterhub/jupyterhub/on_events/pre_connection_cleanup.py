"""Runs before the connection is deleted."""

from __future__ import annotations

from carrick import EventContext, ProviderError, create_on_event

from ..hub import Metadata, tokens_of


@create_on_event(
    event="pre-connection-deletion",
    description="Delete the API token that setup created",
    metadata=Metadata,
)
async def pre_connection_cleanup(ctx: EventContext[Metadata]) -> None:
    """Take the token away; one that is gone already is what we wanted."""
    metadata = await ctx.get_metadata()
    if metadata.user is None or metadata.token_id is None:
        return
    try:
        await ctx.delete(f"{tokens_of(metadata.user)}/{metadata.token_id}")
    except ProviderError as error:
        if error.response is None or error.response.status != 404:
            raise
