from carrick import EventContext, create_on_event

from ...lib.names import GREETING
from ..metadata import Metadata


@create_on_event(
    event="post-connection-creation", description="Register a webhook", metadata=Metadata
)
async def post_connection_setup(ctx: EventContext[Metadata]) -> None:
    await ctx.log(GREETING)
    webhook = await ctx.post("/webhooks", json={"url": "https://app.example/hook"})
    await ctx.update_metadata(webhook_id=webhook.data["id"])
