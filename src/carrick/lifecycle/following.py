"""Writing the events that follow from a state change, in the transaction that makes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from carrick.lifecycle.mailbox import wake
from carrick.lifecycle.rooms import Rooms
from carrick.model.connection import Connection
from carrick.model.event import Event, FunctionRef, Occasion
from carrick.operations import Opening
from carrick.store import events as event_rows
from carrick.store.events import EventRow, NewEvent
from carrick.store.unit import Tx
from carrick.vault import contexts

_ACTION = {
    Event.VALIDATE_CONNECTION: "validate_connection",
    Event.POST_CONNECTION_CREATION: "post_connection_creation",
    Event.PRE_CONNECTION_DELETION: "pre_connection_deletion",
}


async def write_events(
    rooms: Rooms,
    tx: Tx,
    connection: Connection,
    functions: Sequence[FunctionRef],
    occasion: Occasion,
    *,
    previous: Mapping[str, Any] | None = None,
) -> list[EventRow]:
    """Append one event for each function, in declared order, and have the mailbox looked at.

    The functions of an event are fixed here; which deployment runs them is decided attempt by
    attempt.
    """
    if not functions:
        return []
    new = []
    for function in functions:
        run_id = rooms.chance.uuid4()
        operation_id = await rooms.operations.open_in(tx, opening(connection, function, occasion))
        sealed = None
        if previous is not None:
            sealed = rooms.vault.seal_json(dict(previous), context=contexts.previous(run_id))
        new.append(
            NewEvent(
                event=function.event,
                function=function.name,
                occasion=occasion,
                run_id=run_id,
                operation_id=operation_id,
                previous=sealed,
            )
        )
    written = await event_rows.write(
        tx,
        environment_id=connection.environment_id,
        integration_row_id=connection.integration_row_id,
        connection_row_id=connection.row_id,
        events=new,
    )
    await wake(rooms, tx, written[0])
    return written


def opening(connection: Connection, function: FunctionRef, occasion: Occasion) -> Opening:
    """Describe the operation of one event of one function."""
    return Opening(
        environment_id=connection.environment_id,
        type="events",
        action=_ACTION[function.event],
        integration_id=connection.integration_id,
        provider=connection.provider,
        connection_row_id=connection.row_id,
        connection_id=connection.connection_id,
        function=function.name,
        meta={"occasion": occasion.value},
        state="waiting",
    )
