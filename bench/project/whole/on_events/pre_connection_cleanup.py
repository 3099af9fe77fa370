"""Delete the webhook."""

from __future__ import annotations

from typing import Any

from carrick import EventContext, create_on_event


@create_on_event(event="pre-connection-deletion", description="Delete the webhook")
async def pre_connection_cleanup(ctx: EventContext[dict[str, Any]]) -> None:
    metadata = await ctx.get_metadata()
    await ctx.delete(f"/webhooks/{metadata['webhook_id']}")
