"""Runs once after the account was connected."""

from __future__ import annotations

from carrick import ActionError, EventContext, create_on_event

from ..connection import WEBHOOKS, Metadata


@create_on_event(
    event="post-connection-creation",
    description="Register a webhook and remember its id",
    metadata=Metadata,
    variables=["APP_WEBHOOK_URL"],
)
async def post_connection_setup(ctx: EventContext[Metadata]) -> None:
    """Have the organisation's changes sent to our app.

    Should this run again after a crash, the call below is answered from the record of the first
    attempt: there is never a second webhook.
    """
    variables = await ctx.get_environment_variables()
    url = variables.get("APP_WEBHOOK_URL")
    if not url:
        raise ActionError("Set the environment variable APP_WEBHOOK_URL to your app's address")
    webhook = await ctx.post(
        WEBHOOKS, data={"url": url, "events": ["account.updated", "contact.updated"]}
    )
    await ctx.update_metadata(webhook_id=webhook.data["id"])
    await ctx.log("webhook registered", webhook_id=webhook.data["id"])
