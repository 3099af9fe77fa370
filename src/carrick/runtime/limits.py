"""How much runners may take, and how much they have taken."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
#: Processes of one runner that are counted; a fork bomb must not keep the host busy counting.
_MAX_COUNTED = 256


@dataclass(frozen=True)
class RunnerLimits:
    """What runner processes get."""

    #: Memory of one runner and of what it starts, resident.
    memory_bytes: int = 512 * 1024 * 1024
    #: Runs that share one runner at a time.
    concurrency: int = 32
    #: Runners at a time for validation, and as many again for everything else.
    max_processes: int = 16
    #: Seconds without a run after which a runner that nobody asked to keep warm is ended.
    idle_s: float = 300.0
    #: Seconds a new runner has to report.
    start_s: float = 30.0
    #: Seconds a run that is told to stop has, while its runner shows signs of life.
    grace_s: float = 0.5


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants; 0 where it cannot be read."""
    return sum(_resident(one) for one in [pid, *descendants(pid)])


def descendants(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they started."""
    found: list[int] = []
    waiting = [pid]
    while waiting and len(found) < _MAX_COUNTED:
        one = waiting.pop()
        try:
            text = Path(f"/proc/{one}/task/{one}/children").read_text()
        except OSError:
            continue  # it has just ended
        children = [int(child) for child in text.split()]
        found += children
        waiting += children
    return found


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0
