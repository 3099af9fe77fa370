"""One run: load from several apps while processes are killed, then the reckoning."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.clients import App, Ledger
from tests.chaos.nodes import Nodes, plan
from tests.chaos.reconcile import Verdict, reconcile, see_to_what_waits, settled
from tests.lifecycle.house import VALIDATE

from carrick.testing.fake_provider import FakeProvider

_TOLD_EVERY = 500

SETUP = """
@create_on_event(event="post-connection-creation", description="Register a webhook", waits=[0.2])
async def function(ctx: EventContext) -> None:
    hook = await ctx.post("/webhooks", data={"url": "https://app.example/" + ctx.connection_id})
    await ctx.get("/api/me")
    await ctx.update_metadata(webhook_id=hook.data["id"])
"""

#: Careful, as the documentation asks: a setup may have been cut short by the deletion.
CLEANUP = """
@create_on_event(event="pre-connection-deletion", description="Remove the webhook", waits=[0.2])
async def function(ctx: EventContext) -> None:
    known = {(await ctx.get_metadata()).get("webhook_id")}
    known |= {effect.data["id"] for effect in ctx.effects if effect.state == "succeeded"}
    if any(effect.state == "unknown" for effect in ctx.effects):
        mine = "https://app.example/" + ctx.connection_id
        hooks = (await ctx.get("/webhooks")).data["webhooks"]
        known |= {hook["id"] for hook in hooks if hook["url"] == mine}
    for hook in sorted(known - {None}):
        try:
            await ctx.delete("/webhooks/" + hook)
        except ProviderError as error:
            if error.response is None or error.response.status != 404:
                raise
"""


@dataclass(frozen=True)
class Storm:
    """How hard it blows."""

    #: How long it blows, or until how many kills.
    seconds: float = 0.0
    kills: int = 0
    apps: int = 8
    servers: int = 2
    workers: int = 1
    #: Seconds between kills, and how many of them hit a node instead of a runner.
    pause_s: float = 0.4
    of_nodes: float = 0.15
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    kills_of_runners: int
    kills_of_nodes: int
    acts: dict[str, int]
    verdict: Verdict


async def run(directory: Path, database_url: str | None, storm: Storm) -> Outcome:
    """Blow."""
    chance = random.Random(storm.seed)
    ledger = Ledger()
    async with FakeProvider(honour_idempotency_keys=True) as provider:
        nodes = plan(
            directory, provider, database_url, servers=storm.servers, workers=storm.workers
        )
        try:
            await nodes.start()
            await nodes.servers[0].integrate()
            functions = {"check": VALIDATE, "register": SETUP, "clean-up": CLEANUP}
            deployed = await nodes.servers[0].deploy(functions)
            assert deployed.status == 200, deployed.text
            await _blow(nodes, provider, ledger, storm, chance)
            server = nodes.servers[0]
            await settled(server, ledger, within_s=90)
            handed_over = await see_to_what_waits(server, ledger)
            await settled(server, ledger, within_s=90)
            verdict = await reconcile(server, provider, ledger)
            verdict.handed_over = handed_over
        finally:
            await nodes.close()
    return Outcome(nodes.kills_of_runners, nodes.kills_of_nodes, dict(ledger.answers), verdict)


async def _blow(
    nodes: Nodes, provider: FakeProvider, ledger: Ledger, storm: Storm, chance: random.Random
) -> None:
    apps = [
        App(f"app-{number}", nodes, provider, ledger, random.Random(f"{storm.seed}:{number}"))
        for number in range(storm.apps)
    ]
    working = [asyncio.create_task(app.run()) for app in apps]
    await _kill(nodes, provider, storm, chance)
    for app in apps:
        app.is_told_to_stop = True
    provider.recover()
    await nodes.all_up()
    await asyncio.gather(*working)
    await asyncio.gather(*(app.heal() for app in apps))


async def _kill(nodes: Nodes, provider: FakeProvider, storm: Storm, chance: random.Random) -> None:
    ends_at, told = time.monotonic() + storm.seconds, 0
    while time.monotonic() < ends_at or nodes.kills < storm.kills:
        await asyncio.sleep(storm.pause_s * chance.uniform(0.5, 1.5))
        if chance.random() < storm.of_nodes:
            await nodes.kill_a_node(chance)
        else:
            nodes.kill_a_runner(chance)
        if nodes.kills >= told + _TOLD_EVERY:
            told = nodes.kills
            print(f"{told} kills", file=sys.stderr, flush=True)
        if chance.random() < 0.2:  # the provider has its moments too
            lost = chance.random() < 0.5
            kind = "close" if lost else "status"
            provider.fail(kind, path="/webhooks*", times=1, status=503, after=lost)
