"""Where a token goes in a call: where the provider definition puts it, else a bearer header."""

from __future__ import annotations

import re
from collections.abc import Mapping

from carrick.auth.mode import ModeContext
from carrick.model.auth import Credentials
from carrick.model.http import OutboundRequest

_TOKEN = re.compile(r"\$\{[^}]*\b(?:accessToken|(?:credentials\.)?token)\b")
_CARRIERS = frozenset({"authorization", "cookie"})


def bearer_unless_placed(
    ctx: ModeContext, credentials: Credentials, request: OutboundRequest
) -> OutboundRequest:
    """Add the token as a bearer token (RFC 6750 §2.1), unless the definition places it itself."""
    if is_placed(ctx):
        return request
    token = credentials.values.get("token", "")
    return request.with_headers({"Authorization": f"Bearer {token}"})


def is_placed(ctx: ModeContext) -> bool:
    """Whether the definition's own headers carry what identifies the caller."""
    headers = ctx.provider.proxy.get("headers")
    if not isinstance(headers, Mapping):
        return False
    return any(
        str(name).lower() in _CARRIERS or _TOKEN.search(str(template))
        for name, template in headers.items()
    )
