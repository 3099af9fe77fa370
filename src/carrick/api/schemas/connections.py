"""Connections on the wire: what is asked of them, how one is listed, how one is shown whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from typing_extensions import TypedDict

from carrick.api.query import texts
from carrick.api.routing import Strict
from carrick.api.schemas.credentials import CredentialsImport, without_refresh_tokens
from carrick.api.schemas.people import EndUserInput, EndUserObject, end_user_object
from carrick.api.schemas.primitives import (
    ConnectionId,
    IntegrationId,
    JsonMap,
    NewConnectionId,
    StringBool,
    StringInt,
    Tags,
    Text255,
    WebhookUrl,
)
from carrick.api.times import with_offset, with_z
from carrick.model.connection import Connection

_MOST_LISTED = 2000

# --- inputs ---------------------------------------------------------------------------------


def _scopes(config: dict[str, Any]) -> dict[str, Any]:
    scopes = config.get("oauth_scopes_override", [])
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        raise ValueError("oauth_scopes_override must be an array of strings")
    return config


class ConnectionImport(Strict):
    """`POST /connections`."""

    provider_config_key: IntegrationId
    credentials: CredentialsImport
    connection_id: NewConnectionId | None = None
    metadata: JsonMap | None = None
    connection_config: Annotated[JsonMap, AfterValidator(_scopes)] | None = None
    webhook_url_override: WebhookUrl | None = None
    end_user: EndUserInput | None = None
    tags: Tags | None = None


class ConnectionChanges(Strict):
    """`PATCH /connections/{connection_id}`; `""` or `null` clears the address."""

    end_user: EndUserInput | None = None
    tags: Tags | None = None
    webhook_url_override: WebhookUrl | None = None


class MetadataWrite(Strict):
    """`POST` and `PATCH /connections/metadata`."""

    connection_id: ConnectionId | Annotated[list[ConnectionId], Field(max_length=1000)]
    provider_config_key: IntegrationId
    metadata: JsonMap


def _ids(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


class ConnectionListQuery(Strict):
    """Filters of `GET /connections`; all that are given must hold."""

    connectionId: Text255 | None = None
    search: Text255 | None = Field(None, description="Within id, end user's name or e-mail.")
    endUserId: Text255 | None = None
    endUserOrganizationId: Text255 | None = None
    integrationId: Annotated[
        list[str],
        BeforeValidator(_ids, json_schema_input_type=str),
        Field(description="Integration ids, separated by commas."),
    ] = Field(default_factory=list)
    tags: Annotated[
        dict[str, str],
        BeforeValidator(lambda value: texts(value) if isinstance(value, dict) else value),
        Field(description="`tags[<key>]=<value>`."),
    ] = Field(default_factory=dict)
    limit: Annotated[StringInt, Field(ge=1, le=_MOST_LISTED)] | None = None
    page: Annotated[StringInt, Field(ge=0, le=1_000_000)] = 0
    cursor: Annotated[StringInt, Field(ge=0)] | None = Field(
        None, description="Only connections made before this one: the last `id` that was seen."
    )


class ConnectionQuery(Strict):
    """Which connection of an id is meant, and how it is shown."""

    # Newer clients may send more: what is not known here is not for this server.
    model_config = ConfigDict(extra="ignore", strict=True)

    provider_config_key: IntegrationId
    refresh_token: StringBool = False
    force_refresh: StringBool = False
    refresh_github_app_jwt_token: StringBool = False


class IntegrationQuery(Strict):
    """Which connection of an id is meant."""

    model_config = ConfigDict(extra="ignore", strict=True)

    provider_config_key: IntegrationId


# --- answers --------------------------------------------------------------------------------


class ConnectionErrorObject(TypedDict):
    """Why a connection does not work; `log_id` is an operation."""

    type: str
    log_id: str


class ConnectionListItem(TypedDict):
    """A connection as lists show it."""

    id: int
    connection_id: str
    provider_config_key: str
    provider: str
    errors: list[ConnectionErrorObject]
    end_user: EndUserObject | None
    tags: dict[str, str]
    metadata: dict[str, Any] | None
    created: str
    setup: Literal["pending", "done", "failed"]


class ConnectionList(TypedDict):
    """`GET /connections`."""

    connections: list[ConnectionListItem]


class ConnectionObject(TypedDict):
    """A whole connection."""

    id: int
    connection_id: str
    provider_config_key: str
    provider: str
    errors: list[ConnectionErrorObject]
    end_user: EndUserObject | None
    tags: dict[str, str]
    metadata: dict[str, Any] | None
    connection_config: dict[str, Any]
    webhook_url_override: str | None
    created_at: str
    updated_at: str
    last_fetched_at: str | None
    credentials: dict[str, Any]
    setup: Literal["pending", "done", "failed"]


class DeletionAnswer(TypedDict):
    """What became of a deletion; `cleanup` is Carrick's own."""

    success: bool
    cleanup: NotRequired[Literal["done", "pending", "retrying", "parked"]]


class Success(TypedDict):
    """It was done."""

    success: bool


def list_item(connection: Connection) -> ConnectionListItem:
    """Return a connection as lists show it."""
    return {
        "id": connection.row_id,
        "connection_id": connection.connection_id,
        "provider_config_key": connection.integration_id,
        "provider": connection.provider,
        "errors": _errors(connection),
        "end_user": end_user_object(connection.end_user),
        "tags": dict(connection.tags),
        "metadata": _map_or_none(connection.metadata),
        "created": with_offset(connection.created_at),
        "setup": connection.setup.value,
    }


def connection_object(
    connection: Connection,
    credentials: Mapping[str, Any],
    *,
    z: bool = False,
    show_refresh_token: bool = True,
) -> ConnectionObject:
    """Return a whole connection.

    Args:
        connection: What is shown.
        credentials: Its credentials as `credentials_object` makes them; `{}` hides them.
        z: Write times with `Z`, as answers to a `POST` do, instead of `+00:00`.
        show_refresh_token: Leave refresh tokens in its config.
    """
    written = with_z if z else with_offset
    config = {**connection.connection_config, **_beside(credentials)}
    credentials = {name: value for name, value in credentials.items() if name != _USER}
    fetched_at = connection.last_fetched_at
    return {
        "id": connection.row_id,
        "connection_id": connection.connection_id,
        "provider_config_key": connection.integration_id,
        "provider": connection.provider,
        "errors": _errors(connection),
        "end_user": end_user_object(connection.end_user),
        "tags": dict(connection.tags),
        "metadata": _map_or_none(connection.metadata),
        "connection_config": config if show_refresh_token else without_refresh_tokens(config),
        "webhook_url_override": connection.webhook_url_override,
        "created_at": written(connection.created_at),
        "updated_at": written(connection.updated_at),
        "last_fetched_at": written(fetched_at) if fetched_at is not None else None,
        "credentials": dict(credentials),
        "setup": connection.setup.value,
    }


#: Secrets, so they are kept with the credentials; clients look for them in the config as well.
_USER = "userCredentials"
_BESIDE = (_USER, "jwtToken")


def _beside(credentials: Mapping[str, Any]) -> dict[str, Any]:
    return {name: credentials[name] for name in _BESIDE if name in credentials}


def _errors(connection: Connection) -> list[ConnectionErrorObject]:
    if connection.error_operation_id is None:
        return []
    return [{"type": "auth", "log_id": connection.error_operation_id}]


def _map_or_none(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return dict(value) if value is not None else None
