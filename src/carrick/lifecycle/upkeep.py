"""Looking after credentials that nobody asks for, and ahead of those who will.

Every node takes what is due, a few connections of an integration at a time, so that work is shared,
a dead node's is taken up by the others, and no provider meets a stampede. A provider that cannot be
reached is left alone for a while. What comes of it is an operation, like every refresh.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

import structlog

from carrick.credentials import rules
from carrick.errors import (
    CarrickError,
    ConnectionTestFailed,
    CredentialsUnavailable,
    InvalidCredentials,
    ProviderUnreachable,
    StoreUnavailable,
    UnknownConnection,
)
from carrick.lifecycle.rooms import Rooms
from carrick.model.auth import Credentials
from carrick.operations import Opening
from carrick.proxy import Target
from carrick.proxy.verify import verification_calls
from carrick.store import upkeep as table
from carrick.store.refresh import RefreshRow
from carrick.store.unit import Tx

#: How often it is looked for what is due; a look costs one indexed read.
_EVERY_S = 5.0
#: How long a claim keeps others away: longer than a few connections take at a provider that
#: answers late. What is left of a page is claimed anew before the next few.
_CLAIMED = timedelta(minutes=5)
_PAGE = 20
_INTEGRATIONS_AT_ONCE = 16
#: Connections in a row that got no answer, after which a provider counts as unreachable.
_OUTAGE = 3
#: How long a provider that cannot be reached is left alone, unless it asks for more.
_REST_S = 300.0
_SPREAD = 0.1
_log = structlog.get_logger(__name__)


class Upkeep:
    """Refreshes and checks credentials in the background."""

    def __init__(self, rooms: Rooms, *, at_once: int, idle: timedelta) -> None:
        """Build it.

        Args:
            rooms: What it works with.
            at_once: Connections of one integration that are worked on at a time.
            idle: How long credentials go unused before they are kept alive by themselves.
        """
        self._rooms = rooms
        self._at_once = at_once
        self._idle = idle
        self._tending: dict[int, asyncio.Task[None]] = {}
        self._rests: dict[int, float] = {}

    async def run(self) -> None:
        """Look after what is due, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    await self._begin(group)
                except StoreUnavailable as error:
                    _log.debug("upkeep_not_read", reason=error.message)
                seconds = self._rooms.chance.spread(_EVERY_S, _SPREAD)
                await self._rooms.clock.sleep(seconds)

    async def tend(self, integration_row_id: int) -> None:
        """Work off what is due of one integration, until nothing is or its provider is away."""
        in_a_row = 0
        while True:
            until = self._rooms.clock.now() + _CLAIMED
            page = await self._claim(integration_row_id, until)
            if not page:
                return
            while page:
                batch, page = page[: self._at_once], page[self._at_once :]
                waits = await asyncio.gather(*(self._look_after(row, until) for row in batch))
                for wait_s in waits:
                    in_a_row = 0 if wait_s is None else in_a_row + 1
                if in_a_row >= _OUTAGE:
                    longest = max(wait_s or 0.0 for wait_s in waits)
                    self._rest(integration_row_id, max(longest, _REST_S))
                    return
                page, until = await self._kept(page, until)

    async def _begin(self, group: asyncio.TaskGroup) -> None:
        clock, store = self._rooms.clock, self._rooms.store
        now = clock.now()
        due = await store.read(lambda tx: table.due_integrations(tx, now))
        for row_id in due:
            if len(self._tending) >= _INTEGRATIONS_AT_ONCE:
                return
            if row_id in self._tending or self._rests.get(row_id, 0.0) > clock.monotonic():
                continue
            self._rests.pop(row_id, None)
            task = group.create_task(self._tended(row_id), name=f"upkeep-{row_id}")
            self._tending[row_id] = task
            task.add_done_callback(partial(self._tended_to, row_id))

    async def _tended(self, integration_row_id: int) -> None:
        try:
            await self.tend(integration_row_id)
        except CarrickError as error:
            _log.warning("upkeep_stopped", integration=integration_row_id, reason=error.message)
            self._rest(integration_row_id, _EVERY_S)

    def _tended_to(self, integration_row_id: int, task: asyncio.Task[None]) -> None:
        del self._tending[integration_row_id]

    def _rest(self, integration_row_id: int, seconds: float) -> None:
        self._rests[integration_row_id] = self._rooms.clock.monotonic() + seconds

    async def _claim(self, integration_row_id: int, until: datetime) -> Sequence[RefreshRow]:
        async def unit(tx: Tx) -> Sequence[RefreshRow]:
            return await table.claim(tx, integration_row_id, until=until, limit=_PAGE)

        return await self._rooms.store.write(unit)

    async def _kept(
        self, page: Sequence[RefreshRow], claimed_until: datetime
    ) -> tuple[Sequence[RefreshRow], datetime]:
        """Keep what is left of a page for longer; return what nobody else has taken, and till when.

        A provider may take its time with each, and whoever found the claims run out would do the
        rest a second time.
        """
        until = self._rooms.clock.now() + _CLAIMED
        row_ids = [row.row_id for row in page]

        async def unit(tx: Tx) -> set[int]:
            return await table.renew(tx, row_ids, claimed_until=claimed_until, until=until)

        ours = await self._rooms.store.write(unit) if row_ids else set()
        return [row for row in page if row.row_id in ours], until

    async def _look_after(self, row: RefreshRow, until: datetime) -> float | None:
        """Look after one connection; return how long to leave a provider alone that is away.

        What could not be done is due again when the claim ends.
        """
        try:
            if rules.wants_upkeep(row, self._rooms.clock.now(), self._idle):
                await self._rooms.fresh.keep_alive(row.row_id, self._check)
            await self._schedule(row, until)
        except CredentialsUnavailable as error:
            return error.retry_after_s or 0.0
        except ProviderUnreachable as error:
            self._note(row, error)
            return error.retry_after_s or 0.0
        except (InvalidCredentials, ConnectionTestFailed, UnknownConnection):
            return None  # recorded, and when to look next with it
        except StoreUnavailable as error:
            _log.debug("upkeep_not_written", connection=row.row_id, reason=error.message)
        except CarrickError as error:
            self._note(row, error)
        except Exception:  # one that cannot be looked after must not stop the others
            _log.exception("upkeep_failed", connection=row.row_id)
        return None

    async def _schedule(self, row: RefreshRow, until: datetime) -> None:
        now = self._rooms.clock.now()
        seconds = (rules.upkeep_of(row, now, self._idle) - now).total_seconds()
        at = now + timedelta(seconds=self._rooms.chance.spread(seconds, _SPREAD))

        async def unit(tx: Tx) -> None:
            await table.schedule(tx, row.row_id, claimed_until=until, at=at)

        await self._rooms.store.write(unit)

    async def _check(self, row: RefreshRow, credentials: Credentials) -> bool:
        """Ask the provider whether it still accepts credentials, if its definition says how."""
        provider = self._rooms.catalogue.get(row.provider)
        integration = await self._rooms.integrations.by_row(row.integration_row_id)
        if integration is None or not verification_calls(provider):
            return False

        async def given() -> Credentials:
            return credentials

        await self._rooms.proxy.verify(
            Target(
                provider=provider,
                integration=integration,
                connection_config=row.connection_config,
                metadata={},
                credentials=given,
            )
        )
        return True

    def _note(self, row: RefreshRow, error: CarrickError) -> None:
        """Record that nothing could be found out; the connection is as it was."""
        opening = Opening(
            environment_id=row.environment_id,
            type="auth",
            action="connection_test",
            integration_id=row.integration_id,
            provider=row.provider,
            connection_row_id=row.row_id,
            connection_id=row.connection_id,
            message="The credentials could not be checked; nothing was changed.",
        )
        told = {"code": error.code, "message": error.message}
        self._rooms.operations.record(opening, state="failed", error=told)
