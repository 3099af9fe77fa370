"""What Carrick keeps a record of, on the wire: operations, cleanups, deployments, dry runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal, NotRequired

from pydantic import BeforeValidator, Field, StringConstraints
from typing_extensions import TypedDict

from carrick.api.routing import Strict
from carrick.api.schemas.primitives import (
    FunctionName,
    IntegrationId,
    JsonMap,
    StringInt,
    Text255,
)
from carrick.api.times import with_z, with_z_or_none
from carrick.dryrun import DryRunReport
from carrick.lifecycle.journeys import Cleanup
from carrick.operations import Operation, OperationMessage
from carrick.store.deployments import DeploymentRow


def _list(value: Any) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


_Texts = Annotated[list[Text255], BeforeValidator(_list, json_schema_input_type=str)]
_State = Literal["waiting", "running", "success", "failed", "timeout", "cancelled"]
_States = Annotated[list[_State], BeforeValidator(_list, json_schema_input_type=str)]
#: Milliseconds, and eight random characters.
_OPERATION_ID = r"^[0-9]{1,14}_[a-zA-Z0-9]{8}$"
_Limit = Annotated[StringInt, Field(ge=1, le=100)]


class PageQuery(Strict):
    """A page of a list."""

    limit: _Limit = 50
    cursor: Annotated[StringInt, Field(ge=0)] | None = None


class OperationsQuery(Strict):
    """Filters of `GET /operations`; each takes several values separated by commas."""

    state: _States = Field(default_factory=list)
    type: _Texts = Field(default_factory=list)
    action: _Texts = Field(default_factory=list)
    integration_id: _Texts = Field(default_factory=list)
    connection_id: Text255 | None = None
    limit: _Limit = 50
    cursor: Annotated[str, StringConstraints(pattern=_OPERATION_ID)] | None = None


class MessagesQuery(Strict):
    """Which messages of an operation are shown."""

    limit: Annotated[StringInt, Field(ge=1, le=1000)] = 100
    after: Annotated[StringInt, Field(ge=0)] | None = None


class NothingMore(Strict):
    """A request that says everything in its path."""


class CleanupsQuery(PageQuery):
    """Filters of `GET /cleanups`."""

    state: Literal["parked"] | None = None


class RetryInput(Strict):
    """`POST /cleanups/retry`: every parked one, or those of one integration."""

    integration_id: Text255 | None = None


class ForceInput(Strict):
    """`POST /cleanups/{id}/force`."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=1000)]


_Bundle = Annotated[str, Field(description="A packed project, base64.")]


class ScopeInput(Strict):
    """What a deployment may touch."""

    integrations: list[IntegrationId] = Field(default_factory=list)
    functions: list[Text255] = Field(default_factory=list, description="As `integration/name`.")


class PreviewInput(Strict):
    """`POST /deployments/preview`."""

    bundle: _Bundle
    scope: ScopeInput | None = None
    allow_removals: bool = False


class DeploymentInput(PreviewInput):
    """`POST /deployments`."""


class DryRunInput(Strict):
    """`POST /dryruns`; without a bundle, what is deployed runs."""

    function: FunctionName
    connection_id: Text255
    integration_id: IntegrationId | None = None
    operation: Literal["creation", "reconnect", "import", "deletion"] | None = None
    metadata: JsonMap | None = None
    live: bool = False
    bundle: _Bundle | None = None


# --- answers --------------------------------------------------------------------------------


class MessageObject(TypedDict):
    """A line of an operation."""

    id: int
    created_at: str
    level: str
    kind: str
    message: str
    fields: dict[str, Any]


class OperationObject(TypedDict):
    """What was done, to what, and how it ended."""

    id: str
    type: str
    action: str
    state: str
    message: str | None
    integration_id: str | None
    provider: str | None
    connection_id: str | None
    function: str | None
    error: dict[str, Any] | None
    meta: dict[str, Any]
    created_at: str
    started_at: str | None
    ended_at: str | None
    duration_ms: int | None
    messages: NotRequired[list[MessageObject]]


class OperationsAnswer(TypedDict):
    """A page of operations."""

    data: list[OperationObject]
    next_cursor: str | None


class OperationAnswer(TypedDict):
    """One operation."""

    data: OperationObject


class CleanupObject(TypedDict):
    """A cleanup that is not done."""

    id: str
    connection_id: str
    integration_id: str
    function: str
    state: str
    attempts: int
    interruptions: int
    due_at: str | None
    error_kind: str | None
    error_message: str | None
    operation_id: str
    created_at: str


class CleanupsAnswer(TypedDict):
    """A page of cleanups, parked ones first."""

    data: list[CleanupObject]
    next_cursor: str | None


class CleanupAnswer(TypedDict):
    """A cleanup that is not done."""

    data: CleanupObject


class Retried(TypedDict):
    """How many parked cleanups are tried again."""

    retried: int


class RetriedAnswer(TypedDict):
    """How many parked cleanups are tried again."""

    data: Retried


class Done(TypedDict):
    """It was done."""

    success: bool


class DoneAnswer(TypedDict):
    """It was done."""

    data: Done


class ChangeObject(TypedDict):
    """What a deployment does to one function."""

    integration_id: str
    name: str
    event: str
    change: Literal["added", "changed", "unchanged", "removed"]
    version: str | None
    only_order: bool


class PreviewObject(TypedDict):
    """What a deployment would do."""

    added: list[ChangeObject]
    changed: list[ChangeObject]
    unchanged: list[ChangeObject]
    removed: list[ChangeObject]


class PreviewAnswer(TypedDict):
    """What a deployment would do."""

    data: PreviewObject


class DeployedObject(PreviewObject):
    """What a deployment did; `is_new` is false when there was nothing to do."""

    number: int
    is_new: bool


class DeployedAnswer(TypedDict):
    """What a deployment did."""

    data: DeployedObject


class DeploymentObject(TypedDict):
    """A numbered deployment."""

    number: int
    state: str
    scope: dict[str, Any] | None
    summary: dict[str, Any]
    created_at: str
    activated_at: str | None


class DeploymentAnswer(TypedDict):
    """One deployment."""

    data: DeploymentObject


class DeploymentsAnswer(TypedDict):
    """A page of deployments, the newest first."""

    data: list[DeploymentObject]
    next_cursor: str | None


class DryRunObject(TypedDict):
    """What a function did, or would have done."""

    function: str
    integration_id: str
    connection_id: str
    event: str
    operation: str
    live: bool
    outcome: str
    incomplete: bool
    message: str
    detail: str
    log: list[dict[str, Any]]
    calls: list[dict[str, Any]]
    metadata_before: dict[str, Any]
    metadata_after: dict[str, Any]
    operation_id: str


class DryRunAnswer(TypedDict):
    """The report of a dry run."""

    data: DryRunObject


def operation_object(operation: Operation) -> OperationObject:
    """Return an operation without its messages."""
    duration_ms = None
    if operation.started_at is not None and operation.ended_at is not None:
        duration_ms = round((operation.ended_at - operation.started_at).total_seconds() * 1000)
    return {
        "id": operation.id,
        "type": operation.type,
        "action": operation.action,
        "state": operation.state,
        "message": operation.message,
        "integration_id": operation.integration_id,
        "provider": operation.provider,
        "connection_id": operation.connection_id,
        "function": operation.function,
        "error": dict(operation.error) if operation.error is not None else None,
        "meta": dict(operation.meta),
        "created_at": with_z(operation.created_at),
        "started_at": with_z_or_none(operation.started_at),
        "ended_at": with_z_or_none(operation.ended_at),
        "duration_ms": duration_ms,
    }


def message_objects(messages: Sequence[OperationMessage]) -> list[MessageObject]:
    """Return the lines of an operation."""
    return [
        {
            "id": each.id,
            "created_at": with_z(each.at),
            "level": each.level,
            "kind": each.kind,
            "message": each.message,
            "fields": dict(each.fields),
        }
        for each in messages
    ]


def cleanup_object(cleanup: Cleanup) -> CleanupObject:
    """Return a cleanup that is not done."""
    return {
        "id": str(cleanup.id),
        "connection_id": cleanup.connection_id,
        "integration_id": cleanup.integration_id,
        "function": cleanup.function,
        "state": cleanup.state,
        "attempts": cleanup.attempts,
        "interruptions": cleanup.interruptions,
        "due_at": with_z_or_none(cleanup.due_at),
        "error_kind": cleanup.error_kind,
        "error_message": cleanup.error_message,
        "operation_id": cleanup.operation_id,
        "created_at": with_z(cleanup.created_at),
    }


def deployment_object(deployment: DeploymentRow) -> DeploymentObject:
    """Return a deployment."""
    return {
        "number": deployment.number,
        "state": deployment.state,
        "scope": dict(deployment.scope) if deployment.scope is not None else None,
        "summary": dict(deployment.summary),
        "created_at": with_z(deployment.created_at),
        "activated_at": with_z_or_none(deployment.activated_at),
    }


def report_object(report: DryRunReport) -> DryRunObject:
    """Return the report of a dry run."""
    shown: DryRunObject = {**asdict(report), "incomplete": report.outcome == "incomplete"}  # type: ignore[typeddict-item]
    return shown
