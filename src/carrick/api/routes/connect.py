"""Connecting an account from a browser: one route per auth mode, one way through all of them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import Depends, Path
from starlette.responses import Response

from carrick.api.access import Rooms
from carrick.api.auth import Asker, ByQuery
from carrick.api.errors import invalid
from carrick.api.issues import issue
from carrick.api.routing import QueryOf, answer, router
from carrick.api.schemas.connect import (
    ApiKeyInput,
    AwsInput,
    BasicInput,
    BillInput,
    ClientCredentialsInput,
    ConnectedAnswer,
    ConnectQuery,
    DeclaredInput,
    NothingInput,
    SignatureInput,
    TbaInput,
    connected_object,
)
from carrick.api.schemas.primitives import IntegrationId
from carrick.errors import (
    CarrickError,
    ConnectionTestFailed,
    IntegrationNotAllowed,
    InvalidAuthMode,
    InvalidHmac,
    InvalidQuery,
    MissingClientId,
    MissingClientSecret,
    MissingHmac,
    ProviderAnswerInvalid,
    ProviderRefused,
    ProviderUnreachable,
    UnknownIntegration,
)
from carrick.lifecycle.journeys import ConnectRequest
from carrick.model.auth import AuthMode

routes = router("connect")

Who = Annotated[Asker, Depends(ByQuery())]
Query = Annotated[ConnectQuery, Depends(QueryOf(ConnectQuery))]
Key = Annotated[IntegrationId, Path(description="The integration's id.")]


class UnknownOAuth2Integration(UnknownIntegration):
    """There is no such integration in this environment."""

    status = 400  # on this one route; its siblings answer 404


class ClientCredentialsRefused(ProviderRefused):
    """The provider gave no token for these client credentials."""

    code = "client_credentials_fetch_error"


class TwoStepRefused(ProviderRefused):
    """The provider gave no token for these credentials."""

    code = "two_step_credentials_fetch_error"


class TwoStepAnswerInvalid(ProviderAnswerInvalid):
    """The provider's answer to these credentials holds no token."""

    code = "invalid_two_step_credentials"
    status = 400


class StsRequestFailed(CarrickError):
    """AWS did not let us assume the role."""

    code = "aws_sigv4_sts_request_failed"
    status = 502


@routes.post("/auth/unauthenticated/{key}", response_model=ConnectedAnswer)
async def connect_without_credentials(
    rooms: Rooms, asker: Who, key: Key, query: Query, body: NothingInput | None = None
) -> Response:
    """Connect to a provider that asks for no credentials."""
    return await _connect(rooms, asker, key, query, mode=AuthMode.NONE, body={})


@routes.post("/api-auth/api-key/{key}", response_model=ConnectedAnswer)
async def connect_with_api_key(
    rooms: Rooms, asker: Who, key: Key, query: Query, body: ApiKeyInput
) -> Response:
    """Connect with an API key."""
    return await _connect(rooms, asker, key, query, mode=AuthMode.API_KEY, body=body.model_dump())


@routes.post("/api-auth/basic/{key}", response_model=ConnectedAnswer)
async def connect_with_password(
    rooms: Rooms, asker: Who, key: Key, query: Query, body: BasicInput
) -> Response:
    """Connect with a user name and password."""
    return await _connect(rooms, asker, key, query, mode=AuthMode.BASIC, body=body.model_dump())


@routes.post("/oauth2/auth/{key}", response_model=ConnectedAnswer)
async def connect_with_client_credentials(
    rooms: Rooms, asker: Who, key: Key, query: Query, body: ClientCredentialsInput
) -> Response:
    """Connect with OAuth 2 client credentials."""
    if not body.client_id:
        raise MissingClientId
    if not body.client_secret and not body.client_private_key:
        raise MissingClientSecret
    given = body.model_dump(exclude_none=True)
    try:
        return await _connect(rooms, asker, key, query, mode=AuthMode.OAUTH2_CC, body=given)
    except UnknownIntegration as error:
        raise UnknownOAuth2Integration(error.message) from error
    except ProviderRefused as error:
        raise ClientCredentialsRefused(error.message, payload=error.payload) from error


@routes.post("/auth/tba/{key}", response_model=ConnectedAnswer)
async def connect_with_token(
    rooms: Rooms, asker: Who, key: Key, query: Query, body: TbaInput
) -> Response:
    """Connect with a token that signs requests (OAuth 1.0a without a consent page)."""
    given = body.model_dump(exclude_none=True)
    return await _connect(rooms, asker, key, query, mode=AuthMode.TBA, body=given)


@routes.post("/auth/jwt/{key}", response_model=ConnectedAnswer)
async def connect_with_signing_key(
    rooms: Rooms, asker: Who, key: Key, query: Query, body: DeclaredInput
) -> Response:
    """Connect with a key that tokens are signed with."""
    with _refusals_as(ConnectionTestFailed, ProviderRefused, ProviderAnswerInvalid):
        return await _connect(rooms, asker, key, query, mode=AuthMode.JWT, body=body)


@routes.post("/auth/two-step/{key}", response_model=ConnectedAnswer)
async def connect_with_login(
    rooms: Rooms, asker: Who, key: Key, query: Query, body: DeclaredInput
) -> Response:
    """Connect with credentials that the provider's login exchanges for a token."""
    with (
        _refusals_as(TwoStepRefused, ProviderRefused),
        _refusals_as(TwoStepAnswerInvalid, ProviderAnswerInvalid),
    ):
        return await _connect(rooms, asker, key, query, mode=AuthMode.TWO_STEP, body=body)


@routes.post("/auth/bill/{key}", response_model=ConnectedAnswer)
async def connect_with_bill_login(
    rooms: Rooms, asker: Who, key: Key, query: Query, body: BillInput
) -> Response:
    """Connect with a login of BILL."""
    given = body.model_dump()
    with _refusals_as(ConnectionTestFailed, ProviderRefused, ProviderAnswerInvalid):
        return await _connect(rooms, asker, key, query, mode=AuthMode.BILL, body=given)


@routes.post("/auth/signature/{key}", response_model=ConnectedAnswer)
async def connect_with_signature(
    rooms: Rooms, asker: Who, key: Key, query: Query, body: SignatureInput
) -> Response:
    """Connect with a user name and a password that signs."""
    given = body.model_dump()
    return await _connect(rooms, asker, key, query, mode=AuthMode.SIGNATURE, body=given)


@routes.post("/auth/aws-sigv4/{key}", response_model=ConnectedAnswer)
async def connect_with_aws_role(
    rooms: Rooms, asker: Who, key: Key, query: Query, body: AwsInput
) -> Response:
    """Connect with a role of an AWS account."""
    given = body.model_dump(exclude_none=True)
    with _refusals_as(
        StsRequestFailed, ProviderRefused, ProviderAnswerInvalid, ProviderUnreachable
    ):
        return await _connect(rooms, asker, key, query, mode=AuthMode.AWS_SIGV4, body=given)


@contextmanager
def _refusals_as(told: type[CarrickError], *kinds: type[CarrickError]) -> Iterator[None]:
    """Tell a provider's refusal in the words that clients of one route know."""
    try:
        yield
    except kinds as error:
        raise told(error.message, payload=error.payload) from error


async def _connect(
    rooms: Rooms,
    asker: Asker,
    key: str,
    query: ConnectQuery,
    *,
    mode: AuthMode,
    body: Mapping[str, Any],
) -> Response:
    connection_id = _connection_id(rooms, asker, key, query)
    await demand_possible(rooms, asker, key, mode)
    session = asker.session
    connected = await rooms.lifecycle.connect(
        ConnectRequest(
            environment=asker.environment,
            integration_id=key,
            source="form",
            body=body,
            auth_mode=mode,
            connection_id=connection_id,
            reconnect_row_id=session.reconnect_row_id if session else None,
            connection_config=params_of(query),
            trusted_config=defaults_of_session(asker, key),
            tags=session.brought_tags if session else None,
            end_user=session.end_user if session else None,
            webhook_url_override=session.webhook_url_override if session else None,
        )
    )
    return answer(connected_object(connected.connection))


def params_of(query: ConnectQuery) -> dict[str, str] | None:
    """Return what a browser wants in `connection_config`, `None` when it sent nothing."""
    if query.params is None:
        return None
    # Only the product's own server may say where notifications go.
    return {name: text for name, text in query.params.items() if name != "webhook_url"}


def _connection_id(rooms: Rooms, asker: Asker, key: str, query: ConnectQuery) -> str | None:
    """Return the id a browser may ask for, or `None` when a session decides.

    Raises:
        InvalidQuery: A session and an id.
        MissingHmac, InvalidHmac: The environment demands a signature that is not there or wrong.
    """
    if asker.session is not None:
        demand_no_id(query)
        return None
    connection_id = query.connection_id or rooms.chance.uuid4()
    demand_hmac(rooms, asker, query, key, connection_id)
    return connection_id


def demand_no_id(query: ConnectQuery) -> None:
    """Refuse an id in a session, where the server decides.

    Raises:
        InvalidQuery: There is one.
    """
    if query.connection_id is not None:
        message = "connection_id is forbidden when using session token"
        invalid(InvalidQuery, [issue(message, ["connection_id"])])


def demand_hmac(rooms: Rooms, asker: Asker, query: ConnectQuery, *signed: str) -> None:
    """Demand the signature that an environment may ask of those who come without a session.

    Raises:
        MissingHmac, InvalidHmac: It is not there, or wrong.
    """
    if not asker.environment.settings.get("hmac_enabled"):
        return
    if not query.hmac:
        raise MissingHmac
    secret = rooms.environments.hmac_key(asker.environment)
    expected = hmac.new(secret.encode(), ":".join(signed).encode(), hashlib.sha256)
    if not hmac.compare_digest(expected.hexdigest().encode(), query.hmac.encode()):
        raise InvalidHmac


async def demand_possible(rooms: Rooms, asker: Asker, key: str, *modes: AuthMode) -> None:
    """Demand an integration of one of these modes which the session, if there is one, allows.

    Raises:
        UnknownIntegration, InvalidAuthMode, IntegrationNotAllowed: It is not.
    """
    integration = await rooms.integrations.get(asker.environment.row_id, key)
    if integration is None:
        raise UnknownIntegration(f'There is no integration "{key}".')
    provider = rooms.catalogue.get(integration.provider)
    if provider.auth_mode not in modes:
        here = modes[0] if len(modes) == 1 else "a popup"
        raise InvalidAuthMode(
            f"{provider.display_name} authenticates by {provider.auth_mode}, not by {here}."
        )
    allowed = asker.session.allowed_integrations if asker.session else None
    if allowed is not None and key not in allowed:
        raise IntegrationNotAllowed(f'The connect session does not allow "{key}".')


def defaults_of_session(asker: Asker, key: str) -> Mapping[str, Any]:
    """Return the `connection_config` that the session's maker set for an integration."""
    if asker.session is None:
        return {}
    defaults = asker.session.integrations_config_defaults.get(key, {})
    config: Mapping[str, Any] = defaults.get("connection_config") or {}
    return config
