"""Projects on disk and hosts in memory for tests that start real runner processes."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from carrick.model.clock import Clock
from carrick.runtime.pool import BundleDir, Job, Lane, RunnerLimits, RunnerPool
from carrick.sdk import Facts

HEAD = """
from __future__ import annotations
import asyncio, os, sys, time
from carrick import ActionError, EventContext, ProviderError, create_on_event
"""
DECORATOR = '@create_on_event(event="post-connection-creation", description="Test")'


def write_function(root: Path, place: str, body: str, *, head: str = "") -> None:
    """Write a function file; `body` is what stands in the function."""
    lines = textwrap.indent(textwrap.dedent(body).strip() or "pass", "    ")
    signature = "async def f(ctx: EventContext) -> None:"
    source = [HEAD, textwrap.dedent(head), DECORATOR, signature, lines, ""]
    write_file(root, place, "\n".join(source))


def write_file(root: Path, place: str, source: str) -> None:
    """Write any file of a project."""
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)


@dataclass
class RecordingHost:
    """Answers every call of a run and remembers it; single methods can be taken over."""

    on: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """Answer one call."""
        self.calls.append((method, params))
        if method in self.on:
            return await self.on[method](params)
        if method == "request":
            return {"status": 200, "headers": {}, "body": b'{"ok":true}', "withheld": None}
        if method == "get_metadata":
            return {"metadata": {}, "version": 1}
        return None

    @property
    def lines(self) -> list[str]:
        """What the run logged or printed."""
        return [params["message"] for method, params in self.calls if method == "log"]

    @property
    def requests(self) -> list[str]:
        """The endpoints the run called."""
        return [params["endpoint"] for method, params in self.calls if method == "request"]


@dataclass
class Gate:
    """A call that is answered only when the test says so."""

    arrived: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, _params: dict[str, Any]) -> Any:
        self.arrived.release()
        await self.opened.wait()
        return {"status": 200, "headers": {}, "body": b"", "withheld": None}


def job(
    function: str,
    *,
    integration_id: str = "acme",
    lane: Lane = "lifecycle",
    timeout_s: float = 20.0,
    alone: bool = False,
    dry_run: bool = False,
) -> Job:
    """Return an attempt of a function of the test's project."""
    facts = Facts(
        connection_id="customer-1",
        integration_id=integration_id,
        provider="acme",
        environment="dev",
        event="post-connection-creation",
        operation="creation",
        run_id="run-1",
        started_at="2026-01-05T09:00:00+00:00",
        dry_run=dry_run,
    )
    return Job("bundle-1", lane, integration_id, function, facts, timeout_s, alone)


def make_pool(
    root: Path,
    clock: Clock,
    *,
    dependencies: Path | None = None,
    isolation: str = "none",
    **limits: Any,
) -> RunnerPool:
    """Return a pool whose one bundle lies in a folder."""

    async def materialise(_bundle_id: str) -> BundleDir:
        return BundleDir(root, dependencies)

    return RunnerPool(RunnerLimits(**limits), clock, materialise, isolation=isolation)
