"""BILL: a session of BILL's API, which ends after 35 minutes without a call."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from carrick.auth.inputs import Text, read_texts
from carrick.auth.login import log_in, login_values
from carrick.auth.mode import ModeContext, Obtained, Steps, named_values
from carrick.auth.token_answer import at_path
from carrick.errors import InvalidAuthMode, ProviderAnswerInvalid
from carrick.model.auth import AuthMode, Credentials
from carrick.model.http import OutboundRequest

_FIELDS = (
    Text("username", 1024),
    Text("password", 1024),
    Text("organization_id", 1024),
    Text("dev_key", 1024),
)
#: As their login wants them, unless the definition says otherwise.
_PARAMS = {
    "username": "${credentials.username}",
    "password": "${credentials.password}",
    "organizationId": "${credentials.organization_id}",
    "devKey": "${credentials.dev_key}",
}
_LIFETIME = timedelta(minutes=35)


class Bill:
    """A session bought by logging in; refreshing logs in again."""

    auth_mode = AuthMode.BILL

    def from_input(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Log in.

        Raises:
            InvalidBody: A field is missing, unknown, or does not fit.
        """
        return _logged_in(ctx, read_texts(body, _FIELDS, specs=ctx.provider.credentials))

    def from_import(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Refuse: only a login makes a session.

        Raises:
            InvalidAuthMode: Always.
        """
        raise InvalidAuthMode("Connections of this provider cannot be imported.")

    def refresh(self, ctx: ModeContext, credentials: Credentials) -> Steps | None:
        """Log in again."""
        return _logged_in(ctx, {field.name: credentials.values[field.name] for field in _FIELDS})

    def authorize(
        self, ctx: ModeContext, credentials: Credentials, request: OutboundRequest
    ) -> OutboundRequest:
        """Leave the request alone: the definition's `proxy.headers` place session and key."""
        return request

    def template_values(self, credentials: Credentials) -> Mapping[str, Any]:
        """Return the session as `accessToken`, and every field under `credentials`."""
        return named_values(credentials, accessToken=credentials.values.get("session_id"))


def _logged_in(ctx: ModeContext, fields: Mapping[str, Any]) -> Steps:
    secrets = Credentials(AuthMode.BILL, fields).secrets()
    answer = yield from log_in(ctx, login_values(ctx, fields), secrets, defaults=_PARAMS)
    values = {**fields, "raw": dict(answer)}
    for name, path in (("session_id", "sessionId"), ("user_id", "userId")):
        found = at_path(answer, path)
        if not isinstance(found, str) or not found:
            raise ProviderAnswerInvalid(
                f"{ctx.provider.display_name} answered without a session (no {path} in it)."
            )
        values[name] = found
    return Obtained(Credentials(AuthMode.BILL, values, ctx.now + _LIFETIME))
