"""A notification before it is stored, and the addresses it goes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from carrick.environments import setting_for
from carrick.model.environment import Environment


@dataclass(frozen=True)
class Notification:
    """Something the developer's app is told."""

    environment: Environment
    kind: str
    body: Mapping[str, Any] = field(repr=False)
    connection_row_id: int | None = None
    #: The connection's own address, which stands in for all others.
    webhook_url_override: str | None = None
    #: The environment setting that turns this kind on or off; `None`: it cannot be turned off.
    gate: str | None = None
    on_by_default: bool = True


def addresses(notification: Notification, webhook_urls: Mapping[str, str]) -> tuple[str, ...]:
    """Return where a notification goes; nowhere, when it is turned off or nobody asked for it.

    Args:
        notification: What is to be told.
        webhook_urls: Addresses from the server's settings, by environment name.
    """
    environment = notification.environment
    if notification.gate is not None:
        is_on = environment.settings.get(notification.gate)
        if not (notification.on_by_default if is_on is None else is_on):
            return ()
    if notification.webhook_url_override:
        return (notification.webhook_url_override,)
    given = setting_for(webhook_urls, environment.name)
    if given:
        return (given,)
    urls = (environment.settings.get("primary_url"), environment.settings.get("secondary_url"))
    return tuple(dict.fromkeys(url for url in urls if url))
