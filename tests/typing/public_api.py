"""Calls of the public API that must type-check, under mypy --strict and pyright. Never run."""

from __future__ import annotations

from typing import Any, assert_type

from pydantic import BaseModel

from carrick import ActionError, EventContext, ProviderError, Response, create_on_event
from carrick.sdk import EventFunction, Pagination


class Metadata(BaseModel):
    organization_id: str | None = None
    webhook_id: str | None = None


@create_on_event(
    event="validate-connection",
    description="Refuse a reconnect from another organisation",
    metadata=Metadata,
)
async def validate_connection(ctx: EventContext[Metadata]) -> None:
    identity = await ctx.get("/services/oauth2/userinfo", params={"v": 1, "ids": ["a"]}, retries=2)
    assert_type(identity, Response)
    if not identity.data.get("organization_id"):
        raise ActionError("Salesforce sent no organization_id")
    await ctx.require_same_account(identity.data["organization_id"], message="Wrong account")


@create_on_event(
    event="post-connection-creation",
    description="Register a webhook",
    version="1.0.0",
    metadata=Metadata,
    timeout=60,
    attempts=3,
    waits=[1, 2.5],
    on_reconnect=True,
    credentials=True,
    variables=["APP_URL"],
    on_unknown="park",
    isolation="run",
)
async def set_up(ctx: EventContext[Metadata]) -> None:
    metadata = await ctx.get_metadata()
    assert_type(metadata, Metadata)
    assert_type(await ctx.update_metadata(webhook_id="1"), Metadata)
    await ctx.update_metadata(Metadata(webhook_id="1"))
    await ctx.update_metadata({"webhook_id": "1"})
    await ctx.set_metadata(metadata)
    assert_type(await ctx.get_environment_variables(), dict[str, str])
    assert_type(await ctx.get_connection(), dict[str, Any])
    assert_type(await ctx.get_webhook_url(), str | None)
    await ctx.post("/webhooks", data={"url": "u"}, headers={"X-One": "1"}, response_type="json")
    await ctx.put("/webhooks/1", json=[1, 2])
    await ctx.patch("/webhooks/1", form={"a": "b"})
    await ctx.proxy("DELETE", "/webhooks/1", retry_on=[409], base_url_override="https://x")
    await ctx.fetch("https://example.com", method="POST", data=b"raw")
    if ctx.previous is not None:
        assert_type(ctx.previous["tags"], dict[str, str])
    for effect in ctx.effects:
        await ctx.log(effect.endpoint, level="warning", status=effect.status)


@create_on_event(event="pre-connection-deletion", description="Delete the webhook")
async def clean_up(ctx: EventContext) -> None:
    metadata = await ctx.get_metadata()
    assert_type(metadata, dict[str, Any])
    pages: Pagination = {"type": "cursor", "cursor_name_in_request": "after"}
    async for page in ctx.paginate("/webhooks", paginate=pages, params={"q": "mine"}):
        assert_type(page, list[Any])
    async with ctx.lock("webhooks", ttl=30, wait=5) as held:
        assert_type(held.fence, int)
    lock = await ctx.lock("webhooks")
    if lock:
        await lock.release()
    await ctx.save_checkpoint({"page": ctx.attempt, "id": ctx.uuid(), "at": ctx.now().isoformat()})
    try:
        await ctx.delete("/webhooks/1")
    except ProviderError as error:
        if error.response is None or error.status != 404:
            raise
        assert_type(error.retry_after, float | None)


@create_on_event(event="pre-connection-deletion", description="Delete the webhook")
async def clean_up_with_dict(ctx: EventContext[dict[str, Any]]) -> None:
    await ctx.clear_checkpoint()


assert_type(validate_connection, EventFunction[Metadata])
assert_type(clean_up, EventFunction[dict[str, Any]])

# What must not type-check. An ignore that is not needed is an error itself.
create_on_event(event="created", description="x")  # type: ignore[call-overload]  # pyright: ignore
create_on_event(event="validate-connection")  # type: ignore[call-overload]  # pyright: ignore


async def misuse(ctx: EventContext[Metadata]) -> None:
    await ctx.get("/x", data={})  # type: ignore[call-arg]  # pyright: ignore
    await ctx.post("/x", retries="2")  # type: ignore[arg-type]  # pyright: ignore
    await ctx.log("x", level="loud")  # type: ignore[arg-type]  # pyright: ignore
    await ctx.set_metadata("x")  # type: ignore[arg-type]  # pyright: ignore
