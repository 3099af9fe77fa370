from carrick import ActionError, EventContext, create_on_event

from ..metadata import Metadata


@create_on_event(
    event="validate-connection",
    description="Refuse a reconnect from another organisation",
    version="1.2.0",
    metadata=Metadata,
)
async def validate_connection(ctx: EventContext[Metadata]) -> None:
    identity = await ctx.get("/identity")
    if not identity.data.get("organization_id"):
        raise ActionError("There is no organization_id.")
    await ctx.require_same_account(identity.data["organization_id"])
