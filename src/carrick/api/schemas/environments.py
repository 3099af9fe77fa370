"""Environments, their API keys, variables and settings on the wire. Mostly Carrick's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints
from typing_extensions import TypedDict

from carrick.api.routing import Strict
from carrick.api.schemas.primitives import Text255, WebhookUrl
from carrick.api.schemas.sessions import ConnectUiSettings, looks_of
from carrick.api.times import with_z
from carrick.environments import SCOPE
from carrick.model.environment import ApiKey, Environment

_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_.-]{0,255}$"
_VariableName = Annotated[str, StringConstraints(pattern=_VARIABLE)]


class EnvironmentCreation(Strict):
    """`POST /environments`."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]+$", max_length=255)]


class VariablesWrite(Strict):
    """`POST /environment-variables`: `null` removes a variable, others stay as they are."""

    variables: Annotated[
        dict[_VariableName, Annotated[str, Field(max_length=65_536)] | None],
        Field(max_length=1000),
    ]


class ApiKeyCreation(Strict):
    """`POST /environment/api-keys`."""

    display_name: Text255
    scopes: Annotated[
        list[Annotated[str, StringConstraints(pattern=SCOPE, max_length=255)]],
        Field(min_length=1, max_length=100),
    ]


class ApiKeyDeletion(Strict):
    """`DELETE /environment/api-keys`, body or query."""

    id: int


class ThemeChanges(Strict):
    """A colour of the connect page: that of its buttons, which links and marks follow."""

    primary: Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")]


class ThemesChanges(Strict):
    """Colours of the connect page by theme."""

    light: ThemeChanges | None = None
    dark: ThemeChanges | None = None


class ConnectUiChanges(Strict):
    """How the connect page looks; what is not named is as it is by default."""

    showWatermark: bool = True
    defaultTheme: Literal["light", "dark", "system"] = "system"
    theme: ThemesChanges = Field(default_factory=ThemesChanges)


class SettingsChanges(Strict):
    """`PATCH /environment/settings`; what is not named stays, `null` resets."""

    primary_url: WebhookUrl | None = None
    secondary_url: WebhookUrl | None = None
    on_auth_creation: bool | None = None
    on_auth_refresh_error: bool | None = None
    on_connection_deletion: bool | None = None
    on_setup_failed: bool | None = None
    on_cleanup_parked: bool | None = None
    callback_url: WebhookUrl | None = None
    hmac_enabled: bool | None = None
    hmac_key: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    connect_ui_settings: ConnectUiChanges | None = None


# --- answers --------------------------------------------------------------------------------


class EnvironmentObject(TypedDict):
    """An environment."""

    name: str
    uuid: str


class EnvironmentsAnswer(TypedDict):
    """Environments."""

    data: list[EnvironmentObject]


class NewEnvironmentObject(EnvironmentObject):
    """A new environment; its first API key is shown this once."""

    secret_key: str


class NewEnvironmentAnswer(TypedDict):
    """A new environment."""

    data: NewEnvironmentObject


class VariableObject(TypedDict):
    """An environment variable."""

    name: str
    value: str


class ApiKeyObject(TypedDict):
    """An API key, without its text."""

    id: int
    display_name: str
    scopes: list[str]
    created_at: str


class NewApiKeyObject(ApiKeyObject):
    """A new API key; its text is shown this once."""

    secret: str


class ApiKeysAnswer(TypedDict):
    """API keys."""

    data: list[ApiKeyObject]


class NewApiKeyAnswer(TypedDict):
    """A new API key."""

    data: NewApiKeyObject


class SettingsObject(TypedDict):
    """Settings of an environment; the HMAC key itself is never shown."""

    primary_url: str | None
    secondary_url: str | None
    on_auth_creation: bool
    on_auth_refresh_error: bool
    on_connection_deletion: bool
    on_setup_failed: bool
    on_cleanup_parked: bool
    callback_url: str | None
    hmac_enabled: bool
    hmac_key_set: bool
    public_key: str
    connect_ui_settings: ConnectUiSettings


class SettingsAnswer(TypedDict):
    """Settings of an environment."""

    data: SettingsObject


class SigningKeyObject(TypedDict):
    """The key that notifications are signed with from now on."""

    webhook_signing_key: str


class SigningKeyAnswer(TypedDict):
    """A new signing key."""

    data: SigningKeyObject


def environment_object(environment: Environment) -> EnvironmentObject:
    """Return an environment."""
    return {"name": environment.name, "uuid": environment.uuid}


def api_key_object(key: ApiKey) -> ApiKeyObject:
    """Return an API key without its text."""
    return {
        "id": key.row_id,
        "display_name": key.display_name,
        "scopes": list(key.scopes),
        "created_at": with_z(key.created_at),
    }


def settings_object(settings: Mapping[str, Any], public_key: str) -> SettingsObject:
    """Return the settings of an environment."""
    return {
        "primary_url": settings.get("primary_url"),
        "secondary_url": settings.get("secondary_url"),
        "on_auth_creation": bool(settings.get("on_auth_creation", True)),
        "on_auth_refresh_error": bool(settings.get("on_auth_refresh_error", True)),
        "on_connection_deletion": bool(settings.get("on_connection_deletion", False)),
        "on_setup_failed": bool(settings.get("on_setup_failed", True)),
        "on_cleanup_parked": bool(settings.get("on_cleanup_parked", True)),
        "callback_url": settings.get("callback_url"),
        "hmac_enabled": bool(settings.get("hmac_enabled", False)),
        "hmac_key_set": bool(settings.get("hmac_key")),
        "public_key": public_key,
        "connect_ui_settings": looks_of(settings),
    }
