"""What function code prints, turned into log lines of the run that printed it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

#: Bytes that one run may print.
MAX_OUTPUT = 64 * 1024
#: Characters of one line.
MAX_LINE = 8 * 1024


class Printer(Protocol):
    """Whoever takes the output of a run."""

    def printed(self, level: str, data: bytes) -> None:
        """Take bytes as they were written; may be called from any thread."""


#: The run whose code is executing; code outside of a run prints to nobody.
printing: ContextVar[Printer | None] = ContextVar("printing", default=None)


class _CapturedStream(io.RawIOBase):
    name = "<run>"

    def __init__(self, level: str) -> None:
        self._level = level

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        taken = bytes(data)  # type: ignore[call-overload]
        printer = printing.get()
        if printer is not None:
            printer.printed(self._level, taken)
        return len(taken)


def capture() -> None:
    """Take over `sys.stdout` and `sys.stderr` of this process."""
    sys.stdout = _text_stream("info")
    sys.stderr = _text_stream("warning")


def _text_stream(level: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        _CapturedStream(level),
        encoding="utf-8",
        errors="backslashreplace",
        write_through=True,
    )


class Lines:
    """Cuts what one run prints into lines, up to a limit."""

    def __init__(self, emit: Callable[[str, str], None]) -> None:
        """Build it.

        Args:
            emit: Takes a level and a line.
        """
        self._emit = emit
        self._left = MAX_OUTPUT
        self._partial: dict[str, bytes] = {}

    def add(self, level: str, data: bytes) -> None:
        """Take some bytes and emit the lines that are complete."""
        if self._left <= 0:
            return
        kept = data[: self._left]
        self._left -= len(kept)
        *whole, rest = (self._partial.pop(level, b"") + kept).split(b"\n")
        for line in whole:
            self._say(level, line)
        if rest:
            self._partial[level] = rest
        if len(kept) < len(data) or self._left <= 0:
            self.flush()
            self._emit("warning", f"Output over {MAX_OUTPUT // 1024} KiB is dropped.")
            self._left = 0

    def flush(self) -> None:
        """Emit what has no line end yet."""
        partial, self._partial = self._partial, {}
        for level, rest in partial.items():
            self._say(level, rest)

    def _say(self, level: str, line: bytes) -> None:
        text = line.rstrip(b"\r").decode("utf-8", errors="replace")
        if text.strip():
            self._emit(level, text if len(text) <= MAX_LINE else f"{text[:MAX_LINE]}…")
