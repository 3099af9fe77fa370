"""Who is asking: an API key, a connect session, or (long deprecated) a public key.

Each way of asking is a dependency of a route, so what a route demands stands in its signature and
in the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass

from fastapi.openapi.models import APIKey, APIKeyIn, HTTPBearer
from fastapi.openapi.models import SecurityBase as SecurityModel
from fastapi.security.base import SecurityBase
from starlette.requests import Request

from carrick.api.access import services_of
from carrick.api.limits import charge
from carrick.api.routing import query_fields
from carrick.environments import Principal
from carrick.environments.sessions import TOKEN_PREFIX
from carrick.errors import (
    Forbidden,
    MalformedAuthHeader,
    MissingAuthHeader,
    MissingPublicKey,
    Unauthenticated,
    UnknownSessionToken,
)
from carrick.model.environment import ConnectSession, Environment

#: What a connect session may do where an API key could be used as well.
_SESSION_SCOPES = ("environment:integrations:list",)


@dataclass(frozen=True)
class Asker:
    """Somebody who was recognised."""

    environment: Environment
    scopes: tuple[str, ...] = ()
    #: Set when a connect session is asking.
    session: ConnectSession | None = None

    def may(self, scope: str) -> bool:
        """Whether a scope is granted, itself or through one that ends in `:*`."""
        return Principal(self.environment, self.scopes, "").may(scope)

    def demand(self, *scopes: str) -> None:
        """Let only those pass who have one of these scopes.

        Raises:
            Forbidden: None of them is granted.
        """
        if not scopes or any(self.may(scope) for scope in scopes):
            return
        wanted = (
            f"Required: {scopes[0]}"
            if len(scopes) == 1
            else f"Required one of: {' or '.join(scopes)}"
        )
        raise Forbidden(f"Insufficient scope. {wanted}")


class ByKey(SecurityBase):
    """An API key in the Authorization header, with one of the scopes that a route demands."""

    def __init__(self, *scopes: str) -> None:
        self.scopes = scopes
        self.scheme_name = "apiKey"
        self.model: SecurityModel = HTTPBearer(description=_describe(scopes))

    async def __call__(self, request: Request) -> Asker:
        """Recognise who is asking."""
        asker = await _counted(request, _by_key(request, _token(request)))
        asker.demand(*self.scopes)
        return asker


class BySessionOrKey(ByKey):
    """A connect session token or an API key in the Authorization header."""

    async def __call__(self, request: Request) -> Asker:
        """Recognise who is asking; what looks like a session token is never tried as a key."""
        token = _token(request)
        found = _by_session if token.startswith(TOKEN_PREFIX) else _by_key
        asker = await _counted(request, found(request, token))
        asker.demand(*self.scopes)
        return asker


class BySession(SecurityBase):
    """A connect session token in the Authorization header."""

    def __init__(self) -> None:
        self.scheme_name = "connectSession"
        self.model: SecurityModel = HTTPBearer(description="A connect session token.")

    async def __call__(self, request: Request) -> Asker:
        """Recognise who is asking."""
        return await _counted(request, _by_session(request, _token(request)))


class ByQuery(SecurityBase):
    """A connect session token (or a public key) in the query string, as browsers send it."""

    def __init__(self) -> None:
        self.scheme_name = "connectSessionQuery"
        self.model: SecurityModel = APIKey(
            **{"in": APIKeyIn.query},
            name="connect_session_token",
            description="A connect session token; `public_key` is deprecated.",
        )

    async def __call__(self, request: Request) -> Asker:
        """Recognise who is asking."""
        fields = query_fields(request)
        token, public_key = fields.get("connect_session_token"), fields.get("public_key")
        if isinstance(token, str) and token:
            return await _counted(request, _by_session(request, token))
        if isinstance(public_key, str) and public_key:
            return await _counted(request, _by_public_key(request, public_key))
        raise MissingPublicKey


async def session_of_token(request: Request, token: str) -> Asker:
    """Recognise a session by a token that came in a body."""
    return await _counted(request, _by_session(request, token))


def _token(request: Request) -> str:
    header = request.headers.get("authorization")
    if header is None:
        raise MissingAuthHeader
    token = header.rpartition("Bearer ")[2].strip()
    if not token:
        raise MalformedAuthHeader
    return token


async def _counted(request: Request, recognised: Awaitable[Asker]) -> Asker:
    """Recognise somebody and count the call against the limit, strangers ten times as much."""
    try:
        asker = await recognised
    except Unauthenticated:
        charge(request, None)
        raise
    charge(request, asker.environment.row_id)
    return asker


async def _by_key(request: Request, token: str) -> Asker:
    principal = await services_of(request).environments.authenticate_key(token)
    return Asker(principal.environment, principal.scopes)


async def _by_session(request: Request, token: str) -> Asker:
    services = services_of(request)
    session = await services.sessions.by_token(token)
    environment = await services.environments.get(session.environment_id)
    if environment is None:
        raise UnknownSessionToken
    return Asker(environment, _SESSION_SCOPES, session)


async def _by_public_key(request: Request, public_key: str) -> Asker:
    environment = await services_of(request).environments.by_public_key(public_key)
    return Asker(environment)


def _describe(scopes: tuple[str, ...]) -> str:
    return "The API key of an environment." if not scopes else "An API key with the right scope."
