"""Register a webhook and remember its id."""

from __future__ import annotations

from typing import Any

from carrick import EventContext, create_on_event


@create_on_event(event="post-connection-creation", description="Register a webhook")
async def post_connection_setup(ctx: EventContext[dict[str, Any]]) -> None:
    url = f"https://app.example/{ctx.connection_id}"
    webhook = await ctx.post("/webhooks", data={"url": url, "events": ["account.updated"]})
    await ctx.update_metadata(webhook_id=webhook.data["id"])
