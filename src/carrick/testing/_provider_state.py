"""What the fake provider remembers: calls it received, webhooks it holds, notifications sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from carrick.model.clock import Chance, Clock
from carrick.testing._provider_accounts import Accounts
from carrick.testing._provider_apps import Apps
from carrick.testing._provider_aws import Aws
from carrick.testing._provider_faults import Faults
from carrick.testing._provider_mcp import Mcp
from carrick.testing._provider_oauth1 import OAuth1
from carrick.testing._provider_proofs import Proofs


@dataclass
class Call:
    """One call that reached the fake provider.

    `status` stays `None` when the caller got no answer. `replayed` says that the answer is the
    recorded one of an earlier call with the same idempotency key.
    """

    number: int
    at: datetime
    method: str
    path: str
    query: str
    account: str | None
    idempotency_key: str | None
    headers: Mapping[str, str] = field(repr=False)
    body: str = field(repr=False)
    status: int | None = None
    fault: str | None = None
    replayed: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the call as plain data; the time as ISO text."""
        return {**asdict(self), "at": self.at.isoformat()}


@dataclass(frozen=True)
class Webhook:
    """A webhook subscription held for one account."""

    id: str
    account: str
    url: str
    events: tuple[str, ...]
    created_at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return the subscription as the API shows it."""
        return {
            "id": self.id,
            "url": self.url,
            "events": list(self.events),
            "created_at": self.created_at.isoformat(),
        }


@dataclass(frozen=True)
class Notification:
    """What was posted to the app's own address, byte for byte."""

    at: datetime
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the parsed body.

        Raises:
            ValueError: The body is not JSON.
        """
        return json.loads(self.body)

    def to_json(self) -> dict[str, Any]:
        """Return the notification as plain data; the body as text."""
        return {
            "at": self.at.isoformat(),
            "headers": dict(self.headers),
            "body": self.body.decode("utf-8", errors="replace"),
        }


@dataclass(frozen=True)
class RecordedAnswer:
    """An answer kept under its idempotency key."""

    status: int
    body: bytes
    content_type: str


@dataclass
class ProviderState:
    """Everything the routes read and write; one object per fake provider."""

    clock: Clock
    chance: Chance
    accounts: Accounts
    client_id: str
    client_secret: str
    oauth1: OAuth1
    apps: Apps
    proofs: Proofs
    aws: Aws
    mcp: Mcp
    honour_idempotency_keys: bool = False
    faults: Faults = field(default_factory=Faults)
    calls: list[Call] = field(default_factory=list)
    webhooks: dict[str, Webhook] = field(default_factory=dict)
    notifications: list[Notification] = field(default_factory=list)
    answers: dict[tuple[str | None, str, str, str], RecordedAnswer] = field(default_factory=dict)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def announce(self) -> None:
        """Wake everything that waits for the provider to have received something."""
        async with self.changed:
            self.changed.notify_all()
