"""What a verdict does: the one transaction at the end of the connect journey."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carrick.connections import states
from carrick.connections.states import Promotion
from carrick.credentials import seal_credentials
from carrick.errors import InvalidConnection, UnknownIntegration
from carrick.lifecycle.following import write_events
from carrick.lifecycle.request import Connected
from carrick.lifecycle.rooms import Rooms
from carrick.lifecycle.validate import Refused, Validation
from carrick.model.connection import Connection, SetupState
from carrick.model.environment import Integration
from carrick.model.event import Event, FunctionRef, Occasion
from carrick.model.faults import Point
from carrick.notify import Fault, connection_created, connection_overridden
from carrick.operations import Opening
from carrick.store import connections as rows
from carrick.store import integrations as integration_rows
from carrick.store import journal as journal_rows
from carrick.store import mailboxes
from carrick.store.unit import Tx


class Outcomes:
    """Promotes, refuses or leaves a candidate."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    # --- accepted ---------------------------------------------------------------------------

    async def promote(self, validation: Validation) -> Connected:
        """Make the candidate live and write what follows, in one transaction.

        Raises:
            InvalidConnection: A delete won meanwhile.
            UnknownIntegration: The integration was deleted or renamed meanwhile.
            AlreadyExists: Somebody connected the same id meanwhile.
        """

        async def unit(tx: Tx) -> Connection:
            connection = await self._promote_in(tx, validation)
            await self._rooms.faults.reached(Point.BEFORE_PROMOTE)
            return connection

        connection = await self._rooms.store.write(unit)
        await self._rooms.faults.reached(Point.AFTER_PROMOTE)
        self._rooms.progress.announce(connection.row_id)
        return Connected(connection, validation.occasion)

    async def _promote_in(self, tx: Tx, validation: Validation) -> Connection:
        rooms, subject = self._rooms, validation.subject
        place = subject.place
        await _demand_integration(tx, place.integration)
        await subject.demand(tx)
        setups = await self._setups(tx, validation)
        live = await self._live(tx, subject.existing)
        promotion = await self._promotion(tx, validation, live, setups)
        if live is None:
            row_id = await states.create(
                tx,
                environment_id=place.environment.row_id,
                integration_row_id=place.integration.row_id,
                integration_id=place.integration.integration_id,
                provider=place.provider.name,
                connection_id=place.connection_id,
                promotion=promotion,
            )
        else:
            row_id = live.row_id
            await states.promote(tx, live, promotion)
        await journal_rows.adopt(tx, validation.run_ids, row_id)
        connection = await rows.get(tx, row_id)
        assert connection is not None
        await write_events(
            rooms, tx, connection, setups, validation.occasion, previous=_previous(live)
        )
        facts = rooms.facts(place.environment, connection)
        told = connection_created(facts) if live is None else connection_overridden(facts)
        await rooms.notifier.write_in(tx, told)
        await self._close(tx, validation, connection, state="success")
        return connection

    async def _setups(self, tx: Tx, validation: Validation) -> list[FunctionRef]:
        place = validation.subject.place
        functions = await self._rooms.deployments.active_in(
            tx,
            place.environment.row_id,
            place.integration.integration_id,
            Event.POST_CONNECTION_CREATION,
        )
        if validation.occasion is Occasion.RECONNECT:
            functions = [f for f in functions if f.declaration.on_reconnect]
        return list(functions)

    async def _live(self, tx: Tx, existing: Connection | None) -> Connection | None:
        """Return the connection to be overwritten, if it is still what the journey began with."""
        if existing is None:
            return None
        live = await rows.get(tx, existing.row_id, lock=True)
        if live is None or not live.is_usable or live.generation != existing.generation:
            raise InvalidConnection
        return live

    async def _promotion(
        self, tx: Tx, validation: Validation, live: Connection | None, setups: list[FunctionRef]
    ) -> Promotion:
        rooms, subject = self._rooms, validation.subject
        candidate = subject.candidate
        credential_set = rooms.chance.uuid4()
        end_user_row_id = None
        if candidate.end_user is not None:
            end_user_row_id = await rows.upsert_end_user(
                tx, subject.place.environment.row_id, candidate.end_user
            )
        metadata: Mapping[str, Any] | None = None
        if subject.changes_metadata:
            metadata = subject.applied_to(live.metadata if live is not None else None)
        override = candidate.webhook_url_override
        if override is None and live is not None:
            override = live.webhook_url_override
        return Promotion(
            credential_set=credential_set,
            auth_mode=candidate.credentials.auth_mode.value,
            credentials=seal_credentials(rooms.vault, credential_set, candidate.credentials),
            credentials_expires_at=candidate.credentials.expires_at,
            connection_config=candidate.connection_config,
            metadata=metadata,
            tags=candidate.tags,
            end_user_row_id=end_user_row_id,
            account_id=subject.account_id,
            webhook_url_override=override or None,
            setup=_setup(live, setups),
        )

    # --- refused and undecided --------------------------------------------------------------

    async def refuse(self, validation: Validation, verdict: Refused) -> None:
        """Discard the candidate; on a reconnect mark the connection and tell the app."""
        rooms = self._rooms
        rooms.operations.note(validation.operation_id, "error", f"Refused: {verdict.detail}")

        async def unit(tx: Tx) -> Connection | None:
            marked = await self._refuse_in(tx, validation, verdict)
            await rooms.faults.reached(Point.BEFORE_REFUSE)
            return marked

        marked = await rooms.store.write(unit)
        await rooms.faults.reached(Point.AFTER_REFUSE)
        if marked is not None:
            rooms.progress.announce(marked.row_id)

    async def _refuse_in(
        self, tx: Tx, validation: Validation, verdict: Refused
    ) -> Connection | None:
        rooms, subject = self._rooms, validation.subject
        await journal_rows.erase_runs(tx, validation.run_ids)
        await self._close(tx, validation, subject.existing, state="failed", error=verdict.message)
        if subject.existing is None:
            return None
        live = await rows.get(tx, subject.existing.row_id, lock=True)
        if live is None or not live.is_usable or live.generation != subject.existing.generation:
            return None  # it was deleted meanwhile: there is nothing left to mark
        if subject.guard.lease is not None:
            await mailboxes.demand(tx, subject.guard.lease)
        if subject.place.integration.on_refused_reconnect != "keep":
            await states.refuse(tx, live, validation.operation_id)
        facts = rooms.facts(subject.place.environment, live)
        fault = Fault("connection_validation_failed", verdict.message)
        await rooms.notifier.write_in(tx, connection_overridden(facts, fault))
        return live

    async def leave(self, validation: Validation) -> None:
        """Forget an undecided candidate; whatever was there before stays exactly as it is."""

        async def unit(tx: Tx) -> None:
            await journal_rows.erase_runs(tx, validation.run_ids)

        if validation.run_ids:
            await self._rooms.store.write(unit)
        await self._rooms.faults.reached(Point.CANDIDATE_LEFT)

    # --- the operation ----------------------------------------------------------------------

    async def _close(
        self,
        tx: Tx,
        validation: Validation,
        connection: Connection | None,
        *,
        state: str,
        error: str | None = None,
    ) -> None:
        place = validation.subject.place
        opening = Opening(
            id=validation.operation_id,
            environment_id=place.environment.row_id,
            type="auth",
            action="create_connection",
            integration_id=place.integration.integration_id,
            provider=place.provider.name,
            connection_row_id=connection.row_id if connection is not None else None,
            connection_id=place.connection_id,
            meta={"occasion": validation.occasion.value},
            state="running" if error is not None else state,
        )
        await self._rooms.operations.open_in(tx, opening)
        if error is not None:
            shown = {"code": "connection_validation_failed", "message": error}
            await self._rooms.operations.close_in(
                tx, validation.operation_id, state=state, error=shown
            )


async def _demand_integration(tx: Tx, integration: Integration) -> None:
    """Demand that an integration is what the journey took it for: neither deleted nor renamed."""
    if await integration_rows.held_id(tx, integration.row_id) != integration.integration_id:
        raise UnknownIntegration(
            f'The integration "{integration.integration_id}" is not there any more.'
        )


def _setup(live: Connection | None, setups: list[FunctionRef]) -> SetupState:
    if setups:
        return SetupState.PENDING
    return live.setup if live is not None else SetupState.DONE


def _previous(live: Connection | None) -> Mapping[str, Any] | None:
    if live is None:
        return None
    return {
        "metadata": dict(live.metadata or {}),
        "connection_config": dict(live.connection_config),
        "tags": dict(live.tags),
    }
