"""Measure how soon the others finish what a killed node had in hand.

    python -m bench.takeover                kills a node five times
    python -m bench.takeover --kills 20     more often

Two servers and a worker share a Postgres. One is given a setup, a cleanup, a refresh, a
notification and a validation, each of which the provider carries out and does not answer, and is
killed. Measured is, from the kill on, when each thing reaches the provider or the app again, and
when a reconnect is accepted by another node. Nothing here asserts a time.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import uvloop
from tests.integration.nodes import KINDS, Node, Worker, give_five_things, nodes, prepare

from bench.figures import row_of, table
from bench.processes import postgres_server
from carrick.testing.fake_provider import Account, FakeProvider

_WITHIN_S = 60.0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.takeover", description=__doc__)
    parser.add_argument("--kills", type=int, default=5)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="carrick-bench-") as name:
        directory = Path(name)
        with postgres_server(directory) as (url, _):
            uvloop.run(_measure(directory, url, options.kills))
    return 0


async def _measure(directory: Path, database_url: str, kills: int) -> None:
    took: defaultdict[str, list[float]] = defaultdict(list)
    async with (
        FakeProvider(
            honour_idempotency_keys=True, rotate_refresh_tokens=True, refresh_grace_s=600
        ) as provider,
        nodes(directory / "nodes", provider, database_url, Node, Node, Worker) as made,
    ):
        doomed, survivor, worker = made
        await asyncio.gather(doomed.start(), survivor.warm_up(), worker.warm_up())
        await prepare(doomed)
        for number in range(kills):
            prefix = f"{number}-"
            accounts = {kind: provider.add_account(prefix + kind) for kind in KINDS}
            in_hand = await give_five_things(doomed, accounts, prefix)
            await asyncio.gather(survivor.start(), worker.start())
            await doomed.kill()
            killed_at = time.monotonic()
            seen = len(provider.calls)
            reconnect = asyncio.create_task(_reconnected(survivor, accounts, prefix, killed_at))
            for kind, holds in _again(provider, prefix, seen).items():
                took[kind].append(await _until(provider, holds, killed_at))
            took["validation"].append(await reconnect)
            await asyncio.gather(*in_hand)
            await doomed.start()
            await asyncio.gather(survivor.terminate(), worker.terminate())
    names = {"validation": "until a reconnect is accepted (s)"}
    print(table([row_of(names.get(k, f"until {k} goes on (s)"), took[k]) for k in KINDS]))


def _again(provider: FakeProvider, prefix: str, seen: int) -> dict[str, Callable[[], float | None]]:
    """Return what finds out when each thing reached the provider once more."""

    def call(method: str, path: str, account: str | None) -> Callable[[], float | None]:
        def found() -> float | None:
            for one in provider.calls[seen:]:
                is_it = one.method == method and one.path.startswith(path)
                if is_it and (account is None or one.account == account):
                    return one.at.timestamp()
            return None

        return found

    def told() -> float | None:
        times = [
            one.at.timestamp()
            for one in provider.notifications
            if one.json().get("connectionId") == f"{prefix}notification"
        ]
        return times[1] if len(times) > 1 else None

    return {
        "setup": call("POST", "/webhooks", f"{prefix}setup"),
        "cleanup": call("DELETE", "/webhooks/", f"{prefix}cleanup"),
        "refresh": call("POST", "/oauth/token", None),
        "notification": told,
    }


async def _until(
    provider: FakeProvider, found: Callable[[], float | None], killed_at: float
) -> float:
    """Return the seconds between the kill and a thing that is found, now or later."""
    await provider.until(lambda: found() is not None, timeout_s=_WITHIN_S)
    at = found()
    assert at is not None
    return at - (time.time() - (time.monotonic() - killed_at))


async def _reconnected(
    node: Node, accounts: dict[str, Account], prefix: str, killed_at: float
) -> float:
    answer = await node.connect(accounts["validation"], f"{prefix}validation")
    assert answer.status == 201, answer.text
    return time.monotonic() - killed_at


if __name__ == "__main__":
    raise SystemExit(main())
