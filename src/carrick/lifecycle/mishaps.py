"""Connects that came to no verdict: recorded, and told to the app when nobody could expect them.

A person who mistypes a key, or an author's function that says no, is what connecting is like. A
provider that answers nonsense, a callback without a code or a fault of this server is something the
developer has to hear of, because the person in front of the popup cannot do anything about it.
"""

from __future__ import annotations

import structlog

from carrick.errors import (
    CarrickError,
    OAuthCallbackInvalid,
    ProviderAnswerInvalid,
    ProviderAnswerTooLarge,
    ProviderRefused,
    StoreUnavailable,
)
from carrick.lifecycle.rooms import Rooms
from carrick.model.environment import Environment
from carrick.notify import ConnectionFacts, Fault, creation_failed
from carrick.operations import Opening
from carrick.store.unit import Tx

_log = structlog.get_logger(__name__)


class Mishaps:
    """Writes down what ended before a verdict was written."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def record(
        self,
        opening: Opening,
        environment: Environment | None,
        error: Exception,
        *,
        is_consent: bool = False,
        webhook_url_override: str | None = None,
    ) -> None:
        """Record a connect that failed, and tell the app of it if it was unexpected.

        Args:
            opening: What was to be connected; with a connection's row it is a reconnect, of which
                the contract has nothing to tell.
            environment: Whose app.
            error: Why it failed.
            is_consent: Whether the provider's own consent page was gone through, so that its no is
                no mistake of the person's.
            webhook_url_override: The address the connection would have had.
        """
        shown = _shown(error)
        kind = _unexpected(error, is_consent=is_consent)
        is_new = opening.connection_row_id is None
        if kind is None or environment is None or not is_new:
            self._rooms.operations.record(opening, state="failed", error=shown)
            return
        facts = ConnectionFacts(
            environment=environment,
            integration_id=opening.integration_id or "",
            connection_id=opening.connection_id or "",
            provider=opening.provider or "unknown",
            auth_mode=self._auth_mode(opening.provider),
            webhook_url_override=webhook_url_override,
        )
        told = creation_failed(facts, Fault(kind, shown["message"]))

        async def unit(tx: Tx) -> None:
            operation_id = await self._rooms.operations.open_in(tx, opening)
            await self._rooms.operations.close_in(tx, operation_id, state="failed", error=shown)
            await self._rooms.notifier.write_in(tx, told)

        try:
            await self._rooms.store.write(unit)
        except StoreUnavailable as unavailable:
            _log.debug("mishap_not_recorded", reason=unavailable.message)

    def _auth_mode(self, provider: str | None) -> str:
        found = self._rooms.catalogue.find(provider) if provider else None
        return found.auth_mode.value if found is not None else "unknown"


def _shown(error: Exception) -> dict[str, str]:
    if isinstance(error, CarrickError):
        return {"code": error.code, "message": error.message}
    return {"code": "server_error", "message": "Something went wrong on the server."}


def _unexpected(error: Exception, *, is_consent: bool) -> str | None:
    """Return the contract's word for an error nobody could expect."""
    if isinstance(error, OAuthCallbackInvalid):
        return "invalid_callback"
    if isinstance(error, ProviderAnswerInvalid | ProviderAnswerTooLarge):
        return "unable_to_parse_token_response"
    if is_consent and isinstance(error, ProviderRefused):
        return "unknown"
    if not isinstance(error, CarrickError) or (error.status >= 500 and not error.retryable):
        return "server_error"
    return None
