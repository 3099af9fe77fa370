"""Hold Carrick's own records against what the apps were told and what the provider received."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.clients import Known, Ledger
from tests.integration.server import INTEGRATION, ServerProcess

from carrick.testing.fake_provider import FakeProvider

_MOST_TOLD = 5


@dataclass
class Verdict:
    """What was found, a line each; empty lists are what is promised."""

    events: int = 0
    #: Writes that were sent again because their outcome was unknown, under the same key.
    resent: int = 0
    #: What failed or was parked because it was killed too often; a person had it run again.
    handed_over: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    orphaned: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    #: What the logs say about the connections named above, a line each.
    history: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether everything is as promised."""
        return not (self.lost or self.duplicated or self.orphaned or self.wrong)


async def settled(server: ServerProcess, ledger: Ledger, *, within_s: float) -> bool:
    """Come back when nothing is under way any more; `False` when that took too long."""
    gives_up_at = time.monotonic() + within_s
    while time.monotonic() < gives_up_at:
        waiting = [known for known in ledger.connections.values() if known.is_live]
        while waiting and (await _shown(server, waiting[-1])).get("setup") != "pending":
            waiting.pop()
        if not waiting and not await server.cleanups():
            return True
        await asyncio.sleep(0.5)
    return False


async def see_to_what_waits(server: ServerProcess, ledger: Ledger) -> list[str]:
    """Do a person's part, and return what was handed over to one because it was killed too often.

    Setups run again that failed, be it while their connection's credentials were refused; parked
    cleanups are retried. Each of them shows itself as failed or parked, and the app was told.
    """
    handed_over = []
    for operation in await server.operations(state="failed", type="events"):
        known = ledger.connections.get(operation["connection_id"])
        is_setup = operation["action"] == "post_connection_creation"
        if known is None or not known.is_live or not is_setup:
            continue
        if not known.was_refused:
            handed_over.append(f"{known.connection_id}: its setup failed")
        await server.call("POST", f"/operations/{operation['id']}/retry", {})
    handed_over += [
        f"{cleanup['connection_id']}: its cleanup {cleanup['error_message']}"
        for cleanup in await server.cleanups()
        if cleanup["state"] == "parked"
    ]
    await server.call("POST", "/cleanups/retry", {})
    return handed_over


async def reconcile(server: ServerProcess, provider: FakeProvider, ledger: Ledger) -> Verdict:
    """Compare."""
    verdict = Verdict(wrong=list(ledger.faults))
    held = Counter(_whose(one.url) for one in provider.webhooks)
    made = Counter(
        _whose(json.loads(call.body)["url"])
        for call in provider.calls_to("POST", "/webhooks")
        if call.status == 201 and not call.replayed
    )
    verdict.resent = sum(call.replayed for call in provider.calls)
    told = Counter(
        one.json().get("connectionId")
        for one in provider.notifications
        if one.json().get("operation") == "creation"
    )
    for known in ledger.connections.values():
        await _compare(server, known, held, verdict)
        if made[known.connection_id] > 1:
            verdict.duplicated.append(
                f"{known.connection_id}: {made[known.connection_id]} webhooks were made"
            )
        if not told[known.connection_id]:
            verdict.lost.append(f"{known.connection_id}: the app was not told of its creation")
    for parked in await server.cleanups():
        verdict.lost.append(f"{parked['connection_id']}: a cleanup is left: {parked}")
    for operation in await server.operations(state="running"):
        verdict.lost.append(f"{operation['connection_id']}: never ended: {operation}")
    verdict.history = await _history(server, provider, verdict)
    gone = sum(not known.is_live for known in ledger.connections.values())
    verdict.events = len(ledger.connections) + gone
    return verdict


async def _compare(
    server: ServerProcess, known: Known, held: Counter[str], verdict: Verdict
) -> None:
    name, hooks = known.connection_id, held[known.connection_id]
    shown = await _shown(server, known)
    if not known.is_live:
        if shown["status"] != 404:
            verdict.wrong.append(f"{name} was deleted and answers {shown['status']}")
        if hooks:
            verdict.orphaned.append(f"{name} was deleted and left {hooks} webhooks")
        return
    if shown["status"] != (424 if known.is_refused else 200):
        verdict.wrong.append(f"{name} answers {shown['status']}")
        return
    if shown["setup"] != "done" or hooks == 0:
        verdict.lost.append(f"{name}: setup {shown['setup']}, {hooks} webhooks")
    if hooks > 1:
        verdict.duplicated.append(f"{name} has {hooks} webhooks")
    if known.written and (shown["metadata"] or {}).get("written") != known.written:
        verdict.lost.append(f"{name}: metadata {shown['metadata']}, written {known.written}")
    if not known.is_refused and shown["credentials"]["apiKey"] != known.account.api_key:
        verdict.wrong.append(f"{name} holds somebody else's credentials")


async def _history(server: ServerProcess, provider: FakeProvider, verdict: Verdict) -> list[str]:
    """Tell what happened to the first few connections that are not as promised."""
    told = []
    lines = [*verdict.lost, *verdict.duplicated, *verdict.orphaned, *verdict.wrong]
    for name in [line.split()[0].rstrip(":") for line in lines][:_MOST_TOLD]:
        for operation in reversed(await server.operations(connection_id=name)):
            told.append(f"{name} {operation['type']}.{operation['action']} {operation['state']}")
            told += [f"  {one['created_at']} {one['message']}" for one in operation["messages"]]
        told += [
            f"  {call.at:%H:%M:%S.%f} {call.method} {call.path} {call.status} "
            f"fault={call.fault} replayed={call.replayed} key={call.idempotency_key}"
            for call in provider.calls
            if name in call.body
        ]
    return told


async def _shown(server: ServerProcess, known: Known) -> dict[str, Any]:
    path = f"/connections/{known.connection_id}?provider_config_key={INTEGRATION}"
    answer = await server.call("GET", path)
    body = answer.json
    # An auth error carries the connection in its payload.
    shown = body if answer.status == 200 else body["error"].get("payload", {}).get("connection", {})
    return {**shown, "status": answer.status}


def _whose(url: str) -> str:
    return url.rpartition("/")[2]
