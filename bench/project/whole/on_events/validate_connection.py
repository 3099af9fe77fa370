"""Ask the provider whose credentials these are and hold the connection to that account."""

from __future__ import annotations

from typing import Any

from carrick import ActionError, EventContext, create_on_event


@create_on_event(event="validate-connection", description="Refuse another account")
async def validate_connection(ctx: EventContext[dict[str, Any]]) -> None:
    identity = await ctx.get("/api/me")
    organization_id = identity.data.get("organization_id")
    if not organization_id:
        raise ActionError("The provider sent no organization_id")
    await ctx.require_same_account(organization_id)
    await ctx.update_metadata(organization_id=organization_id)
