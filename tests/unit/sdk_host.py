"""A host in memory for tests of the SDK: answers a context's calls and remembers them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from carrick.sdk import EventContext, Facts, HostError

FACTS = Facts(
    connection_id="customer-1",
    integration_id="salesforce",
    provider="salesforce",
    environment="dev",
    event="post-connection-creation",
    operation="creation",
    run_id="run-1",
    started_at="2026-01-05T09:00:00+00:00",
)

Answer = Callable[[dict[str, Any]], Any]


class MemoryHost:
    """Metadata, checkpoints and locks in memory; requests are answered from a list."""

    def __init__(self, metadata: dict[str, Any] | None = None) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.metadata = metadata or {}
        self.version = 1
        self.answers: list[dict[str, Any]] = []
        self.on: dict[str, Answer] = {}
        self.before_update: list[Callable[[], None]] = []
        self.checkpoint: Any = None

    def replies(self, *answers: dict[str, Any]) -> None:
        """Answer the next requests with these."""
        self.answers += answers

    def fails(self, method: str, code: str, message: str = "it failed") -> None:
        """Answer a method with an error."""

        def fail(_params: dict[str, Any]) -> Any:
            raise HostError(code, message)

        self.on[method] = fail

    def requests(self) -> list[dict[str, Any]]:
        """Return every request that was sent."""
        return [params for method, params in self.calls if method == "request"]

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """Answer one call."""
        self.calls.append((method, params))
        if method in self.on:
            return self.on[method](params)
        if method == "request":
            return self.answers.pop(0) if self.answers else answer({})
        if method == "get_metadata":
            return {"metadata": dict(self.metadata), "version": self.version}
        if method in ("set_metadata", "update_metadata"):
            return self._write(method, params)
        if method == "get_checkpoint":
            return self.checkpoint
        if method == "save_checkpoint":
            self.checkpoint = params["value"]
        return None

    def _write(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if self.before_update:
            self.before_update.pop(0)()
        if params["version"] != self.version:
            raise HostError("metadata_changed", "changed")
        self.version += 1
        if method == "set_metadata":
            self.metadata = params["metadata"]
        else:
            self.metadata = {**self.metadata, **params["changes"]}
        return {"metadata": self.metadata, "version": self.version}


def answer(
    data: Any = None,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    withheld: str | None = None,
) -> dict[str, Any]:
    """Return a request's answer as the host gives it; JSON unless `body` says otherwise."""
    if body is None:
        body = json.dumps(data).encode()
        headers = {"content-type": "application/json", **(headers or {})}
    return {"status": status, "headers": headers or {}, "body": body, "withheld": withheld}


def context(host: MemoryHost, facts: Facts = FACTS, **options: Any) -> EventContext[Any]:
    """Return a context that talks to this host."""
    return EventContext(host, facts, **options)
