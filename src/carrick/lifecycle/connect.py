"""Connect and reconnect: one journey for every auth mode and every entrance (DESIGN.md §2.2).

locate → obtain → find facts → verify → candidate → validate → verdict. The candidate lives in the
memory of this journey; the store hears of it in one transaction at the end, which also writes the
events and notifications that follow. So a crash anywhere ends as if nothing had begun, or as
accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from carrick.auth import ModeContext, Steps, mode_for
from carrick.credentials import drive
from carrick.errors import (
    ConnectionValidationFailed,
    ConnectionValidationUnavailable,
    InvalidAuthMode,
    InvalidBody,
    InvalidConnection,
    InvalidHeaders,
    ProviderAnswerInvalid,
    ProviderUnreachable,
    UnknownIntegration,
)
from carrick.lifecycle.mailbox import Mailboxes
from carrick.lifecycle.mishaps import Mishaps
from carrick.lifecycle.outcome import Outcomes
from carrick.lifecycle.request import Connected, ConnectRequest
from carrick.lifecycle.rooms import Rooms
from carrick.lifecycle.validate import Accepted, Refused, Undecided, Validation, Verdict
from carrick.model.connection import Candidate, Connection
from carrick.model.environment import Integration
from carrick.model.event import Event, Occasion
from carrick.model.faults import Point
from carrick.model.provider import Provider
from carrick.operations import Opening
from carrick.providers import (
    check_addresses,
    check_connection_config,
    check_found,
    interpolate,
)
from carrick.proxy import Target
from carrick.runtime.subjects import CandidateSubject, Guard, Place
from carrick.store.connections import AlreadyExists
from carrick.store.mailboxes import Lease


@dataclass(frozen=True)
class Located:
    """What a request is about."""

    integration: Integration
    provider: Provider
    connection_id: str
    existing: Connection | None


class Connect:
    """The connect journey."""

    def __init__(self, rooms: Rooms, mailboxes: Mailboxes) -> None:
        self._rooms = rooms
        self._mailboxes = mailboxes
        self._outcomes = Outcomes(rooms)
        self._mishaps = Mishaps(rooms)

    async def run(self, request: ConnectRequest) -> Connected:
        """Connect, reconnect or import.

        Raises:
            CarrickError: The documented refusal; an existing connection is then as §2.2 says.
        """
        operation_id = self._rooms.operations.new_id()
        located = await self.locate(request)
        try:
            try:
                return await self._connect(request, located, operation_id)
            except AlreadyExists:
                # Somebody connected the same id between our look and our write: this one is a
                # reconnect then, and is validated as one.
                located = await self.locate(request)
                return await self._connect(request, located, operation_id)
        except ConnectionValidationFailed:
            raise  # the refusal's own transaction recorded it
        except Exception as error:
            # Expected or not, it is recorded; the API answers it as it answers all others.
            await self._record(request, located, operation_id, error)
            raise

    async def _connect(
        self, request: ConnectRequest, located: Located, operation_id: str
    ) -> Connected:
        if located.existing is None:
            return await self._with_candidate(request, located, operation_id, None)
        async with self._mailboxes.waited_for(located.existing.row_id) as lease:
            await self._rooms.faults.reached(Point.MAILBOX_TAKEN)
            current = await self._rooms.connections.by_row(located.existing.row_id)
            if current is None or not current.is_usable:
                raise InvalidConnection
            located = replace(located, existing=current)
            return await self._with_candidate(request, located, operation_id, lease)

    async def _with_candidate(
        self, request: ConnectRequest, located: Located, operation_id: str, lease: Lease | None
    ) -> Connected:
        faults = self._rooms.faults
        candidate = await self._obtain(request, located)
        await faults.reached(Point.CANDIDATE_OBTAINED)
        await self._demand_possible(request, located, candidate)
        bare, candidate = candidate, await self._with_facts(request, located, candidate)
        if candidate is not bare:
            await self._demand_possible(request, located, candidate)
        await self._verify(located, candidate)
        await faults.reached(Point.CANDIDATE_VERIFIED)
        validation = self._validation(request, located, candidate, operation_id, lease)
        functions = await self._rooms.deployments.active(
            request.environment.row_id, request.integration_id, Event.VALIDATE_CONNECTION
        )
        verdict = await validation.verdict(functions)
        await faults.reached(Point.VERDICT_REACHED)
        return await self._conclude(request, located, validation, verdict)

    async def _record(
        self, request: ConnectRequest, located: Located, operation_id: str, error: Exception
    ) -> None:
        opening = Opening(
            id=operation_id,
            environment_id=request.environment.row_id,
            type="auth",
            action="create_connection",
            integration_id=located.integration.integration_id,
            provider=located.provider.name,
            connection_row_id=located.existing.row_id if located.existing else None,
            connection_id=located.connection_id,
        )
        await self._mishaps.record(
            opening,
            request.environment,
            error,
            webhook_url_override=request.webhook_url_override,
        )

    # --- the steps --------------------------------------------------------------------------

    async def locate(self, request: ConnectRequest) -> Located:
        """Return what a request is about, or refuse it."""
        rooms = self._rooms
        integration = await rooms.integrations.get(
            request.environment.row_id, request.integration_id
        )
        if integration is None:
            raise UnknownIntegration(
                f'There is no integration "{request.integration_id}" in environment '
                f'"{request.environment.name}".'
            )
        provider = rooms.catalogue.get(integration.provider)
        if request.auth_mode is not None and provider.auth_mode is not request.auth_mode:
            raise InvalidAuthMode(
                f"Provider {provider.name} authenticates by {provider.auth_mode}, "
                f"not by {request.auth_mode}."
            )
        existing = await self._existing(request)
        connection_id = (
            existing.connection_id
            if existing is not None
            else request.connection_id or rooms.chance.uuid4()
        )
        return Located(integration, provider, connection_id, existing)

    async def _existing(self, request: ConnectRequest) -> Connection | None:
        rooms = self._rooms
        if request.reconnect_row_id is not None:
            found = await rooms.connections.by_row(request.reconnect_row_id)
            if (
                found is None
                or not found.is_usable
                or found.integration_id != request.integration_id
            ):
                raise InvalidConnection
            return found
        if request.connection_id is None:
            return None
        return await rooms.connections.find(
            request.environment.row_id, request.integration_id, request.connection_id
        )

    async def _obtain(self, request: ConnectRequest, located: Located) -> Candidate:
        """Get credentials, the only step that differs by auth mode."""
        ctx = self.context(request, located)
        obtained = await drive(_steps(request, ctx), self._rooms.calls.egress.send)
        given = ctx.connection_config
        config = {**given, **obtained.connection_config}
        # What the product's own server set stands, whatever the provider says.
        config |= {name: given[name] for name in request.trusted_config if name in given}
        check_addresses(located.provider, config)
        return Candidate(
            credentials=obtained.credentials,
            connection_config=config,
            metadata=request.metadata,
            tags=request.tags,
            end_user=request.end_user,
            webhook_url_override=request.webhook_url_override,
        )

    def context(self, request: ConnectRequest, located: Located) -> ModeContext:
        """Return what an auth mode works with, `connection_config` checked."""
        return ModeContext(
            provider=located.provider,
            integration=located.integration,
            connection_config=_config(request, located),
            now=self._rooms.clock.now(),
            render=interpolate,
            nonce=self._rooms.chance.token_hex(16),
            previous_config=located.existing.connection_config if located.existing else {},
        )

    async def _with_facts(
        self, request: ConnectRequest, located: Located, candidate: Candidate
    ) -> Candidate:
        """Find out what the definition wants known about the account, whatever the entrance.

        What the product itself has set stands and is not asked for.
        """
        given = set(request.trusted_config)
        if request.source == "import":
            given |= (request.connection_config or {}).keys()
        existing = located.existing
        rooms = self._rooms
        try:
            found = await rooms.proxy.find_facts(
                _target(located, candidate),
                given=given,
                previous=existing.connection_config if existing is not None else None,
                deadline=rooms.clock.monotonic() + rooms.timing.validation_s,
            )
        except ProviderUnreachable as error:
            raise _cannot_ask(error) from error
        if not found:
            return candidate
        config = {**candidate.connection_config, **check_found(located.provider, found)}
        check_addresses(located.provider, config)
        return replace(candidate, connection_config=config)

    async def _demand_possible(
        self, request: ConnectRequest, located: Located, candidate: Candidate
    ) -> None:
        """Refuse what could be kept, but never used: whoever connects is still there to hear it.

        Raises:
            EgressDenied: The account is at an address that this server may not call.
            InvalidBody: What was typed in fits into no header.
            ProviderAnswerInvalid: What the provider handed out does not.
        """
        try:
            await self._rooms.proxy.demand_possible(_target(located, candidate))
        except InvalidHeaders as error:
            what = "hold a character that no header can carry, such as a line break"
            if request.source == "oauth":
                raise ProviderAnswerInvalid(f"The provider's credentials {what}.") from error
            raise InvalidBody(f"The credentials, or connection_config, {what}.") from error

    async def _verify(self, located: Located, candidate: Candidate) -> None:
        """Make the catalogue's own check request, if the provider has one."""
        try:
            await self._rooms.proxy.verify(_target(located, candidate))
        except ProviderUnreachable as error:
            raise _cannot_ask(error) from error

    def _validation(
        self,
        request: ConnectRequest,
        located: Located,
        candidate: Candidate,
        operation_id: str,
        lease: Lease | None,
    ) -> Validation:
        subject = CandidateSubject(
            place=Place(
                request.environment, located.integration, located.provider, located.connection_id
            ),
            candidate=candidate,
            existing=located.existing,
            guard=Guard(self._rooms.store, lease),
        )
        return Validation(self._rooms, subject, _occasion(request, located), operation_id)

    async def _conclude(
        self,
        request: ConnectRequest,
        located: Located,
        validation: Validation,
        verdict: Verdict,
    ) -> Connected:
        match verdict:
            case Accepted():
                return await self._outcomes.promote(validation)
            case Refused():
                await self._outcomes.refuse(validation, verdict)
                raise ConnectionValidationFailed(verdict.message)
            case Undecided():
                await self._outcomes.leave(validation)
                self._rooms.operations.note(
                    validation.operation_id, "error", f"No verdict: {verdict.detail}"
                )
                raise ConnectionValidationUnavailable(retry_after_s=10)


def _target(located: Located, candidate: Candidate) -> Target:
    async def credentials() -> Any:
        return candidate.credentials

    return Target(
        provider=located.provider,
        integration=located.integration,
        connection_config=candidate.connection_config,
        metadata={},
        credentials=credentials,
    )


def _cannot_ask(error: ProviderUnreachable) -> ConnectionValidationUnavailable:
    return ConnectionValidationUnavailable(
        "The provider could not be asked whether these credentials work. "
        "Nothing was changed; try again later.",
        retry_after_s=error.retry_after_s or 5,
    )


def _config(request: ConnectRequest, located: Located) -> Mapping[str, Any]:
    given = request.connection_config
    if given is None and located.existing is not None:
        given = located.existing.connection_config
        return check_connection_config(
            located.provider, given, from_browser=False, preset=request.trusted_config
        )
    return check_connection_config(
        located.provider,
        given or {},
        from_browser=request.source != "import",
        preset=request.trusted_config,
    )


def _steps(request: ConnectRequest, ctx: ModeContext) -> Steps:
    if request.obtain is not None:
        return request.obtain(ctx)
    mode = mode_for(ctx.provider.auth_mode)
    read = mode.from_import if request.source == "import" else mode.from_input
    return read(ctx, request.body)


def _occasion(request: ConnectRequest, located: Located) -> Occasion:
    if located.existing is not None:
        return Occasion.RECONNECT
    return Occasion.IMPORT if request.source == "import" else Occasion.CREATION
