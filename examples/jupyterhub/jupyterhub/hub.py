"""What the three functions share: the metadata model and who a token belongs to."""

from __future__ import annotations

from urllib.parse import quote

from pydantic import BaseModel

from carrick import ActionError, EventContext


class Metadata(BaseModel):
    """Facts kept in the connection's metadata."""

    user: str | None = None
    token_id: str | None = None


async def read_user(ctx: EventContext[Metadata]) -> str:
    """Return the name of the user whose token this connection holds."""
    identity = await ctx.get("/hub/api/user")
    if identity.data.get("kind") != "user":
        raise ActionError("This token belongs to a service. Connect with a user's own token.")
    return str(identity.data["name"])


def tokens_of(user: str) -> str:
    """Return the path under which a user's API tokens are."""
    return f"/hub/api/users/{quote(user, safe='')}/tokens"
