"""Measure a real server over HTTP and print the figures beside Nango's.

    python -m bench                  SQLite
    python -m bench --postgres       a Postgres server from a package
    python -m bench --json FILE      the figures as JSON as well

Times are milliseconds unless a row says otherwise. Nothing here asserts a time: machines differ.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import uvloop

from bench.figures import Row, row_of, table
from bench.load import Load
from bench.processes import Provider, Server, provider, server
from carrick.client import Client
from carrick.deployments import pack, read_project

_PROJECT = Path(__file__).parent / "project"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--postgres", action="store_true", help="measure on Postgres")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("-n", type=int, default=40, help="how often each single call is made")
    parser.add_argument("--only", choices=("proxy", "connect"), help="measure one path alone")
    options = parser.parse_args(argv)
    rows = uvloop.run(_measure(options))
    print(table(rows))
    if options.json is not None:
        facts = {
            "store": "postgres" if options.postgres else "sqlite",
            "rows": [row.to_json() for row in rows],
        }
        options.json.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    return 0


async def _measure(options: argparse.Namespace) -> list[Row]:
    async with (
        provider() as other,
        server(postgres=options.postgres) as one,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as http,
    ):
        load = Load(http, one, other)
        await _prepare(load, one)
        rows = [row_of("start to healthy (s)", [one.healthy_after_s])]
        await asyncio.sleep(2)
        rows.append(row_of("memory idle (MB, PSS)", [one.memory_mb()]))
        if options.only != "proxy":
            rows += await _connects(load, one, options.n)
        if options.only != "connect":
            rows += await _proxied(load, one, other, options.n)
        rows.append(row_of("memory just after load (MB, PSS)", [one.memory_mb()]))
        if options.postgres:
            rows.append(row_of("Postgres's own memory (MB, PSS)", [one.database_memory_mb()]))
        return rows


async def _prepare(load: Load, one: Server) -> None:
    """Make the integrations, deploy, and warm everything up."""
    await load.integration("plain")
    await load.integration("whole")
    async with Client(one.url, one.secret_key) as client:
        await client.deploy(pack(read_project(_PROJECT)).content, None)
    for _ in range(10):
        await load.delete("plain", (await load.create("plain")).connection_id)
        made = await load.create("whole")
        await load.until_set_up(made.connection_id)
        await load.delete("whole", made.connection_id)
    for _ in range(10):
        token, _ = await load.session("whole")
        made = await load.connect("whole", token)
        await load.until_set_up(made.connection_id)
        await load.delete("whole", made.connection_id)


async def _connects(load: Load, one: Server, n: int) -> list[Row]:
    rows: list[Row] = []
    plain = [await load.create("plain") for _ in range(n)]
    rows.append(row_of("create, no functions, import", [made.took_ms for made in plain]))
    tokens = [await load.session("plain") for _ in range(n)]
    from_form = [await load.connect("plain", token) for token, _ in tokens]
    rows.append(row_of("create, no functions, api-auth", [made.took_ms for made in from_form]))
    rows.append(row_of("POST /connect/sessions", [took_ms for _, took_ms in tokens]))
    made_whole: list[str] = []
    for entrance in ("import", "api-auth"):
        tokens = [await load.session("whole") for _ in range(n)] if entrance != "import" else []
        await load.forget_calls()
        whole = []
        for number in range(n):
            whole.append(
                await load.connect("whole", tokens[number][0])
                if tokens
                else await load.create("whole")
            )
            await load.until_set_up(whole[-1].connection_id)
        reached = await load.setups_at()
        lags = [(reached[made.connection_id] - made.answered_at) * 1000 for made in whole]
        name = "answer → post-creation's call reaches the provider"
        rows.append(row_of(f"create + validate, {entrance}", [made.took_ms for made in whole]))
        rows.append(row_of(f"{name}, {entrance}", lags))
        made_whole += [made.connection_id for made in whole]
    took = [await load.delete("plain", made.connection_id) for made in plain]
    rows.append(row_of("delete, no functions", took))
    took = [await load.delete("whole", connection_id) for connection_id in made_whole[:n]]
    rows.append(row_of("delete + cleanup function", took))
    return rows + await _many_connects(load, one)


async def _many_connects(load: Load, one: Server) -> list[Row]:
    set_up, answered, alone, cpu = [], [], [], []
    for _ in range(3):
        await load.forget_calls()
        cpu_s, began_at = one.cpu_s(), time.time()
        await load.create_many("whole", 200, 20)
        answered.append(200 / (time.time() - began_at))
        reached = await load.until_setups(200)
        set_up.append(200 / (max(reached.values()) - began_at))
        await asyncio.sleep(0.5)
        cpu.append((one.cpu_s() - cpu_s) / 200 * 1000)
        began_at = time.time()
        await load.create_many("plain", 200, 20)
        alone.append(200 / (time.time() - began_at))
    name = "200 connects, concurrency 20"
    return [
        row_of(f"{name}, validate + post-creation: connects/s", set_up, more_is_better=True),
        row_of("the same, until answered: connects/s", answered, more_is_better=True),
        row_of(f"{name}, no functions: connects/s", alone, more_is_better=True),
        row_of("CPU per connect with both functions (ms)", cpu),
    ]


async def _proxied(load: Load, one: Server, other: Provider, n: int) -> list[Row]:
    made = await load.create("plain", base_url=other.plain_url)
    through, direct = load.proxied(made.connection_id), load.direct()
    for call in (direct, through):
        await load.each(call, 100)
    rows = [
        row_of("direct GET to the provider", await load.each(direct, 5 * n)),
        row_of("GET through the proxy", await load.each(through, 5 * n)),
    ]
    added = rows[1].median - rows[0].median
    rows.append(row_of("added by the proxy (difference of the medians)", [added]))
    rates, direct_rates, cpu = [], [], []
    for _ in range(3):
        cpu_s = one.cpu_s()
        rates.append(await load.rate(through, 3000, 32))
        cpu.append((one.cpu_s() - cpu_s) / 3000 * 1000)
        direct_rates.append(await load.rate(direct, 3000, 32))
    return [
        *rows,
        row_of("proxy, concurrency 32: requests/s", rates, more_is_better=True),
        row_of("the same without the proxy: requests/s", direct_rates, more_is_better=True),
        row_of("CPU per proxied request (ms)", cpu),
    ]
