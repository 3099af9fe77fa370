"""NONE: the provider asks for no credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carrick.auth.inputs import read_texts
from carrick.auth.mode import ModeContext, Obtained, Steps, immediately
from carrick.model.auth import AuthMode, Credentials
from carrick.model.http import OutboundRequest


class Unauthenticated:
    """No credentials at all."""

    auth_mode = AuthMode.NONE

    def from_input(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Take nothing.

        Raises:
            InvalidBody: Something was sent.
        """
        read_texts(body, ())
        return immediately(Obtained(Credentials(self.auth_mode)))

    def from_import(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Take nothing; see `from_input`."""
        read_texts(body, (), at=("credentials",))
        return immediately(Obtained(Credentials(self.auth_mode)))

    def refresh(self, ctx: ModeContext, credentials: Credentials) -> Steps | None:
        """Return `None`: there is nothing to refresh."""
        return None

    def authorize(
        self, ctx: ModeContext, credentials: Credentials, request: OutboundRequest
    ) -> OutboundRequest:
        """Leave the request alone."""
        return request

    def template_values(self, credentials: Credentials) -> Mapping[str, Any]:
        """Return nothing."""
        return {}
