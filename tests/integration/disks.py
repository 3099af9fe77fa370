"""Disks of a test's own: so small that they can be filled, and filled by somebody else."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_PIECE = b"\0" * 4096


@dataclass(frozen=True)
class Disk:
    """A small disk."""

    path: Path

    def fill(self) -> None:
        """Leave no room at all."""
        with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:
                file.write(_PIECE)

    def leave(self, size: int) -> None:
        """Leave about that much room."""
        self.fill()
        os.truncate(self._ballast, max(0, self._ballast.stat().st_size - size))

    def make_room(self) -> None:
        """Take away what it was filled with."""
        self._ballast.unlink(missing_ok=True)

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"

    def use_up_names(self) -> None:
        """Leave no room for another file or folder, however small."""
        with contextlib.suppress(OSError):
            for number in itertools.count():
                (self.path / f"name-{number}").mkdir()

    def make_room_for_names(self) -> None:
        """Take those away."""
        for place in self.path.glob("name-*"):
            place.rmdir()


@contextlib.contextmanager
def small_disk(path: Path, size: str, *, files: int | None = None) -> Iterator[Disk]:
    """Have a directory on a disk of its own; skips where that is not permitted.

    Args:
        path: The directory.
        size: How much it holds, as `mount` takes it.
        files: How many files and folders it holds; `None` for as many as fit.
    """
    path.mkdir(parents=True, exist_ok=True)
    options = f"size={size}" + (f",nr_inodes={files}" if files is not None else "")
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk cannot be mounted here; it takes root")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "-l", str(path)], check=False)
