"""Addresses that callers let this server call later: refused now, not when it is too late."""

from __future__ import annotations

from collections.abc import Sequence

from carrick.api.errors import invalid
from carrick.api.issues import issue
from carrick.api.services import Services
from carrick.errors import EgressDenied, InvalidBody, InvalidHeaders


async def demand_url(rooms: Services, url: str | None, path: Sequence[str]) -> None:
    """Refuse an address in a body that this server may not call.

    Args:
        rooms: The rooms.
        url: The address; nothing, or an empty text, is always fine.
        path: Where in the body it stands.

    Raises:
        InvalidBody: It may not be called; `errors` says why.
    """
    if not url:
        return
    try:
        await rooms.check_url(url)
    except (EgressDenied, InvalidHeaders) as error:
        invalid(InvalidBody, [issue(error.message, path)])
