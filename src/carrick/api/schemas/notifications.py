"""Notifications to the app on the wire: what was sent, to whom, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict

from carrick.api.routing import Strict
from carrick.api.schemas.primitives import StringInt, Text255
from carrick.api.times import with_z, with_z_or_none
from carrick.notify import url_shown
from carrick.store.notifications import Attempt, StoredNotification

State = Literal["waiting", "delivered", "failed"]


def _list(value: Any) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


class NotificationsQuery(Strict):
    """Filters of `GET /notifications`; all that are given must hold."""

    state: Annotated[
        list[State],
        BeforeValidator(_list, json_schema_input_type=str),
        Field(description="`waiting`, `delivered`, `failed`; several separated by commas."),
    ] = Field(default_factory=list)
    kind: Annotated[list[Text255], BeforeValidator(_list, json_schema_input_type=str)] = Field(
        default_factory=list
    )
    integration_id: Text255 | None = None
    connection_id: Text255 | None = None
    limit: Annotated[StringInt, Field(ge=1, le=100)] = 50
    cursor: Text255 | None = None


class AttemptObject(TypedDict):
    """One attempt at delivery; `answer` is the beginning of what was answered."""

    number: int
    at: str
    duration_ms: int
    status: int | None
    error: str | None
    answer: str | None


class NotificationObject(TypedDict):
    """A notification to one address; the address is shown without its query and user."""

    id: str
    kind: str
    state: State
    url: str
    integration_id: str | None
    connection_id: str | None
    attempts: int
    next_attempt_at: str | None
    last_answer: dict[str, Any] | None
    created_at: str
    finished_at: str | None


class WholeNotificationObject(NotificationObject):
    """A notification with its body and every attempt."""

    body: dict[str, Any]
    history: list[AttemptObject]


class NotificationsAnswer(TypedDict):
    """A page of notifications, the newest first."""

    data: list[NotificationObject]
    next_cursor: str | None


class NotificationAnswer(TypedDict):
    """One notification."""

    data: WholeNotificationObject


def notification_object(notification: StoredNotification) -> NotificationObject:
    """Return a notification as lists show it."""
    is_waiting = notification.state == "waiting"
    return {
        "id": notification.id,
        "kind": notification.kind,
        "state": notification.state,  # type: ignore[typeddict-item]
        "url": url_shown(notification.url),
        "integration_id": notification.integration_id,
        "connection_id": notification.connection_id,
        "attempts": notification.attempt,
        "next_attempt_at": with_z(notification.due_at) if is_waiting else None,
        "last_answer": dict(notification.last_answer) if notification.last_answer else None,
        "created_at": with_z(notification.created_at),
        "finished_at": with_z_or_none(notification.finished_at),
    }


def whole_notification_object(
    notification: StoredNotification, attempts: Sequence[Attempt]
) -> WholeNotificationObject:
    """Return a notification with its body and every attempt."""
    return {
        **notification_object(notification),
        "body": json.loads(notification.body),
        "history": [
            {
                "number": each.number,
                "at": with_z(each.at),
                "duration_ms": each.duration_ms,
                "status": each.status,
                "error": each.error,
                "answer": each.answer,
            }
            for each in attempts
        ],
    }
