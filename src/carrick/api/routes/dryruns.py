"""Dry runs: a function against a real connection, its writes withheld and shown."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from starlette.responses import Response

from carrick.api.access import Rooms
from carrick.api.auth import Asker, ByKey
from carrick.api.bundles import read_bundle
from carrick.api.routing import router, wrapped
from carrick.api.schemas.records import DryRunAnswer, DryRunInput, report_object
from carrick.dryrun import DryRunRequest

routes = router("dry runs")


@routes.post("/dryruns", response_model=DryRunAnswer)
async def dry_run(
    rooms: Rooms,
    asker: Annotated[Asker, Depends(ByKey("environment:functions:dryrun"))],
    body: DryRunInput,
) -> Response:
    """Run a function and report what it did, or would have done."""
    report = await rooms.dry_runs.run(
        DryRunRequest(
            environment=asker.environment,
            function=body.function,
            connection_id=body.connection_id,
            integration_id=body.integration_id,
            operation=body.operation,
            metadata=body.metadata,
            live=body.live,
            bundle=await read_bundle(body.bundle) if body.bundle is not None else None,
        )
    )
    return wrapped(report_object(report))
