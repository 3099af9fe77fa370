"""Runs before new credentials count: on connect and on every reconnect."""

from __future__ import annotations

from carrick import ActionError, EventContext, create_on_event

from ..connection import Metadata


@create_on_event(
    event="validate-connection",
    description="Refuse a reconnect from another Salesforce organisation",
    metadata=Metadata,
)
async def validate_connection(ctx: EventContext[Metadata]) -> None:
    """Ask Salesforce whose credentials these are, and hold the connection to that organisation."""
    identity = await ctx.get("/services/oauth2/userinfo")
    organization_id = identity.data.get("organization_id")
    if not organization_id:
        raise ActionError("Salesforce sent no organization_id")
    await ctx.require_same_account(organization_id)
    await ctx.update_metadata(organization_id=organization_id)
