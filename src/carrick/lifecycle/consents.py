"""What waits in the store while a browser is at the provider: sealed, and taken once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import Any

from carrick.auth import Consent
from carrick.errors import OAuthStateUnknown
from carrick.lifecycle.connect import Located
from carrick.lifecycle.request import ConnectRequest
from carrick.lifecycle.rooms import Rooms
from carrick.model.connection import EndUser
from carrick.model.environment import Environment
from carrick.model.faults import Point
from carrick.store import oauth_states as table
from carrick.store.oauth_states import OAuthState
from carrick.store.unit import Tx
from carrick.vault import contexts, hash_token

#: How long a person may take at the consent page.
LIFETIME = timedelta(minutes=10)
#: How long somebody else, an administrator mostly, may take to agree.
PAUSE = timedelta(days=7)


@dataclass(frozen=True)
class ConsentRequest:
    """What is to be connected once the end user has consented."""

    connect: ConnectRequest
    #: Where the provider sends the browser back to.
    redirect_uri: str
    #: Where an authorization server can read who we are, instead of registering us.
    client_document: str = ""
    #: Of the caller, for the consent page.
    authorization_params: Mapping[str, str] = field(default_factory=dict)
    #: A client of the connection's own: `client_id`, `client_secret`.
    config_override: Mapping[str, str] = field(default_factory=dict, repr=False)
    refresh_token_override: str | None = field(default=None, repr=False)
    #: The connect session it is for, which must still be there at the end.
    session_row_id: int | None = None
    #: Who waits for the outcome.
    popup_id: str | None = None
    #: Begun at the provider's, later: no browser of ours carries anything there.
    is_outbound: bool = False


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

    def consent(self, state: str) -> Consent:
        """Return the trip as the auth mode knows it."""
        return Consent(**{**self.kept["consent"], "state": state})

    def request(self, environment: Environment, integration_id: str) -> ConnectRequest:
        """Return what is to be connected; how it obtains credentials is still open."""
        kept, end_user = self.kept, self.kept["end_user"]
        return ConnectRequest(
            environment=environment,
            integration_id=integration_id,
            source="oauth",
            body={},
            connection_id=self.connection_id,
            reconnect_row_id=self.state.reconnect_row_id,
            connection_config=kept["connection_config"],
            trusted_config=kept["trusted_config"],
            tags=kept["tags"],
            end_user=EndUser(**end_user) if end_user is not None else None,
            webhook_url_override=kept["webhook_url_override"],
        )


class Consents:
    """The flows that are under way."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def sealed(self, state: str, kept: Mapping[str, Any]) -> bytes:
        """Seal what is kept of a flow; it opens for its state alone."""
        context = contexts.oauth_state(hash_token(state))
        return self._rooms.vault.seal_json(dict(kept), context=context)

    async def put(self, waiting: OAuthState) -> None:
        """Remember a flow until its browser comes back."""

        async def unit(tx: Tx) -> None:
            await table.insert_state(tx, waiting)

        await self._rooms.store.write(unit)

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
        kept = rooms.vault.open_json(stored.request, context=contexts.oauth_state(state_hash))
        environment = await rooms.environments.get(stored.environment_id)
        return Pending(
            state=stored,
            environment=environment,
            integration_id=kept["integration_id"],
            connection_id=kept["connection_id"],
            popup_id=kept["popup_id"],
            kept=kept,
        )


def cookie_name(state: str) -> str:
    """Return the name of the cookie that belongs to a state, without telling the state."""
    return f"oauth2-{hash_token(state)[:16]}"


def kept_of(request: ConsentRequest, consent: Consent, located: Located) -> dict[str, Any]:
    """Return what the callback needs of a request, as JSON; the state itself is not kept."""
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
        "session_row_id": request.session_row_id,
        "popup_id": request.popup_id,
        "consent": kept_consent(consent),
    }


def kept_consent(consent: Consent) -> dict[str, Any]:
    """Return a trip as JSON, without the state by which it is found."""
    fields = {name: value for name, value in vars(consent).items() if name != "state"}
    maps = {name: dict(value) for name, value in fields.items() if isinstance(value, Mapping)}
    return {**fields, **maps}
