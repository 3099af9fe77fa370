"""BASIC: a user name and a password (RFC 7617); one of them may be empty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carrick.auth.inputs import Text, read_texts
from carrick.auth.mode import ModeContext, Obtained, Steps, immediately, named_values
from carrick.auth.token_request import basic
from carrick.model.auth import AuthMode, Credentials
from carrick.model.http import OutboundRequest

_FIELDS = (Text("username", 1024, shortest=0), Text("password", 1024, shortest=0))


class Basic:
    """A user name and a password that neither expire nor are refreshed."""

    auth_mode = AuthMode.BASIC

    def from_input(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Take both; some providers use one and want the other empty.

        Raises:
            InvalidBody: One is missing or does not fit.
        """
        return self._taken(ctx, body, ())

    def from_import(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Take both; see `from_input`."""
        return self._taken(ctx, body, ("credentials",))

    def refresh(self, ctx: ModeContext, credentials: Credentials) -> Steps | None:
        """Return `None`: a password is not refreshed."""
        return None

    def authorize(
        self, ctx: ModeContext, credentials: Credentials, request: OutboundRequest
    ) -> OutboundRequest:
        """Add both as a Basic header."""
        values = credentials.values
        header = basic(str(values.get("username", "")), str(values.get("password", "")))
        return request.with_headers({"Authorization": header})

    def template_values(self, credentials: Credentials) -> Mapping[str, Any]:
        """Return `username` and `password`, also under `credentials`."""
        return named_values(credentials)

    def _taken(self, ctx: ModeContext, body: Mapping[str, Any], at: tuple[str, ...]) -> Steps:
        values = read_texts(body, _FIELDS, at=at, specs=ctx.provider.credentials)
        return immediately(Obtained(Credentials(self.auth_mode, values)))
