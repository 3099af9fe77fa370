"""The OAuth entrance of the connect journey: out to the provider's consent page, and back.

Between the two lies a redirect through somebody's browser. What is needed afterwards waits in the
store, sealed, found by the hash of a random state that can be taken once. What comes back is an
ordinary connect or reconnect whose credentials are obtained by exchanging a code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from hmac import compare_digest
from typing import Any

from carrick.auth import ModeContext, Obtained, Steps, authorization_url, exchange
from carrick.errors import (
    CarrickError,
    OAuthCallbackInvalid,
    OAuthClientMissing,
    OAuthCookieMismatch,
    OAuthStateUnknown,
    UnknownIntegration,
    UnknownSessionToken,
)
from carrick.lifecycle.connect import Connect, Located
from carrick.lifecycle.request import Connected, ConnectRequest
from carrick.lifecycle.rooms import Rooms
from carrick.model.auth import AuthMode
from carrick.model.connection import EndUser
from carrick.model.environment import Environment, Integration, IntegrationState
from carrick.model.faults import Point
from carrick.model.http import OutboundRequest
from carrick.operations import Opening
from carrick.providers import check_connection_config
from carrick.store import oauth_states as table
from carrick.store import sessions as session_rows
from carrick.store.oauth_states import OAuthState
from carrick.store.unit import Tx
from carrick.vault import hash_token

#: How long a person may take at the consent page.
LIFETIME = timedelta(minutes=10)
_SCOPES_OVERRIDE = "oauth_scopes_override"
_LONGEST_SAID = 500


@dataclass(frozen=True)
class ConsentRequest:
    """What is to be connected once the end user has consented."""

    connect: ConnectRequest
    #: Where the provider sends the browser back to.
    redirect_uri: str
    #: Of the caller, for the consent page.
    authorization_params: Mapping[str, str] = field(default_factory=dict)
    #: A client of the connection's own: `client_id`, `client_secret`.
    config_override: Mapping[str, str] = field(default_factory=dict, repr=False)
    refresh_token_override: str | None = field(default=None, repr=False)
    #: The connect session it is for, which must still be there at the end.
    session_row_id: int | None = None
    #: Who waits for the outcome.
    popup_id: str | None = None


@dataclass(frozen=True)
class Begun:
    """A flow that is ready to go to the provider."""

    url: str
    #: What the browser must carry to the callback.
    cookie_name: str
    cookie: str = field(repr=False)


@dataclass(frozen=True)
class Pending:
    """A flow that came back: taken from the store, so this is the only one there is."""

    state: OAuthState
    environment: Environment | None
    integration_id: str
    connection_id: str
    popup_id: str | None
    #: What was sealed.
    kept: Mapping[str, Any] = field(repr=False)


class Authorize:
    """Begin at the consent page, finish at the callback."""

    def __init__(self, rooms: Rooms, connect: Connect) -> None:
        self._rooms = rooms
        self._connect = connect

    # --- out --------------------------------------------------------------------------------

    async def begin(self, request: ConsentRequest) -> Begun:
        """Remember what is to be connected and return where the browser has to go.

        Raises:
            UnknownIntegration, InvalidAuthMode, InvalidConnection: It cannot be connected this way.
            OAuthClientMissing: The integration has no OAuth app.
            MissingConnectionConfig, InvalidConnectionConfig: The provider's address lacks a value
                or cannot take one.
            EgressDenied: The consent page would be at an address this server does not deal with.
        """
        rooms = self._rooms
        connect = replace(request.connect, auth_mode=AuthMode.OAUTH2)
        located = await self._connect.locate(connect)
        _demand_client(located, request.config_override)
        ctx = self._connect.context(connect, located)
        state, cookie = rooms.chance.token_hex(32), rooms.chance.token_hex(32)
        kept = {
            **_kept(request, located),
            "code_verifier": rooms.chance.token_hex(24),
            "scopes": _scopes(ctx),
        }
        url = authorization_url(
            ctx,
            state,
            request.redirect_uri,
            kept["code_verifier"],
            scopes=kept["scopes"],
            params=request.authorization_params,
            config_override=request.config_override,
        )
        await rooms.calls.egress.check(OutboundRequest("GET", url))
        await self._store(state, cookie, connect, located, kept)
        await rooms.faults.reached(Point.OAUTH_STATE_STORED)
        return Begun(url, cookie_name(state), cookie)

    async def _store(
        self,
        state: str,
        cookie: str,
        connect: ConnectRequest,
        located: Located,
        kept: Mapping[str, Any],
    ) -> None:
        state_hash = hash_token(state)
        sealed = self._rooms.vault.seal_json(kept, context=_context(state_hash))

        async def unit(tx: Tx) -> None:
            await table.insert_state(
                tx,
                OAuthState(
                    hash=state_hash,
                    environment_id=connect.environment.row_id,
                    integration_row_id=located.integration.row_id,
                    reconnect_row_id=connect.reconnect_row_id,
                    cookie_hash=hash_token(cookie),
                    request=sealed,
                    expires_at=tx.now + LIFETIME,
                ),
            )

        await self._rooms.store.write(unit)

    # --- and back ---------------------------------------------------------------------------

    async def take(self, state: str) -> Pending:
        """Return the flow a state belongs to; nobody gets it a second time.

        Raises:
            OAuthStateUnknown: There is none, or it was taken.
        """
        rooms = self._rooms
        state_hash = hash_token(state)
        # Looked at first: anybody may come with a made-up state, and a look costs no write.
        if not await rooms.store.read(lambda tx: table.exists(tx, state_hash)):
            raise OAuthStateUnknown
        stored = await rooms.store.write(lambda tx: table.take(tx, state_hash))
        if stored is None:
            raise OAuthStateUnknown
        await rooms.faults.reached(Point.OAUTH_STATE_TAKEN)
        kept = rooms.vault.open_json(stored.request, context=_context(state_hash))
        environment = await rooms.environments.get(stored.environment_id)
        return Pending(
            state=stored,
            environment=environment,
            integration_id=kept["integration_id"],
            connection_id=kept["connection_id"],
            popup_id=kept["popup_id"],
            kept=kept,
        )

    async def finish(
        self, pending: Pending, cookie: str | None, answer: Mapping[str, str]
    ) -> Connected:
        """Exchange the code of a callback and connect.

        Args:
            pending: The flow.
            cookie: What the browser carried.
            answer: The query string of the callback.

        Raises:
            OAuthCookieMismatch: It is another browser's flow.
            OAuthStateUnknown: It took too long.
            OAuthCallbackInvalid: The provider refused, or sent no code.
            UnknownSessionToken, UnknownIntegration: What it was for is gone.
            CarrickError: What the connect journey raises.
        """
        try:
            request = await self._request(pending, cookie, answer)
        except CarrickError as error:
            self._note(pending, error)
            raise
        return await self._connect.run(request)

    async def _request(
        self, pending: Pending, cookie: str | None, answer: Mapping[str, str]
    ) -> ConnectRequest:
        if not compare_digest(hash_token(cookie or ""), pending.state.cookie_hash):
            raise OAuthCookieMismatch
        if pending.state.expires_at <= self._rooms.clock.now():
            raise OAuthStateUnknown
        integration = await self._demand_still_there(pending)
        definition = self._rooms.catalogue.get(integration.provider).definition
        code = _code(definition.get("authorization_code_param_in_callback"), answer)
        environment, kept = pending.environment, pending.kept
        assert environment is not None
        end_user = kept["end_user"]
        return ConnectRequest(
            environment=environment,
            integration_id=integration.integration_id,
            source="oauth",
            body={},
            obtain=_Exchange(pending, code, answer).steps,
            auth_mode=AuthMode.OAUTH2,
            connection_id=pending.connection_id,
            reconnect_row_id=pending.state.reconnect_row_id,
            connection_config=kept["connection_config"],
            trusted_config=kept["trusted_config"],
            tags=kept["tags"],
            end_user=EndUser(**end_user) if end_user is not None else None,
            webhook_url_override=kept["webhook_url_override"],
        )

    async def _demand_still_there(self, pending: Pending) -> Integration:
        """Return the integration, if everything the flow was begun for is still there."""
        rooms = self._rooms
        integration = await rooms.integrations.by_row(pending.state.integration_row_id)
        is_active = integration is not None and integration.state is IntegrationState.ACTIVE
        if pending.environment is None or integration is None or not is_active:
            raise UnknownIntegration(f'The integration "{pending.integration_id}" was deleted.')
        session = pending.kept["session_row_id"]
        if session is not None and not await rooms.store.read(
            lambda tx: session_rows.exists(tx, session)
        ):
            raise UnknownSessionToken("The connect session was ended before the sign-in was.")
        return integration

    def _note(self, pending: Pending, error: CarrickError) -> None:
        """Record a flow that ended before the connect journey began."""
        opening = Opening(
            environment_id=pending.state.environment_id,
            type="auth",
            action="create_connection",
            integration_id=pending.integration_id,
            provider=pending.kept["provider"],
            connection_row_id=pending.state.reconnect_row_id,
            connection_id=pending.connection_id,
        )
        shown = {"code": error.code, "message": error.message}
        self._rooms.operations.record(opening, state="failed", error=shown)


class _Exchange:
    """The steps that get credentials for a code, which works once."""

    def __init__(self, pending: Pending, code: str, answer: Mapping[str, str]) -> None:
        self._pending = pending
        self._code = code
        self._answer = answer
        self._obtained: Obtained | None = None

    def steps(self, ctx: ModeContext) -> Steps:
        """Exchange the code; a journey that starts over gets what it got before."""
        if self._obtained is None:
            self._obtained = yield from self._exchange(ctx)
        return self._obtained

    def _exchange(self, ctx: ModeContext) -> Steps:
        if ctx.integration.row_id != self._pending.state.integration_row_id:
            raise UnknownIntegration("The integration was deleted and made anew meanwhile.")
        added = _callback_config(ctx, self._answer)
        kept = self._pending.kept
        obtained = yield from exchange(
            ctx,
            self._code,
            kept["redirect_uri"],
            kept["code_verifier"],
            scopes=kept["scopes"],
            config_override=kept["config_override"],
            refresh_token_override=kept["refresh_token_override"],
        )
        config = {**obtained.connection_config, **added}
        return Obtained(obtained.credentials, config)


def cookie_name(state: str) -> str:
    """Return the name of the cookie that belongs to a state, without telling the state."""
    return f"oauth2-{hash_token(state)[:16]}"


def _context(state_hash: str) -> str:
    return f"oauth_state:{state_hash}"


def _demand_client(located: Located, override: Mapping[str, str]) -> None:
    configured = located.integration.credentials or {}
    for name in ("client_id", "client_secret"):
        if not override.get(name) and not configured.get(name):
            raise OAuthClientMissing(
                f'The integration "{located.integration.integration_id}" has no {name}. '
                "Set the client of your OAuth app on it."
            )


def _scopes(ctx: ModeContext) -> str:
    override = ctx.connection_config.get(_SCOPES_OVERRIDE)
    configured = (ctx.integration.credentials or {}).get("scopes")
    return str(override or configured or "")


def _kept(request: ConsentRequest, located: Located) -> dict[str, Any]:
    """Return what the callback needs of a request, as JSON."""
    connect = request.connect
    given = connect.connection_config
    end_user = connect.end_user
    return {
        "integration_id": located.integration.integration_id,
        "provider": located.provider.name,
        "connection_id": located.connection_id,
        "connection_config": dict(given) if given is not None else None,
        "trusted_config": dict(connect.trusted_config),
        "tags": dict(connect.tags) if connect.tags is not None else None,
        "end_user": asdict(replace(end_user, tags=dict(end_user.tags))) if end_user else None,
        "webhook_url_override": connect.webhook_url_override,
        "redirect_uri": request.redirect_uri,
        "config_override": dict(request.config_override),
        "refresh_token_override": request.refresh_token_override,
        "session_row_id": request.session_row_id,
        "popup_id": request.popup_id,
    }


def _code(other_name: Any, answer: Mapping[str, str]) -> str:
    """Return the authorization code of a callback.

    Raises:
        OAuthCallbackInvalid: There is none; `payload` holds what the provider said instead.
    """
    names = (str(other_name), "code") if other_name else ("code",)
    code = next((answer[name] for name in names if answer.get(name)), None)
    said = {name: text[:_LONGEST_SAID] for name, text in answer.items() if name.startswith("error")}
    if code is not None and not said.get("error"):
        return code
    message = "The provider sent no authorization code"
    if said:
        message += ": " + ", ".join(f"{name}={text}" for name, text in sorted(said.items()))
    raise OAuthCallbackInvalid(f"{message[:1000]}.", payload=said or None)


def _callback_config(ctx: ModeContext, answer: Mapping[str, str]) -> dict[str, Any]:
    """Return what the definition wants copied from the callback, held to its field specs.

    Raises:
        InvalidConnectionConfig: It came through the browser and does not fit.
    """
    names = ctx.provider.definition.get("redirect_uri_metadata") or ()
    found = {str(name): answer[name] for name in names if answer.get(name)}
    if not found:
        return {}
    checked = check_connection_config(
        ctx.provider, {**ctx.connection_config, **found}, from_browser=False
    )
    return {name: checked[name] for name in found if name in checked}
