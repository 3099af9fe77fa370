"""Integrations and their functions on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from typing_extensions import TypedDict

from carrick.api.routing import Strict
from carrick.api.schemas.primitives import (
    IntegrationId,
    NewIntegrationId,
    ProviderName,
    StringInt,
    Text255,
)
from carrick.api.times import with_z_or_none
from carrick.model.auth import AuthMode
from carrick.model.environment import Integration
from carrick.model.event import FunctionRef
from carrick.model.provider import Provider
from carrick.providers import logo_url

_SCOPES = r"^$|^[0-9a-zA-Z:/_.*-]+(,[0-9a-zA-Z:/_.*-]+)*$"
_Secret = Annotated[str, StringConstraints(min_length=1, max_length=8192)]


class ClientInput(Strict):
    """The developer's own client at a provider."""

    type: Literal["OAUTH1", "OAUTH2", "TBA", "MCP_OAUTH2"]
    client_id: Text255
    client_secret: _Secret
    scopes: Annotated[str, StringConstraints(pattern=_SCOPES, max_length=8192)] | None = None
    webhook_secret: Annotated[str, StringConstraints(max_length=255)] | None = None


def _private_key(value: str) -> str:
    begins = value.startswith("-----BEGIN RSA PRIVATE KEY----")
    if not begins or not value.rstrip().endswith("-----END RSA PRIVATE KEY-----"):
        raise ValueError("Must be an RSA private key in PKCS#1 PEM form")
    return value


_PrivateKey = Annotated[str, Field(max_length=16384), AfterValidator(_private_key)]


class AppInput(Strict):
    """The developer's own app at a provider."""

    type: Literal["APP"]
    app_id: Text255
    app_link: _Secret
    private_key: _PrivateKey


class CustomInput(Strict):
    """The developer's own app and client at a provider."""

    type: Literal["CUSTOM"]
    client_id: Text255
    client_secret: _Secret
    app_id: Text255
    app_link: _Secret
    private_key: _PrivateKey


IntegrationCredentials = Annotated[
    ClientInput | AppInput | CustomInput, Field(discriminator="type")
]
_Config = dict[str, Annotated[str, StringConstraints(max_length=8192)]]
_Limit = Annotated[
    int,
    Field(
        ge=0,
        le=100_000,
        description="Of the integration's setups and cleanups, on each node; 0 is no limit.",
    ),
]
_Hosts = Annotated[list[Text255], Field(max_length=50)]


class IntegrationCreation(Strict):
    """`POST /integrations`; the last four are Carrick's own."""

    provider: ProviderName
    unique_key: NewIntegrationId
    display_name: Text255 | None = None
    forward_webhooks: bool = True
    credentials: IntegrationCredentials | None = None
    integration_config: _Config | None = None
    custom: _Config | None = None
    override_hosts: _Hosts = Field(
        default_factory=list, description="Further hosts credentials may be sent to."
    )
    on_refused_reconnect: Literal["auth_error", "keep"] = "auth_error"
    function_concurrency: _Limit = 0
    functions_per_minute: _Limit = 0


class IntegrationPatch(Strict):
    """`PATCH /integrations/{unique_key}`; what is not named stays."""

    unique_key: NewIntegrationId | None = None
    display_name: Text255 | None = None
    forward_webhooks: bool | None = None
    credentials: IntegrationCredentials | None = None
    integration_config: _Config | None = None
    custom: _Config | None = None
    override_hosts: _Hosts | None = None
    on_refused_reconnect: Literal["auth_error", "keep"] | None = None
    function_concurrency: _Limit | None = None
    functions_per_minute: _Limit | None = None


class QuickstartCreation(Strict):
    """`POST /integrations/quickstart`."""

    provider: ProviderName
    unique_key: IntegrationId
    display_name: Text255 | None = None
    forward_webhooks: bool = True


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class IntegrationQuery(Strict):
    """What to show beside the integration itself."""

    include: Annotated[list[Literal["webhook", "credentials"]], BeforeValidator(_as_list)] = Field(
        default_factory=list
    )


class FunctionsQuery(Strict):
    """Filters of `GET /integrations/{unique_key}/functions`."""

    type: Literal["sync", "action", "on-event"] | None = None
    search: (
        Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
        | None
    ) = None
    page: Annotated[StringInt, Field(ge=0, le=1_000_000)] = 0
    limit: Annotated[StringInt, Field(ge=1, le=100)] = 20


class FunctionQuery(Strict):
    """Which kind of function is meant."""

    type: Literal["sync", "action", "on-event"] | None = None


class ScriptsQuery(Strict):
    """How deployed functions are written down."""

    format: Literal["nango", "openai"] = "nango"


# --- answers --------------------------------------------------------------------------------


class IntegrationObject(TypedDict):
    """An integration."""

    unique_key: str
    provider: str
    display_name: str
    logo: str
    credentials_label: NotRequired[dict[str, str]]
    preconfigured_credentials: NotRequired[list[str]]
    webhook_url: NotRequired[str | None]
    credentials: NotRequired[dict[str, Any] | None]
    forward_webhooks: bool
    override_hosts: list[str]
    on_refused_reconnect: str
    function_concurrency: int
    functions_per_minute: int
    created_at: str | None
    updated_at: str | None


class IntegrationAnswer(TypedDict):
    """One integration."""

    data: IntegrationObject


class IntegrationsAnswer(TypedDict):
    """Integrations."""

    data: list[IntegrationObject]


class FunctionObject(TypedDict):
    """A deployed event function."""

    id: int
    name: str
    type: str
    event: str
    description: str
    enabled: bool
    last_deployed: str | None
    source: str
    version: str | None
    json_schema: dict[str, Any] | None


class Pagination(TypedDict):
    """Where in a list a page lies."""

    total: int
    page: int
    limit: int


class FunctionsAnswer(TypedDict):
    """A page of functions."""

    data: list[FunctionObject]
    pagination: Pagination


class FunctionAnswer(TypedDict):
    """One function."""

    data: FunctionObject


class CodeAnswer(TypedDict):
    """The code of one function."""

    type: str
    code: str


#: Which secrets of an integration are shown, by auth mode.
_CLIENT_FIELDS = ("client_id", "client_secret", "scopes", "webhook_secret")
_SHOWN_SECRETS: Mapping[AuthMode, tuple[str, ...]] = {
    AuthMode.OAUTH1: _CLIENT_FIELDS,
    AuthMode.OAUTH2: _CLIENT_FIELDS,
    AuthMode.TBA: _CLIENT_FIELDS,
    AuthMode.MCP_OAUTH2: _CLIENT_FIELDS,
    AuthMode.APP: ("app_id", "private_key", "app_link"),
    AuthMode.CUSTOM: ("client_id", "client_secret", "app_id", "app_link", "private_key"),
}


def integration_object(
    integration: Integration, provider: Provider | None, base_url: str
) -> IntegrationObject:
    """Return an integration without its secrets."""
    shown: IntegrationObject = {
        "unique_key": integration.integration_id,
        "provider": integration.provider,
        "display_name": integration.display_name
        or (provider.display_name if provider else integration.provider),
        "logo": logo_url(integration.provider, base_url),
        "forward_webhooks": integration.forward_webhooks,
        "override_hosts": list(integration.override_hosts),
        "on_refused_reconnect": integration.on_refused_reconnect,
        "function_concurrency": integration.function_concurrency,
        "functions_per_minute": integration.functions_per_minute,
        "created_at": with_z_or_none(integration.created_at),
        "updated_at": with_z_or_none(integration.updated_at),
    }
    if provider is None or not provider.integration_config:
        return shown
    label = integration.custom.get("keyLabel")
    if label:
        shown["credentials_label"] = {"apiKey": label}
    if provider.auth_mode is AuthMode.TWO_STEP:
        filled = [
            name
            for name in provider.integration_config
            if name in provider.credentials and integration.integration_config.get(name)
        ]
        if filled:
            shown["preconfigured_credentials"] = filled
    return shown


def secrets_object(integration: Integration, provider: Provider | None) -> dict[str, Any] | None:
    """Return an integration's own secrets; `None` for modes that have none."""
    mode = provider.auth_mode if provider else None
    if mode is None or mode not in _SHOWN_SECRETS:
        return None
    stored = integration.credentials or {}
    if mode is AuthMode.MCP_OAUTH2 and not stored:
        return None  # its clients register themselves
    return {"type": mode.value, **{name: stored.get(name) for name in _SHOWN_SECRETS[mode]}}


def function_object(number: int, function: FunctionRef, deployed_at: str | None) -> FunctionObject:
    """Return a deployed event function."""
    return {
        "id": number,
        "name": function.name,
        "type": "on-event",
        "event": function.event.value,
        "description": function.declaration.description,
        "enabled": True,
        "last_deployed": deployed_at,
        "source": "repo",
        "version": function.declaration.version,
        "json_schema": function.declaration.metadata_schema,
    }
