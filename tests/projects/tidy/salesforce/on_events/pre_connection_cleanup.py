from carrick import EventContext, create_on_event

from ..metadata import Metadata


@create_on_event(
    event="pre-connection-deletion", description="Remove the webhook", metadata=Metadata
)
async def pre_connection_cleanup(ctx: EventContext[Metadata]) -> None:
    metadata = await ctx.get_metadata()
    if metadata.webhook_id is not None:
        await ctx.delete(f"/webhooks/{metadata.webhook_id}")
