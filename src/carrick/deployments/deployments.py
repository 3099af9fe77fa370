"""Deployments of an environment: preview, deploy, roll back, and which functions are active.

A deployment is immutable and numbered; activating one is a single transaction. A deploy that
changes nothing makes no deployment: it reports the active one's number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from carrick.deployments.bundle import Bundle
from carrick.deployments.bundles import Bundles
from carrick.deployments.child import Isolate
from carrick.deployments.diff import Preview, Scope, compare, merge
from carrick.errors import DeploymentRejected, NotFound, RemovalNotConfirmed, StoreUnavailable
from carrick.model.clock import Clock
from carrick.model.event import Event, FunctionRef
from carrick.model.faults import NO_FAULTS, Faults, Point
from carrick.store import deployments as table
from carrick.store import integrations as integration_rows
from carrick.store.deployments import DeploymentRow
from carrick.store.unit import Store, Tx

_log = structlog.get_logger(__name__)

#: How many deployments' functions are kept in memory; they never change.
_REMEMBERED = 64


@dataclass(frozen=True)
class Deployed:
    """What became of a deploy."""

    #: The deployment that is active now; 0 when nothing was ever deployed.
    number: int
    preview: Preview
    #: False when nothing had changed, so that no deployment was made.
    is_new: bool = True


class Deployments:
    """Everything that is deployed, over all environments."""

    def __init__(
        self,
        store: Store,
        data_dir: Path,
        clock: Clock,
        *,
        memory_bytes: int = 512 * 1024 * 1024,
        isolate: Isolate | None = None,
        faults: Faults = NO_FAULTS,
    ) -> None:
        """Build the room.

        Args:
            store: Where deployments and bundles are kept.
            data_dir: Bundles and dependencies are unpacked below it.
            clock: What counts as now.
            memory_bytes: Memory limit of the process in which an uploaded project is inspected.
            isolate: What comes before that process's command (`Isolation.prefix`).
            faults: What happens at fault points.
        """
        self._store = store
        self._faults = faults
        #: The code that deployments and dry runs are made of.
        self.bundles = Bundles(
            store, data_dir, clock, memory_bytes=memory_bytes, isolate=isolate, faults=faults
        )
        self._functions: dict[table.ActiveKey, list[FunctionRef]] = {}

    # --- deploying --------------------------------------------------------------------------

    async def preview(self, environment_id: int, bundle: Bundle, scope: Scope | None) -> Preview:
        """Say what a deploy would do, and change nothing.

        Raises:
            ProjectInvalid: The project does not compile; `payload.problems` says where.
            DeploymentRejected: It names integrations that do not exist, or scopes to nothing.
        """
        functions = await self._inspected(environment_id, bundle, scope)

        async def unit(tx: Tx) -> Preview:
            await _demand_known(tx, environment_id, functions)
            return compare(await self._active_in(tx, environment_id), functions, scope)

        preview = await self._store.read(unit)
        _demand_something_in_scope(preview, scope)
        return preview

    async def deploy(
        self,
        environment_id: int,
        bundle: Bundle,
        scope: Scope | None = None,
        *,
        allow_removals: bool = False,
    ) -> Deployed:
        """Make the bundle's functions the active ones, within the scope.

        Raises:
            ProjectInvalid: The project does not compile; `payload.problems` says where.
            DeploymentRejected: It names integrations that do not exist, or scopes to nothing.
            RemovalNotConfirmed: It removes functions and that was not allowed.
        """
        functions = await self._inspected(environment_id, bundle, scope)

        async def unit(tx: Tx) -> Deployed:
            if not await table.lock_environment(tx, environment_id):
                raise NotFound("There is no such environment.")
            await _demand_known(tx, environment_id, functions)
            before = await self._active_in(tx, environment_id)
            preview = compare(before, functions, scope)
            _demand_something_in_scope(preview, scope)
            if preview.changes_nothing:
                return Deployed(await _active_number(tx, environment_id), preview, is_new=False)
            if preview.removed and not allow_removals:
                raise _removal_not_confirmed(preview)
            number = await table.next_number(tx, environment_id)
            deployment_id = await table.insert_deployment(
                tx,
                environment_id,
                number,
                scope=scope.as_json() if scope else None,
                summary=preview.summary(),
            )
            await table.put_bundle(tx, bundle.id, bundle.content, bundle.dependencies)
            await table.insert_functions(tx, deployment_id, merge(before, functions, scope))
            await self._faults.reached(Point.DEPLOYMENT_WRITTEN)
            await table.activate(tx, environment_id, deployment_id)
            await self._faults.reached(Point.DEPLOYMENT_ACTIVATED)
            return Deployed(number, preview)

        deployed = await self._store.write(unit)
        await self._faults.reached(Point.AFTER_DEPLOY)
        if deployed.is_new:
            _log.info("deployed", environment_id=environment_id, number=deployed.number)
        with contextlib.suppress(OSError, StoreUnavailable):  # deployed it is, tidy or not
            await self.bundles.prune()
        return deployed

    async def rollback(self, environment_id: int, number: int) -> DeploymentRow:
        """Make an earlier deployment the active one again and return it.

        Raises:
            NotFound: There is no deployment of that number.
        """

        async def unit(tx: Tx) -> DeploymentRow:
            await table.lock_environment(tx, environment_id)
            found = await table.by_number(tx, environment_id, number)
            if found is None:
                raise NotFound(f"There is no deployment {number} in this environment.")
            if found.state != "active":
                await table.activate(tx, environment_id, found.row_id)
            again = await table.by_row(tx, found.row_id)
            assert again is not None
            await self._faults.reached(Point.BEFORE_ROLLBACK)
            return again

        active = await self._store.write(unit)
        await self._faults.reached(Point.AFTER_ROLLBACK)
        _log.info("rolled_back", environment_id=environment_id, number=number)
        return active

    # --- what is active ---------------------------------------------------------------------

    async def active(
        self, environment_id: int, integration_id: str, event: Event
    ) -> list[FunctionRef]:
        """Return an integration's active functions of an event, in declared order."""

        async def unit(tx: Tx) -> list[FunctionRef]:
            return await self.active_in(tx, environment_id, integration_id, event)

        return await self._store.read(unit)

    async def active_in(
        self, tx: Tx, environment_id: int, integration_id: str, event: Event
    ) -> list[FunctionRef]:
        """Return the same within a transaction."""
        functions = await self._active_in(tx, environment_id)
        return [
            function
            for function in functions
            if function.integration_id == integration_id and function.event is event
        ]

    async def functions(self, environment_id: int) -> list[FunctionRef]:
        """Return every active function by integration, in declared order."""

        async def unit(tx: Tx) -> list[FunctionRef]:
            return list(await self._active_in(tx, environment_id))

        return await self._store.read(unit)

    async def resolve(
        self, environment_id: int, integration_id: str, name: str, event: Event
    ) -> FunctionRef | None:
        """Return a function as it is active, else as the last active deployment that had it.

        A name that has gone to a function of another event is not that function.
        """

        async def unit(tx: Tx) -> FunctionRef | None:
            return await self.resolve_in(tx, environment_id, integration_id, name, event)

        return await self._store.read(unit)

    async def resolve_in(
        self, tx: Tx, environment_id: int, integration_id: str, name: str, event: Event
    ) -> FunctionRef | None:
        """Return the same within a transaction."""
        wanted = (integration_id, name, event)
        for function in await self._active_in(tx, environment_id):
            if (function.integration_id, function.name, function.event) == wanted:
                return function
        return await table.latest_function(tx, environment_id, integration_id, name, event)

    async def list_deployments(
        self, environment_id: int, *, limit: int = 50, before: int | None = None
    ) -> list[DeploymentRow]:
        """Return an environment's deployments, the newest first.

        Args:
            environment_id: Whose.
            limit: At most so many.
            before: Only numbers below this one.
        """

        async def unit(tx: Tx) -> list[DeploymentRow]:
            return await table.list_deployments(tx, environment_id, limit=limit, before=before)

        return await self._store.read(unit)

    # --- inside -----------------------------------------------------------------------------

    async def _inspected(
        self, environment_id: int, bundle: Bundle, scope: Scope | None
    ) -> Sequence[FunctionRef]:
        functions = await self.bundles.functions(environment_id, bundle, scope)
        return [
            function
            for function in functions
            if scope is None or scope.covers(function.integration_id, function.name)
        ]

    async def _active_in(self, tx: Tx, environment_id: int) -> Sequence[FunctionRef]:
        key = await table.active_key(tx, environment_id)
        if key is None:
            return ()
        # A deployment's functions never change, so this holds on every node. The key has its time
        # in it because SQLite may give the row id of a transaction that was undone to the next.
        if (known := self._functions.get(key)) is None:
            known = await table.functions_of(tx, key[0])
            self._functions[key] = known
            while len(self._functions) > _REMEMBERED:
                del self._functions[next(iter(self._functions))]
        return known


async def _active_number(tx: Tx, environment_id: int) -> int:
    key = await table.active_key(tx, environment_id)
    row = await table.by_row(tx, key[0]) if key is not None else None
    return row.number if row is not None else 0


def _demand_something_in_scope(preview: Preview, scope: Scope | None) -> None:
    if scope is None:
        return
    touched = (*preview.added, *preview.changed, *preview.unchanged, *preview.removed)
    integrations = {change.integration_id for change in touched}
    functions = {change.label for change in touched}
    missing = [one for one in scope.integration_ids if one not in integrations]
    missing += [one for one in scope.functions if one not in functions]
    if missing:
        raise DeploymentRejected(
            f"There is no function of {', '.join(missing)}, neither in the project nor deployed.",
            payload={"missing": missing},
        )


def _removal_not_confirmed(preview: Preview) -> RemovalNotConfirmed:
    names = ", ".join(change.label for change in preview.removed)
    return RemovalNotConfirmed(
        f"This would remove {names}. Allow removals to go on, or deploy a scope.",
        payload={"removed": [change.as_json() for change in preview.removed]},
    )


async def _demand_known(tx: Tx, environment_id: int, functions: Sequence[FunctionRef]) -> None:
    """Demand that what a project is for is there, and stays what it is called until it is deployed.

    Whoever renames an integration waits for the environment, as whoever deploys does.
    """
    wanted = {function.integration_id for function in functions}
    unknown = sorted(wanted - set(await integration_rows.active_ids(tx, environment_id)))
    if unknown:
        names = ", ".join(unknown)
        raise DeploymentRejected(
            f"The project has functions for {names}, but this environment has no such "
            f"integration. Create it first: carrick integrations create {unknown[0]} "
            "--provider <provider>",
            payload={"unknown_integrations": unknown},
        )
