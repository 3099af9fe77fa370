"""What a runner does to itself before any project code is loaded: limits, and nothing inherited."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
#: Address space beside the memory limit: the interpreter, its libraries, and thread stacks are
#: mapped but mostly not resident. The host watches what is resident.
_MAPPED_BESIDE = 512 * 1024 * 1024
_MAX_FILES = 256
_MAX_FILE_BYTES = 256 * 1024 * 1024
#: How a runner ends that ran out of memory.
EXIT_MEMORY = 83
#: How a runner ends whose host is gone.
EXIT_ORPHAN = 84


def die_with_host(parent: int | None) -> None:
    """Have the kernel kill this process when its host dies, however that happens.

    Args:
        parent: The host's process id; `None` where something stands between the two.
    """
    if sys.platform != "linux":
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # The host may have died before the line above: then nobody will send the signal.
    if parent is not None and os.getppid() != parent:
        os._exit(EXIT_ORPHAN)


def close_inherited(keep: int) -> None:
    """Close every file but the standard ones and one more."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    top = limit if limit != resource.RLIM_INFINITY else 1 << 20
    os.closerange(3, keep)
    os.closerange(keep + 1, top)


def set_limits(memory_bytes: int) -> None:
    """Bound what the process can take from the machine.

    There is no limit on processes here: the kernel counts them per user, so one that stops a fork
    bomb would also stop the threads of everything else this user runs. What a function starts dies
    with its runner's process group, and counts as the runner's memory.
    """
    _limit(resource.RLIMIT_AS, memory_bytes + _MAPPED_BESIDE)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _MAX_FILES)
    _limit(resource.RLIMIT_FSIZE, _MAX_FILE_BYTES)


def _limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    with contextlib.suppress(OSError, ValueError):  # a stricter limit of the machine stays
        resource.setrlimit(what, (value, value))
