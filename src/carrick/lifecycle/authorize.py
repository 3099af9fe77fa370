"""The browser's entrance of the connect journey: out to the provider's page, and back.

Between the two lies a redirect through somebody's browser. What is needed afterwards waits in the
store, sealed, found by the hash of a random state that can be taken once. What comes back is an
ordinary connect or reconnect whose credentials were obtained with what the browser brought.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hmac import compare_digest
from typing import Any

from carrick.auth import (
    Consent,
    ModeContext,
    Obtained,
    Paused,
    PopupMode,
    demand_own,
    immediately,
    popup_for,
)
from carrick.credentials import drive
from carrick.errors import (
    OAuthCookieMismatch,
    OAuthStateUnknown,
    UnknownIntegration,
    UnknownSessionToken,
)
from carrick.lifecycle.connect import Connect
from carrick.lifecycle.consents import (
    LIFETIME,
    PAUSE,
    ConsentRequest,
    Consents,
    Pending,
    cookie_name,
    kept_consent,
    kept_of,
)
from carrick.lifecycle.mishaps import Mishaps
from carrick.lifecycle.request import Connected, ConnectRequest
from carrick.lifecycle.rooms import Rooms
from carrick.model.environment import Environment, Integration, IntegrationState
from carrick.model.faults import Point
from carrick.model.http import OutboundRequest
from carrick.operations import Opening
from carrick.providers import check_connection_config
from carrick.store import sessions as session_rows
from carrick.store.oauth_states import OAuthState
from carrick.vault import hash_token

_SCOPES_OVERRIDE = "oauth_scopes_override"


@dataclass(frozen=True)
class Begun:
    """A flow that is ready to go to the provider."""

    url: str
    connection_id: str
    #: What the browser must carry to the callback.
    cookie_name: str
    cookie: str = field(repr=False)


@dataclass(frozen=True)
class Awaited:
    """A flow that goes on when somebody else has agreed; nothing is connected yet."""

    integration_id: str
    connection_id: str
    #: Seconds until it is forgotten.
    lifetime_s: int = int(PAUSE.total_seconds())


class Authorize:
    """Begin at the provider's page, finish at the callback."""

    def __init__(self, rooms: Rooms, connect: Connect) -> None:
        self._rooms = rooms
        self._connect = connect
        self._consents = Consents(rooms)
        self._mishaps = Mishaps(rooms)

    # --- out --------------------------------------------------------------------------------

    async def begin(self, request: ConsentRequest) -> Begun:
        """Remember what is to be connected and return where the browser has to go.

        Raises:
            UnknownIntegration, InvalidAuthMode, InvalidConnection: It cannot be connected this way.
            OAuthClientMissing: The integration lacks what was registered with the provider.
            MissingConnectionConfig, InvalidConnectionConfig: The provider's address lacks a value
                or cannot take one.
            EgressDenied: The page would be at an address this server does not deal with.
            CarrickError: What the provider said, where it has to be asked first.
        """
        rooms = self._rooms
        located = await self._connect.locate(request.connect)
        mode = popup_for(located.provider.auth_mode)
        demand_own(located.integration, mode.needs, request.config_override)
        if not mode.takes_params:
            request = replace(request, connect=replace(request.connect, connection_config=None))
        ctx = self._connect.context(request.connect, located)
        state = rooms.chance.token_hex(32)
        cookie = "" if request.is_outbound else rooms.chance.token_hex(32)
        consent = self._consent(request, ctx, state)
        departure = await drive(mode.leave(ctx, consent), rooms.calls.egress.send)
        await rooms.calls.egress.check(OutboundRequest("GET", departure.url))
        kept = kept_of(request, replace(consent, kept=departure.kept), located)
        waiting = OAuthState(
            hash=hash_token(state),
            environment_id=request.connect.environment.row_id,
            integration_row_id=located.integration.row_id,
            reconnect_row_id=request.connect.reconnect_row_id,
            cookie_hash=hash_token(cookie),
            request=self._consents.sealed(state, kept),
            expires_at=rooms.clock.now() + (PAUSE if request.is_outbound else LIFETIME),
        )
        await self._consents.put(waiting)
        await rooms.faults.reached(Point.OAUTH_STATE_STORED)
        return Begun(departure.url, located.connection_id, cookie_name(state), cookie)

    def _consent(self, request: ConsentRequest, ctx: ModeContext, state: str) -> Consent:
        return Consent(
            state=state,
            redirect_uri=request.redirect_uri,
            client_document=request.client_document,
            code_verifier=self._rooms.chance.token_hex(24),
            scopes=_scopes(ctx),
            params=request.authorization_params,
            config_override=request.config_override,
            refresh_token_override=request.refresh_token_override,
        )

    # --- and back ---------------------------------------------------------------------------

    async def take(self, state: str) -> Pending:
        """Return the flow a state belongs to; nobody gets it a second time.

        Raises:
            OAuthStateUnknown: There is none, or it was taken.
        """
        return await self._consents.take(state)

    async def finish(
        self, pending: Pending, state: str, cookie: str | None, answer: Mapping[str, str]
    ) -> Connected | Awaited:
        """Obtain credentials with what a callback brought, and connect.

        Args:
            pending: The flow.
            state: By which it was found.
            cookie: What the browser carried.
            answer: The query string of the callback.

        Raises:
            OAuthCookieMismatch: It is another browser's flow.
            OAuthStateUnknown: It took too long.
            OAuthCallbackInvalid: The provider refused, or sent nothing to go on with.
            UnknownSessionToken, UnknownIntegration: What it was for is gone.
            CarrickError: What the provider answers, and what the connect journey raises.
        """
        try:
            self._demand_same_browser(pending, cookie)
            environment, integration = await self._demand_still_there(pending)
            request = pending.request(environment, integration.integration_id)
            consent = pending.consent(state)
            obtained = await self._obtain(request, consent, answer, integration)
        except Exception as error:
            # Expected or not, it is recorded; the callback answers it as it answers all others.
            await self._record(pending, error)
            raise
        if isinstance(obtained, Paused):
            await self._pause(pending, consent, obtained)
            return Awaited(pending.integration_id, pending.connection_id)
        # A journey that starts over gets what this one got: a code works once.
        return await self._connect.run(replace(request, obtain=lambda _: immediately(obtained)))

    def _demand_same_browser(self, pending: Pending, cookie: str | None) -> None:
        if not compare_digest(hash_token(cookie or ""), pending.state.cookie_hash):
            raise OAuthCookieMismatch
        if pending.state.expires_at <= self._rooms.clock.now():
            raise OAuthStateUnknown

    async def _demand_still_there(self, pending: Pending) -> tuple[Environment, Integration]:
        """Return environment and integration, if everything the flow was begun for is there."""
        rooms = self._rooms
        integration = await rooms.integrations.by_row(pending.state.integration_row_id)
        is_active = integration is not None and integration.state is IntegrationState.ACTIVE
        if pending.environment is None or integration is None or not is_active:
            raise UnknownIntegration(f'The integration "{pending.integration_id}" was deleted.')
        await self._demand_session(pending.kept["session_row_id"])
        return pending.environment, integration

    async def _demand_session(self, row_id: int | None) -> None:
        """Let nobody connect with a permission that ended while they were at the provider.

        Raises:
            UnknownSessionToken: The session was deleted, or its half hour is over.
        """
        if row_id is None:
            return
        rooms = self._rooms
        ends = await rooms.store.read(lambda tx: session_rows.expiry(tx, row_id))
        if ends is None or ends <= rooms.clock.now():
            raise UnknownSessionToken(
                "The connect session ended before the sign-in did. Start again from the app."
            )

    async def _obtain(
        self,
        request: ConnectRequest,
        consent: Consent,
        answer: Mapping[str, str],
        integration: Integration,
    ) -> Obtained | Paused:
        located = await self._connect.locate(request)
        if located.integration.row_id != integration.row_id:
            raise UnknownIntegration("The integration was deleted and made anew meanwhile.")
        mode: PopupMode = popup_for(located.provider.auth_mode)
        brought = mode.read_callback(located.provider, consent, answer)
        ctx = self._connect.context(request, located)
        added = _callback_config(ctx, answer)
        obtained = await drive(mode.come_back(ctx, consent, brought), self._rooms.calls.egress.send)
        if isinstance(obtained, Paused):
            return obtained
        return replace(obtained, connection_config={**obtained.connection_config, **added})

    async def _pause(self, pending: Pending, consent: Consent, paused: Paused) -> None:
        """Let the same state be brought once more, with what came so far."""
        kept = {**consent.kept, **paused.kept}
        # The person was told, and the session does not last that long.
        again = {
            **pending.kept,
            "consent": kept_consent(replace(consent, kept=kept)),
            "popup_id": None,
            "session_row_id": None,
        }
        waiting = replace(
            pending.state,
            request=self._consents.sealed(consent.state, again),
            expires_at=self._rooms.clock.now() + PAUSE,
        )
        await self._consents.put(waiting)

    async def _record(self, pending: Pending, error: Exception) -> None:
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
        await self._mishaps.record(
            opening,
            pending.environment,
            error,
            is_consent=True,
            webhook_url_override=pending.kept["webhook_url_override"],
        )


def _scopes(ctx: ModeContext) -> str:
    override = ctx.connection_config.get(_SCOPES_OVERRIDE)
    configured = (ctx.integration.credentials or {}).get("scopes")
    if isinstance(override, list | tuple):  # as an import writes it
        override = ",".join(str(scope) for scope in override)
    return str(override or configured or "")


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
