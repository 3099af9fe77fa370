"""What a refresh does to the connection it refreshes: its state, its log, the notification."""

from __future__ import annotations

from carrick.connections import states
from carrick.credentials import RefreshFailure, RefreshSuccess
from carrick.model.connection import Connection, ConnectionState, ErrorCause
from carrick.notify import Fault, Notifier, facts_of, refresh_failed
from carrick.operations import Opening, Operations
from carrick.providers import Catalogue
from carrick.store import connections as rows
from carrick.store import environments as environment_rows
from carrick.store.unit import Tx


class RefreshWatch:
    """Follows refreshes inside their own transactions; fills the credentials room's port."""

    def __init__(
        self,
        operations: Operations,
        notifier: Notifier,
        catalogue: Catalogue,
    ) -> None:
        self._operations = operations
        self._notifier = notifier
        self._catalogue = catalogue

    async def refreshed_in(self, tx: Tx, connection_row_id: int, success: RefreshSuccess) -> None:
        """Record it, and bring back a connection whose auth error came from refreshing."""
        connection = await rows.get(tx, connection_row_id, lock=True)
        if connection is None:
            return
        await self._operations.open_in(
            tx, _opening(connection, success.action, success.operation_id, success.message)
        )
        await self._operations.close_in(tx, success.operation_id, state="success")
        if (
            connection.state is ConnectionState.AUTH_ERROR
            and connection.error_cause is ErrorCause.REFRESH
        ):
            await states.refresh_healed(tx, connection)

    async def refresh_failed_in(
        self, tx: Tx, connection_row_id: int, failure: RefreshFailure
    ) -> None:
        """Record it, tell the app, and mark the connection when it was the last that counts."""
        connection = await rows.get(tx, connection_row_id, lock=True)
        if connection is None or not connection.is_usable:
            return
        operation_id = failure.operation_id
        fault = Fault(failure.error_type, failure.description)
        await self._operations.open_in(tx, _opening(connection, failure.action, operation_id))
        await self._operations.close_in(
            tx,
            operation_id,
            state="failed",
            error={"code": fault.type, "message": fault.description},
        )
        if failure.exhausted and connection.error_cause is not ErrorCause.REFUSED:
            await states.refresh_exhausted(tx, connection, operation_id)
        elif connection.error_cause is None:
            await rows.change(tx, connection.row_id, {"error_operation_id": operation_id})
        environment = await environment_rows.get(tx, connection.environment_id)
        provider = self._catalogue.find(connection.provider)
        if environment is not None:
            auth_mode = provider.auth_mode.value if provider is not None else "unknown"
            facts = facts_of(environment, connection, auth_mode)
            await self._notifier.write_in(tx, refresh_failed(facts, fault))


def _opening(
    connection: Connection, action: str, operation_id: str, message: str | None = None
) -> Opening:
    return Opening(
        id=operation_id,
        environment_id=connection.environment_id,
        type="auth",
        action=action,
        integration_id=connection.integration_id,
        provider=connection.provider,
        connection_row_id=connection.row_id,
        connection_id=connection.connection_id,
        message=message,
    )
