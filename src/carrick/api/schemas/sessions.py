"""Connect sessions on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from carrick.api.routing import Strict
from carrick.api.schemas.people import (
    EndUserInput,
    EndUserObject,
    OrganizationInput,
    end_user_object,
)
from carrick.api.schemas.primitives import (
    ConnectionId,
    IntegrationId,
    JsonMap,
    Tags,
    WebhookUrl,
)
from carrick.model.environment import ConnectSession


class ConfigDefaults(Strict):
    """What the product's own server decides for an integration; it wins over the browser."""

    user_scopes: str | None = None
    authorization_params: dict[str, str] | None = None
    connection_config: JsonMap | None = None


class SessionOverrides(Strict):
    """What the connect page shows differently for an integration."""

    docs_connect: str | None = None


class _SessionInput(Strict):
    """What both kinds of session take."""

    end_user: EndUserInput | None = None
    organization: OrganizationInput | None = None
    integrations_config_defaults: dict[IntegrationId, ConfigDefaults] | None = None
    overrides: dict[IntegrationId, SessionOverrides] | None = None
    webhook_url_override: WebhookUrl | None = None
    tags: Tags | None = None


class SessionCreation(_SessionInput):
    """`POST /connect/sessions`."""

    allowed_integrations: Annotated[list[IntegrationId], Field(max_length=1000)] | None = None


class ReconnectCreation(_SessionInput):
    """`POST /connect/sessions/reconnect`."""

    connection_id: ConnectionId
    integration_id: IntegrationId


class Telemetry(Strict):
    """`POST /connect/telemetry`."""

    token: str
    event: Literal[
        "open",
        "view:list",
        "view:integration",
        "view:unknown_error",
        "view:credentials_error",
        "view:success",
        "click:integration",
        "click:doc",
        "click:doc_section",
        "click:connect",
        "click:close",
        "click:finish",
        "click:outside",
        "popup:blocked_by_browser",
        "popup:closed_early",
    ]
    timestamp: str | float
    dimensions: dict[str, str] | None = None


# --- answers --------------------------------------------------------------------------------


class SessionToken(TypedDict):
    """A new session; the token is shown this once."""

    token: str
    connect_link: str
    expires_at: str


class SessionTokenAnswer(TypedDict):
    """A new session."""

    data: SessionToken


class ThemeColours(TypedDict):
    """Colours of the connect page."""

    primary: str


class Theme(TypedDict):
    """Colours of the connect page by theme."""

    light: ThemeColours
    dark: ThemeColours


class ConnectUiSettings(TypedDict):
    """How the connect page looks."""

    showWatermark: bool
    defaultTheme: str
    theme: Theme


class SessionObject(TypedDict):
    """A session as the connect page reads it."""

    endUser: EndUserObject | None
    connectUISettings: ConnectUiSettings
    allowed_integrations: NotRequired[list[str]]
    integrations_config_defaults: NotRequired[dict[str, Any]]
    isReconnecting: NotRequired[bool]
    overrides: NotRequired[dict[str, Any]]
    websocketsPath: str


class SessionAnswer(TypedDict):
    """A session."""

    data: SessionObject


_PRIMARY: ThemeColours = {"primary": "#00B2E3"}


def defaults_of(
    defaults: dict[str, ConfigDefaults] | None,
) -> tuple[dict[str, Any], str | None]:
    """Return the defaults to store, and the webhook address older callers put among them.

    Raises:
        ValueError: Two integrations name different addresses.
    """
    stored: dict[str, Any] = {}
    urls: set[str] = set()
    for name, each in (defaults or {}).items():
        entry = each.model_dump(exclude_none=True)
        url = entry.get("connection_config", {}).pop("webhook_url", None)
        if isinstance(url, str) and url:
            urls.add(url)
        stored[name] = entry
    if len(urls) > 1:
        raise ValueError("connection_config.webhook_url differs between integrations")
    return stored, next(iter(urls), None)


def overrides_of(overrides: dict[str, SessionOverrides] | None) -> dict[str, Any]:
    """Return the overrides to store."""
    return {name: each.model_dump(exclude_none=True) for name, each in (overrides or {}).items()}


def looks_of(settings: Mapping[str, Any]) -> ConnectUiSettings:
    """Return how the connect page looks in an environment of these settings."""
    chosen = settings.get("connect_ui_settings") or {}
    theme = chosen.get("theme") or {}
    return {
        "showWatermark": chosen.get("showWatermark", True),
        "defaultTheme": chosen.get("defaultTheme", "system"),
        "theme": {
            "light": theme.get("light") or _PRIMARY,
            "dark": theme.get("dark") or _PRIMARY,
        },
    }


def session_object(
    session: ConnectSession, settings: Mapping[str, Any], websockets_path: str
) -> SessionObject:
    """Return a session of an environment with these settings, as the connect page reads it."""
    shown: SessionObject = {
        "endUser": end_user_object(session.end_user),
        "connectUISettings": looks_of(settings),
        "websocketsPath": websockets_path,
    }
    if session.allowed_integrations is not None:
        shown["allowed_integrations"] = list(session.allowed_integrations)
    if session.integrations_config_defaults:
        shown["integrations_config_defaults"] = {
            name: {
                key: value
                for key, value in entry.items()
                if key in ("connection_config", "authorization_params")
            }
            for name, entry in session.integrations_config_defaults.items()
        }
    if session.reconnect_row_id is not None:
        shown["isReconnecting"] = True
    if session.overrides:
        shown["overrides"] = dict(session.overrides)
    return shown
