"""Isolation of runners beyond the process: what stands before their command line.

With bubblewrap a runner sees the interpreter, its own project and nothing else of the machine's
files, has no network, and sees no other processes.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from carrick.errors import SettingsInvalid

_SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/etc/ld.so.cache", "/etc/ld.so.conf")
_PROBE_S = 5.0


@dataclass(frozen=True)
class Isolation:
    """How runners are isolated, and why."""

    #: Path of bubblewrap; `None` without it.
    bwrap: str | None
    #: A sentence for `carrick doctor`.
    report: str

    @property
    def is_direct(self) -> bool:
        """Whether a runner is the host's own child, with nothing in between."""
        return self.bwrap is None

    def prefix(self, readable: Sequence[Path]) -> list[str]:
        """Return what comes before a runner's command; `readable` are the folders it needs."""
        if self.bwrap is None:
            return []
        return [self.bwrap, *_arguments(readable), "--"]


NO_ISOLATION = Isolation(None, "Runners are plain processes: isolation is switched off.")


async def choose_isolation(setting: str) -> Isolation:
    """Return the isolation that the setting asks for and this machine can give.

    Raises:
        SettingsInvalid: The setting demands what the machine cannot give.
    """
    if setting == "none":
        return NO_ISOLATION
    if setting not in ("auto", "bubblewrap"):
        raise SettingsInvalid(
            f"isolation {setting!r} is not offered: use auto, bubblewrap or none."
        )
    bwrap = shutil.which("bwrap")
    fault = "it is not installed" if bwrap is None else await _probe(bwrap)
    if fault is None:
        return Isolation(bwrap, "Runners are isolated by bubblewrap: no network, no files.")
    if setting == "bubblewrap":
        raise SettingsInvalid(f"isolation is set to bubblewrap, but {fault}.")
    return Isolation(
        None, f"Runners are plain processes without secrets: bubblewrap cannot be used, {fault}."
    )


async def _probe(bwrap: str) -> str | None:
    """Return why bubblewrap does not work here, `None` if it does."""
    command = [bwrap, *_arguments([]), "--", sys.executable, "-S", "-c", "import socket"]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_PROBE_S):
            _, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return "it does not come back when tried"
    if process.returncode == 0:
        return None
    return f"it fails when tried ({said.decode(errors='replace').strip()[:200]})"


def _arguments(readable: Sequence[Path]) -> list[str]:
    import carrick

    package = Path(carrick.__file__).parent.parent
    own = (sys.prefix, sys.base_prefix, sys.exec_prefix, str(package))
    arguments = ["--die-with-parent", "--unshare-all", "--cap-drop", "ALL"]
    arguments += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]  # noqa: S108 - its own
    bound: list[str] = []
    for path in (*_SYSTEM, *own, *map(str, readable)):
        if path not in bound and Path(path).exists():
            bound.append(path)
            arguments += ["--ro-bind", path, path]
    return [*arguments, "--chdir", "/"]
