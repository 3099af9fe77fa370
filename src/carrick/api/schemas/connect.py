"""What browsers send to connect an account, and the answer (camelCase, unlike the rest)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints
from typing_extensions import TypedDict

from carrick.api.query import texts
from carrick.api.routing import Strict
from carrick.api.schemas.primitives import NewConnectionId
from carrick.model.connection import Connection

_UpTo1024 = Annotated[str, StringConstraints(max_length=1024)]
_Text1024 = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
_Secret = Annotated[str, StringConstraints(min_length=1, max_length=10_000)]


class ConnectQuery(Strict):
    """What comes beside the credentials; what is not known here is not for this server."""

    model_config = ConfigDict(extra="ignore", strict=True)

    connection_id: NewConnectionId | None = None
    params: Annotated[
        dict[str, str] | None,
        BeforeValidator(lambda value: texts(value) if isinstance(value, dict) else None),
        Field(description="`params[<name>]=<text>`: what the provider's address needs."),
    ] = None
    hmac: str | None = None


Texts = Annotated[dict[str, str], BeforeValidator(texts)]


class PopupQuery(ConnectQuery):
    """`GET /oauth/connect/{key}`."""

    authorization_params: Texts = Field(
        default_factory=dict,
        description="For the consent page; `undefined` takes one away.",
    )
    credentials: Texts = Field(
        default_factory=dict,
        description="`oauth_client_id_override`, `oauth_client_secret_override`, "
        "`oauth_refresh_token_override`: the connection's own.",
    )
    user_scope: Annotated[
        str | None,
        BeforeValidator(lambda value: value if isinstance(value, str) else None),
        Field(description="Scopes asked of the user beside those of the app, with commas."),
    ] = None
    ws_client_id: Annotated[
        str | None,
        BeforeValidator(lambda value: value if isinstance(value, str) else None),
        Field(description="The socket that waits for the outcome."),
    ] = None


class NothingInput(Strict):
    """`POST /auth/unauthenticated/{key}`: no credentials."""


class ApiKeyInput(Strict):
    """`POST /api-auth/api-key/{key}`."""

    apiKey: Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class BasicInput(Strict):
    """`POST /api-auth/basic/{key}`; both must be there, either may be empty."""

    username: _UpTo1024
    password: _UpTo1024


class ClientCredentialsInput(Strict):
    """`POST /oauth2/auth/{key}`; the provider's definition may describe more fields."""

    model_config = ConfigDict(extra="allow", strict=True)

    client_id: _Secret | None = None
    client_secret: _Secret | None = None
    client_certificate: _Secret | None = None
    client_private_key: _Secret | None = None


class TbaInput(Strict):
    """`POST /auth/tba/{key}`; the client of the integration, unless the user has one."""

    token_id: _Secret
    token_secret: _Secret
    oauth_client_id_override: _Secret | None = None
    oauth_client_secret_override: _Secret | None = None


#: Fields that the provider's definition describes and checks.
DeclaredInput = Annotated[
    dict[str, Any],
    Field(max_length=100, description="The provider's own credential fields, and `type`."),
]


class BillInput(Strict):
    """`POST /auth/bill/{key}`."""

    username: _Text1024
    password: _Text1024
    organization_id: _Text1024
    dev_key: _Text1024


class SignatureInput(Strict):
    """`POST /auth/signature/{key}`."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    username: _Text1024
    password: _Text1024


class AwsInput(Strict):
    """`POST /auth/aws-sigv4/{key}`."""

    role_arn: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$", max_length=64)] | None = None


class ConnectedAnswer(TypedDict):
    """The account is connected."""

    connectionId: str
    providerConfigKey: str


class OutboundAnswer(ConnectedAnswer):
    """An installation is expected; the last one is Carrick's own: where the user makes it."""

    isPending: bool
    installUrl: str


def connected_object(connection: Connection) -> ConnectedAnswer:
    """Return what tells a browser that it worked."""
    return {
        "connectionId": connection.connection_id,
        "providerConfigKey": connection.integration_id,
    }
