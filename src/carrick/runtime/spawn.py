"""Starting a runner's process and ending it for certain."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass

from carrick.runner.confine import EXIT_MEMORY
from carrick.runner.wire import Channel, open_channel
from carrick.runtime.isolation import Isolation
from carrick.runtime.jobs import BundleDir
from carrick.runtime.limits import descendants

#: Bytes of a process's own last words that are kept, and characters of them that are told.
_KEPT_WORDS = 4096
_TOLD_WORDS = 500
#: Bubblewrap reports the signal that ended its child as an exit status, above this.
_BY_SIGNAL = 128

#: All that a runner finds in its environment. The hash seed is fixed so that a set is walked in the
#: same order on every attempt: bodies built from one are then found again in the journal.
ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "MALLOC_ARENA_MAX": "2",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONSAFEPATH": "1",
}


@dataclass(frozen=True)
class Exit:
    """How a process ended."""

    #: In words, and the last that it said itself.
    how: str
    said: str
    #: Whether SIGKILL ended it: somebody else's doing, or the system's for want of memory.
    is_kill: bool = False


@dataclass
class Child:
    """A runner's process and the host's end of its socket."""

    process: asyncio.subprocess.Process
    channel: Channel
    words: LastWords
    #: Whether it is the host's own child, with nothing in between.
    is_direct: bool

    @property
    def pid(self) -> int:
        """Its process id, which is its process group's too."""
        return self.process.pid

    def kill(self) -> None:
        """Kill it with everything it started."""
        strays = descendants(self.pid) if self.process.returncode is None else []
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        for pid in strays:  # those that left the process group
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        self.channel.close()

    async def wait(self) -> Exit:
        """Wait until it is gone and return how it ended."""
        code = await self.process.wait()
        self.kill()  # what it started may have outlived it
        said = self.words.close()
        if code == EXIT_MEMORY:
            return Exit("it ran out of memory", "")
        if code > _BY_SIGNAL and not self.is_direct:
            code = _BY_SIGNAL - code
        how = _signal_name(-code) if code < 0 else f"it exited with status {code}"
        return Exit(how, said, is_kill=code == -signal.SIGKILL)


class LastWords:
    """The end of what a process writes to its standard error, below everything it prints."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        os.set_blocking(self._reading, False)
        self._kept = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reading, self._read)

    def close_writing(self) -> None:
        """Let go of the end that the process writes to."""
        os.close(self.writing)

    def forget(self) -> None:
        """Forget what was said so far: it was somebody else's."""
        if self._reading >= 0:
            self._read()
        self._kept = b""

    def close(self) -> str:
        """Stop listening and return the last words."""
        if self._reading >= 0:
            self._read()
        self._stop_listening()
        return " ".join(self._kept.decode(errors="replace").split())[-_TOLD_WORDS:]

    def _read(self) -> None:
        try:
            data = os.read(self._reading, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._stop_listening()
        self._kept = (self._kept + data)[-_KEPT_WORDS:]

    def _stop_listening(self) -> None:
        if self._reading >= 0:
            self._loop.remove_reader(self._reading)
            os.close(self._reading)
            self._reading = -1


async def spawn(
    bundle: BundleDir | None,
    memory_bytes: int,
    isolation: Isolation,
    on_frame: Callable[[bytes], None],
    on_end: Callable[[str | None], None],
) -> Child:
    """Start a runner's process for a bundle; without one, to see whether it can be done.

    It must not be cancelled: there may be a process that nobody knows of yet.

    Raises:
        OSError: It could not be started.
    """
    ours, theirs = socket.socketpair()
    try:
        words = LastWords()
    except BaseException:  # no descriptors left, for one
        ours.close()
        theirs.close()
        raise
    try:
        process = await asyncio.create_subprocess_exec(
            *_command(theirs.fileno(), bundle, memory_bytes, isolation),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=words.writing,
            pass_fds=(theirs.fileno(),),
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        words.close()
        raise
    finally:
        theirs.close()
        words.close_writing()
    channel = await open_channel(ours, on_frame, on_end)
    return Child(process, channel, words, isolation.is_direct)


def _command(
    descriptor: int, bundle: BundleDir | None, memory_bytes: int, isolation: Isolation
) -> list[str]:
    path = bundle.path.resolve() if bundle is not None else None
    dependencies = bundle.dependencies if bundle is not None else None
    dependencies = dependencies.resolve() if dependencies is not None else None
    given = {
        "fd": descriptor,
        "parent": os.getpid() if isolation.is_direct else None,
        "memory_bytes": memory_bytes,
        "bundle": str(path) if path is not None else None,
        "dependencies": str(dependencies) if dependencies is not None else None,
    }
    return [
        *isolation.prefix([one for one in (path, dependencies) if one is not None]),
        *(sys.executable, "-P", "-B", "-X", "utf8", "-m", "carrick.runner"),
        json.dumps(given),
    ]


def _signal_name(number: int) -> str:
    try:
        return f"it was killed by {signal.Signals(number).name}"
    except ValueError:
        return f"it was killed by signal {number}"
