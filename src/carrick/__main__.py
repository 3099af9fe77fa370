"""The `carrick` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and end the process with its exit code."""
    from carrick.cli.app import run

    sys.exit(run())


if __name__ == "__main__":
    main()
