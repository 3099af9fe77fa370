"""A server that is stopped at a fault point: `python -m carrick.testing.serve --kill-at NAME[:N]`.

It reads the settings that `carrick serve` reads and serves as that does. That it can be told to
kill itself is the whole difference, and only its own command line can say so.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from carrick.app import serve, work
from carrick.errors import CarrickError
from carrick.model.faults import Faults, Point
from carrick.settings import read_settings
from carrick.testing.faults import PlannedFaults, WatchedFaults, kill_process, read_plan


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop, or until the planned point is reached; return the exit code."""
    given = _parser().parse_args(arguments)
    if given.list:
        print("\n".join(Point))  # noqa: T201 - the answer to what was asked
        return 0
    try:
        begin = work if given.worker else serve
        begin(read_settings(), migrate_first=given.migrate, faults=_faults(given))
    except CarrickError as error:
        print(f"error: {error.message}", file=sys.stderr)  # noqa: T201 - nobody else would say it
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m carrick.testing.serve",
        description="A server that is killed at a fault point.",
    )
    parser.add_argument("--kill-at", type=_plan, metavar="NAME[:N]", help="at the N-th passing")
    parser.add_argument("--follow", type=Path, metavar="DIRECTORY", help="see WatchedFaults")
    parser.add_argument("--migrate", action="store_true", help="as of `carrick serve`")
    parser.add_argument("--worker", action="store_true", help="as `carrick worker` does")
    parser.add_argument("--list", action="store_true", help="print all points and end")
    return parser


def _plan(text: str) -> tuple[Point, int]:
    try:
        return read_plan(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _faults(given: argparse.Namespace) -> Faults:
    if given.follow is not None:
        return WatchedFaults(given.follow)
    faults = PlannedFaults()
    if given.kill_at is not None:
        point, passing = given.kill_at
        faults.plan(point, kill_process, passing=passing)
    return faults


if __name__ == "__main__":
    sys.exit(main())
