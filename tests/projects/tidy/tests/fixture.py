from carrick import create_on_event  # in a test folder, this is nobody's function


@create_on_event(event="validate-connection", description="A test")
async def in_a_test(ctx):
    pass
