import carrick


@carrick.create_on_event(event="validate-connection", description="See who this is")
async def check_account(ctx: carrick.EventContext) -> None:
    await ctx.get("/v1/account")
