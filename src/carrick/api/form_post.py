"""A callback that comes by a form (`response_mode=form_post`), turned into one by a link.

A browser counts such a form as another site's request and may leave our cookie behind. So it is
sent on to the same address with what the form brought in the query: that is a plain navigation,
which carries the cookie, and everything else about callbacks holds for it as for any other.
"""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from carrick.api.errors import error_answer
from carrick.api.query import parse_query, texts
from carrick.api.routing import query_fields
from carrick.errors import InvalidContentType, OAuthCallbackInvalid

FORM = "application/x-www-form-urlencoded"
#: Bytes that a form may have, with the tokens that are not passed on.
_LONGEST = 64 * 1024
#: Characters an address may have: proxies in front of a server take hardly more.
_LONGEST_QUERY = 7_000
#: Fields that no mode reads and no address should show.
_TOKENS = ("access_token", "id_token")


async def by_a_link(request: Request) -> Response:
    """Answer a form by the redirect that brings its fields again, in the query.

    Raises:
        OAuthCallbackInvalid: It is too long for that.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        return error_answer(InvalidContentType(f"Content-Type header must be {FORM}."))
    brought = {**texts(query_fields(request)), **texts(parse_query(await _body_of(request)))}
    query = urlencode({name: text for name, text in brought.items() if name not in _TOKENS})
    if len(query) > _LONGEST_QUERY:
        raise _too_long()
    # Relative: the address below which this server stands is the browser's to know.
    return RedirectResponse(f"?{query}", 303, headers={"Cache-Control": "no-store"})


async def _body_of(request: Request) -> bytes:
    taken = bytearray()
    async for chunk in request.stream():
        taken += chunk
        if len(taken) > _LONGEST:
            raise _too_long()
    return bytes(taken)


def _too_long() -> OAuthCallbackInvalid:
    return OAuthCallbackInvalid("The provider's form is too long.")
