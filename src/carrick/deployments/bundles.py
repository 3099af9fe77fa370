"""The bundles that are kept: looked into, put on disk where functions run, and forgotten.

A bundle is in the store for every node, and unpacked on a node when that needs it.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from carrick.deployments.bundle import Bundle, open_bundle
from carrick.deployments.child import Isolate
from carrick.deployments.diff import Scope
from carrick.deployments.inspection import FoundFunction, Inspection, inspect_files
from carrick.deployments.problem import project_invalid
from carrick.deployments.selection import source_of
from carrick.deployments.shelf import BundleDir, Shelf
from carrick.errors import UnknownFunction
from carrick.model.clock import Clock
from carrick.model.event import FunctionRef
from carrick.model.faults import NO_FAULTS, Faults, Point
from carrick.store import deployments as table
from carrick.store.unit import Store, Tx

#: How long a bundle that no deployment uses (a dry run's) is kept.
_UNUSED_LIFE = timedelta(days=1)
#: How many inspections are kept in memory; a bundle never changes.
_REMEMBERED = 8


class Bundles:
    """Every bundle there is, over all environments."""

    def __init__(
        self,
        store: Store,
        data_dir: Path,
        clock: Clock,
        *,
        memory_bytes: int,
        isolate: Isolate | None = None,
        faults: Faults = NO_FAULTS,
    ) -> None:
        """Build it; the arguments are those of `Deployments`."""
        self._store = store
        self._clock = clock
        self._memory_bytes = memory_bytes
        self._isolate = isolate
        self._faults = faults
        self._shelf = Shelf(data_dir)
        self._inspections: dict[str, Inspection] = {}

    async def inspect(self, bundle: Bundle, scope: Scope | None = None) -> Inspection:
        """Return what a bundle holds, imported in a process of its own.

        Args:
            bundle: What was sent.
            scope: Functions out of it are neither imported nor complained about.

        Raises:
            ProjectInvalid: The bundle is not one.
            DeploymentRejected: Its dependencies cannot be installed.
            FunctionsUnavailable: They or its files cannot be written here.
        """
        key = f"{bundle.id} {scope}"
        if (known := self._inspections.get(key)) is not None:
            return known
        directory = await self._shelf.put(bundle)
        await self._faults.reached(Point.BUNDLE_UNPACKED)
        _, project = await asyncio.to_thread(open_bundle, bundle.content)
        inspection = await inspect_files(
            project,
            directory.path,
            dependencies=directory.dependencies,
            scope=scope,
            memory_bytes=self._memory_bytes,
            isolate=self._isolate,
        )
        await self._faults.reached(Point.BUNDLE_INSPECTED)
        if not inspection.problems:  # a deploy follows its preview within seconds
            self._inspections[key] = inspection
            while len(self._inspections) > _REMEMBERED:
                del self._inspections[next(iter(self._inspections))]
        return inspection

    async def keep(self, bundle: Bundle) -> None:
        """Keep a bundle that is not deployed, for a dry run."""

        async def unit(tx: Tx) -> None:
            await table.put_bundle(tx, bundle.id, bundle.content, bundle.dependencies)

        await self._store.write(unit)

    async def functions(
        self, environment_id: int, bundle: Bundle, scope: Scope | None = None
    ) -> list[FunctionRef]:
        """Return the functions of a bundle that is not deployed; their deployment is 0.

        Raises:
            ProjectInvalid: The project does not compile; `payload.problems` says where.
        """
        inspection = await self.inspect(bundle, scope)
        if inspection.problems:
            raise project_invalid(inspection.problems)
        return [_ref(environment_id, bundle, function) for function in inspection.functions]

    async def materialise(self, bundle_id: str) -> BundleDir:
        """Return where a bundle's code lies on disk, putting it there when it does not yet.

        Raises:
            UnknownFunction: There is no such bundle.
            DeploymentRejected: Its dependencies cannot be installed here.
            FunctionsUnavailable: They or its files cannot be written here.
        """
        if (ready := self._shelf.find(bundle_id)) is not None:
            return ready
        return await self._shelf.put(await self._bundle(bundle_id))

    async def code_of(self, function: FunctionRef) -> str:
        """Return the text of the file a function stands in, as it was deployed.

        Raises:
            UnknownFunction: It is not in the store.
        """
        bundle = await self._bundle(function.bundle_id)
        # Unpacking takes long for a large project, and others are waiting.
        return await asyncio.to_thread(
            source_of, bundle.content, function.integration_id, function.name
        )

    async def prune(self) -> None:
        """Forget bundles that no deployment uses and that are older than a day."""
        before = self._clock.now() - _UNUSED_LIFE

        async def unit(tx: Tx) -> set[str]:
            await table.delete_unused_bundles(tx, before=before)
            return await table.bundle_ids(tx)

        await self._shelf.prune(await self._store.write(unit), before=before)

    async def _bundle(self, bundle_id: str) -> Bundle:
        async def unit(tx: Tx) -> tuple[bytes, tuple[str, ...]] | None:
            return await table.get_bundle(tx, bundle_id)

        found = await self._store.read(unit)
        if found is None:
            raise UnknownFunction("The code of this function is not in the store.")
        return Bundle(bundle_id, *found)


def _ref(environment_id: int, bundle: Bundle, found: FoundFunction) -> FunctionRef:
    return FunctionRef(
        environment_id=environment_id,
        deployment_id=0,
        bundle_id=bundle.id,
        integration_id=found.integration_id,
        name=found.name,
        position=found.position,
        content_hash=found.content_hash,
        declaration=found.declaration,
    )
