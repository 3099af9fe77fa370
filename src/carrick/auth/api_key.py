"""API_KEY: one key, placed where the provider definition says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carrick.auth.inputs import Text, read_texts
from carrick.auth.mode import ModeContext, Obtained, Steps, immediately, named_values
from carrick.model.auth import AuthMode, Credentials
from carrick.model.http import OutboundRequest

_FIELDS = (Text("apiKey", 1024),)


class ApiKey:
    """A key that neither expires nor is refreshed."""

    auth_mode = AuthMode.API_KEY

    def from_input(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Take the key.

        Raises:
            InvalidBody: It is missing or does not fit.
        """
        return self._taken(ctx, body, ())

    def from_import(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Take the key; see `from_input`."""
        return self._taken(ctx, body, ("credentials",))

    def refresh(self, ctx: ModeContext, credentials: Credentials) -> Steps | None:
        """Return `None`: a key is not refreshed."""
        return None

    def authorize(
        self, ctx: ModeContext, credentials: Credentials, request: OutboundRequest
    ) -> OutboundRequest:
        """Leave the request alone: the definition's `proxy.headers` or `query` place the key."""
        return request

    def template_values(self, credentials: Credentials) -> Mapping[str, Any]:
        """Return the key as `apiKey`, and every field under `credentials`."""
        return named_values(credentials)

    def _taken(self, ctx: ModeContext, body: Mapping[str, Any], at: tuple[str, ...]) -> Steps:
        values = read_texts(body, _FIELDS, at=at, specs=ctx.provider.credentials)
        return immediately(Obtained(Credentials(self.auth_mode, values)))
