"""Measure what an outage of one provider does to everybody else, and what happens when it ends.

    python -m bench.outage                     10,000 connections whose setups fail, on SQLite
    python -m bench.outage --connections 1000  fewer
    python -m bench.outage --postgres          on Postgres

A live connect with validation is timed before, during and after the outage, of other
accounts; the ratio of the medians is what it costs. Nothing here asserts a time.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import uvloop

from bench.figures import row_of, table
from bench.load import Load
from bench.processes import provider, server
from carrick.client import Client
from carrick.deployments import pack, read_project

_PROJECT = Path(__file__).parent / "project"
_EACH = 100


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.outage", description=__doc__)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the outage lasts")
    parser.add_argument("--postgres", action="store_true", help="measure on Postgres")
    uvloop.run(_measure(parser.parse_args(argv)))
    return 0


async def _measure(options: argparse.Namespace) -> None:
    async with (
        provider() as other,
        server(postgres=options.postgres) as one,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as http,
    ):
        load = Load(http, one, other)
        await load.integration("plain")
        await load.integration("whole")
        async with Client(one.url, one.secret_key) as client:
            await client.deploy(pack(read_project(_PROJECT)).content, None)
        await _live(load, 20)
        before = await _live(load, _EACH)
        await load.fail_setups(is_down=True)
        await load.create_many("whole", options.connections, 20)
        await load.forget_calls()
        began_at = time.monotonic()
        during = await _live(load, _EACH)
        await asyncio.sleep(max(0.0, options.seconds - (time.monotonic() - began_at)))
        late = await _live(load, _EACH)
        tried = await load.calls_of_setups()
        lasted_s = time.monotonic() - began_at
        await load.fail_setups(is_down=False)
        back_at = time.monotonic()
        after = await _live(load, _EACH)
        await load.until_webhooks(options.connections + 4 * _EACH)
        rows = [
            row_of("connect + validate before (ms)", before),
            row_of("connect + validate during the outage (ms)", during),
            row_of("connect + validate at the end of the outage (ms)", late),
            row_of("connect + validate while it is caught up (ms)", after),
        ]
        rows.append(row_of("during / before (medians)", [rows[1].median / rows[0].median]))
        rows.append(row_of("its end / before (medians)", [rows[2].median / rows[0].median]))
        rows.append(row_of("calls to the provider a second, outage", [tried / lasted_s]))
        rows.append(row_of("until all were set up (s)", [time.monotonic() - back_at]))
        print(table(rows))


async def _live(load: Load, n: int) -> list[float]:
    """Connect one account after another and return how long each took."""
    return [(await load.create("whole")).took_ms for _ in range(n)]


if __name__ == "__main__":
    raise SystemExit(main())
