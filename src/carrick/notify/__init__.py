"""Signed messages to the developer's app: written with what they tell of, delivered after it."""

from carrick.notify.answer import url_shown
from carrick.notify.body import stable_json
from carrick.notify.builders import (
    ConnectionFacts,
    Fault,
    cleanup_parked,
    connection_created,
    connection_deleted,
    connection_overridden,
    creation_failed,
    facts_of,
    refresh_failed,
    setup_failed,
)
from carrick.notify.deliveries import Deliveries
from carrick.notify.notification import Notification, addresses
from carrick.notify.notifier import Notifier, Send
from carrick.notify.signature import signature_headers

__all__ = [
    "ConnectionFacts",
    "Deliveries",
    "Fault",
    "Notification",
    "Notifier",
    "Send",
    "addresses",
    "cleanup_parked",
    "connection_created",
    "connection_deleted",
    "connection_overridden",
    "creation_failed",
    "facts_of",
    "refresh_failed",
    "setup_failed",
    "signature_headers",
    "stable_json",
    "url_shown",
]
