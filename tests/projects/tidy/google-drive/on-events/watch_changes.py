from carrick import EventContext, create_on_event


@create_on_event(event="post-connection-creation", description="Watch the drive for changes")
async def watch_changes(ctx: EventContext) -> None:
    await ctx.post("/changes/watch", json={})
