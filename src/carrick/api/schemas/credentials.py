"""Credentials on the wire: what imports carry, and how a connection's are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from carrick.api.routing import Strict
from carrick.api.schemas.primitives import Text255
from carrick.api.times import with_z
from carrick.model.auth import AuthMode, Credentials

_Text1024 = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
_Text2048 = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
_Text4096 = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
_Text10000 = Annotated[str, StringConstraints(min_length=1, max_length=10000)]
_Text16384 = Annotated[str, StringConstraints(min_length=1, max_length=16384)]
_UpTo1024 = Annotated[str, StringConstraints(max_length=1024)]


class ConfigOverride(Strict):
    """The client a connection's own tokens were made with."""

    client_id: Text255 | None = None
    client_secret: _Text2048 | None = None


class OAuth2Import(Strict):
    """OAuth 2 tokens made elsewhere."""

    type: Literal["OAUTH2"]
    access_token: _Text16384
    refresh_token: _Text16384 | None = None
    expires_at: str | int | float | None = None
    config_override: ConfigOverride | None = None


class ClientCredentialsImport(Strict):
    """OAuth 2 client credentials and a token made with them."""

    type: Literal["OAUTH2_CC"]
    token: _Text4096
    client_id: Text255
    client_secret: _Text2048
    client_certificate: _Text10000 | None = None
    client_private_key: _Text10000 | None = None
    expires_at: str | int | float | None = None


class OAuth1Import(Strict):
    """OAuth 1 tokens made elsewhere."""

    type: Literal["OAUTH1"]
    oauth_token: _Text2048
    oauth_token_secret: _Text2048


class ApiKeyImport(Strict):
    """An API key of the provider."""

    type: Literal["API_KEY"]
    apiKey: _Text1024


class BasicImport(Strict):
    """A user name and password of the provider."""

    type: Literal["BASIC"]
    username: _UpTo1024
    password: _UpTo1024


class TbaImport(Strict):
    """Token-based authentication."""

    type: Literal["TBA"]
    token_id: _Text2048
    token_secret: _Text2048
    config_override: ConfigOverride | None = None


class AppImport(Strict):
    """The installation of an app."""

    type: Literal["APP", "CUSTOM"]
    app_id: Text255
    installation_id: Text255


class NoneImport(Strict):
    """No credentials at all."""

    type: Literal["NONE"]


CredentialsImport = Annotated[
    OAuth2Import
    | ClientCredentialsImport
    | OAuth1Import
    | ApiKeyImport
    | BasicImport
    | TbaImport
    | AppImport
    | NoneImport,
    Field(discriminator="type"),
]


#: Modes whose credentials are shown under another type.
_SHOWN_AS = {
    AuthMode.MCP_OAUTH2: AuthMode.OAUTH2,
    AuthMode.MCP_OAUTH2_GENERIC: AuthMode.OAUTH2,
    AuthMode.INSTALL_PLUGIN: AuthMode.BASIC,
}


def credentials_object(
    credentials: Credentials,
    *,
    show_refresh_token: bool,
    refresh_token_path: str | None = None,
) -> dict[str, Any]:
    """Return credentials as the wire shows them.

    Args:
        credentials: What is shown.
        show_refresh_token: Leave refresh tokens in.
        refresh_token_path: Where in `raw` the provider's answer has its refresh token, dotted.
    """
    mode = credentials.auth_mode
    if mode is AuthMode.NONE:
        return {}
    values = dict(credentials.values)
    values["type"] = _SHOWN_AS.get(mode, mode).value
    if credentials.expires_at is not None:
        values["expires_at"] = with_z(credentials.expires_at)
    if show_refresh_token:
        return values
    shown: dict[str, Any] = without_refresh_tokens(values)
    raw = shown.get("raw")
    if refresh_token_path and isinstance(raw, dict):
        shown["raw"] = _without_path(raw, refresh_token_path.split("."))
    return shown


def without_refresh_tokens(value: Any) -> Any:
    """Return data without any key that says `refresh token`, however it is spelled."""
    if isinstance(value, Mapping):
        return {
            name: without_refresh_tokens(inner)
            for name, inner in value.items()
            if str(name).lower().replace("_", "").replace("-", "") != "refreshtoken"
        }
    if isinstance(value, list | tuple):
        return [without_refresh_tokens(inner) for inner in value]
    return value


def _without_path(value: dict[str, Any], path: list[str]) -> dict[str, Any]:
    name, rest = path[0], path[1:]
    if not rest:
        return {key: inner for key, inner in value.items() if key != name}
    inner = value.get(name)
    return {**value, name: _without_path(inner, rest)} if isinstance(inner, dict) else value
