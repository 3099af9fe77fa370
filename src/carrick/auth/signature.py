"""SIGNATURE: a user name token of WS-Security as a header (OASIS UsernameToken Profile 1.1)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from carrick.auth.inputs import Text, read_texts
from carrick.auth.mode import ModeContext, Obtained, Steps, immediately, named_values
from carrick.auth.placement import is_placed
from carrick.errors import InvalidAuthMode, InvalidBody
from carrick.model.auth import AuthMode, Credentials
from carrick.model.http import OutboundRequest

_FIELDS = (Text("username", 1024), Text("password", 1024))
#: Servers take a token for as long as they remember its nonce; five minutes is what is advised.
_LIFETIME_MS = 300_000
_UNQUOTABLE = frozenset('"\\\r\n\x00')


class Signature:
    """A digest of the password, the time and a nonce, made anew when it is about to end."""

    auth_mode = AuthMode.SIGNATURE

    def from_input(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Take user name and password, and make the first token.

        Raises:
            InvalidBody: One is missing or does not fit.
        """
        values = read_texts(body, _FIELDS, specs=ctx.provider.credentials)
        if _UNQUOTABLE & set(values["username"]):
            fault = {"code": "custom", "message": "cannot be sent in a header"}
            raise InvalidBody(issues=[{**fault, "path": ["username"]}])
        return immediately(_made(ctx, values))

    def from_import(self, ctx: ModeContext, body: Mapping[str, Any]) -> Steps:
        """Refuse: tokens are made here, with a password that a form brings.

        Raises:
            InvalidAuthMode: Always.
        """
        raise InvalidAuthMode("Connections of this provider cannot be imported.")

    def refresh(self, ctx: ModeContext, credentials: Credentials) -> Steps | None:
        """Make the next token."""
        return immediately(_made(ctx, credentials.values))

    def authorize(
        self, ctx: ModeContext, credentials: Credentials, request: OutboundRequest
    ) -> OutboundRequest:
        """Add the token as `X-WSSE`, unless the definition places it itself."""
        if is_placed(ctx):
            return request
        token = str(credentials.values.get("token", ""))
        return request.with_headers(
            {"Authorization": 'WSSE profile="UsernameToken"', "X-WSSE": token}
        )

    def template_values(self, credentials: Credentials) -> Mapping[str, Any]:
        """Return the token as `accessToken`, and every field under `credentials`."""
        return named_values(credentials, accessToken=credentials.values.get("token"))


def _made(ctx: ModeContext, values: Mapping[str, Any]) -> Obtained:
    described = ctx.provider.definition.get("token") or {}
    lifetime = described.get("expires_in_ms") or _LIFETIME_MS
    username, password = str(values["username"]), str(values["password"])
    kept = {
        "username": username,
        "password": password,
        "token": _username_token(ctx, username, password),
    }
    ends = ctx.now + timedelta(milliseconds=lifetime)
    return Obtained(Credentials(AuthMode.SIGNATURE, kept, ends))


def _username_token(ctx: ModeContext, username: str, password: str) -> str:
    created = ctx.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    nonce = ctx.nonce
    sha1 = hashlib.sha1((nonce + created + password).encode(), usedforsecurity=False)
    signature = ctx.provider.definition.get("signature") or {}
    # The profile digests to bytes and says the nonce in base64; many servers that know the header
    # only were written in a language whose digest is hexadecimal text, and take the nonce as said.
    match str(signature.get("digest") or "hex"):
        case "hex":
            digest, said = sha1.hexdigest().encode(), nonce
        case "raw":
            digest, said = sha1.digest(), base64.b64encode(nonce.encode()).decode()
        case other:
            raise InvalidAuthMode(f"This server makes no {other[:20]} digests.")
    return (
        f'UsernameToken Username="{username}", '
        f'PasswordDigest="{base64.b64encode(digest).decode()}", '
        f'Nonce="{said}", Created="{created}"'
    )
