"""The address of this server as the one who asks reaches it."""

from __future__ import annotations

import re

from starlette.requests import Request

from carrick.settings import Settings

#: Names by which a browser can only mean the machine it runs on.
_LOOPBACK = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.IGNORECASE)


def base_url_for(request: Request, settings: Settings) -> str:
    """Return the address a browser that began here has to come back to.

    Its cookies belong to the name it used. Where nobody has set this server's address, that name
    may be `localhost` as well as `127.0.0.1`, so the one of the request is taken; but no other
    name is: a Host header would decide where a provider sends its codes.
    """
    host = request.headers.get("host", "")
    if settings.public_url or not _LOOPBACK.fullmatch(host):
        return settings.base_url
    return f"http://{host.lower()}"
