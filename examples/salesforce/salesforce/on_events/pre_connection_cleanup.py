"""Runs before the connection is deleted."""

from __future__ import annotations

from carrick import EventContext, ProviderError, create_on_event

from ..connection import WEBHOOKS, Metadata


@create_on_event(
    event="pre-connection-deletion",
    description="Delete the webhook",
    metadata=Metadata,
)
async def pre_connection_cleanup(ctx: EventContext[Metadata]) -> None:
    """Take the webhook away; one that is gone already is what we wanted."""
    metadata = await ctx.get_metadata()
    if metadata.webhook_id is None:
        return
    try:
        await ctx.delete(f"{WEBHOOKS}/{metadata.webhook_id}")
    except ProviderError as error:
        if error.response is None or error.response.status != 404:
            raise
        await ctx.log("the webhook was gone already", webhook_id=metadata.webhook_id)
