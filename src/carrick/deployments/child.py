"""The process in which a project's code is imported to see what it declares.

The child is `python -m carrick.runner.inspect` with an empty environment; that module says how it
is called and what it writes. What it writes is not trusted: it runs the project's code.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from carrick.deployments.problem import Problem
from carrick.model.event import Declaration
from carrick.store.deployments import declaration_from_json

#: Most bytes a child may say about itself, and most of its output that is shown.
_MAX_REPORT = 8 * 1024 * 1024
_MAX_OUTPUT = 64 * 1024
_OUTPUT_SHOWN = 400
#: Address space beside the limit: the interpreter and its libraries are mapped, not resident.
_MAPPED_BESIDE = 512 * 1024 * 1024


#: What comes before the command of a process that may read only these folders.
Isolate = Callable[[Sequence[Path]], Sequence[str]]


@dataclass
class ChildReport:
    """What importing a project showed."""

    declarations: dict[str, Declaration] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


async def import_in_child(
    directory: Path,
    dependencies: Path | None,
    files: Sequence[str],
    *,
    working_directory: Path,
    timeout_s: float,
    memory_bytes: int,
    isolate: Isolate | None = None,
) -> ChildReport:
    """Import a project's function files in a process of their own, in this order."""
    reading, writing = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *_command(
                writing,
                directory,
                dependencies,
                files,
                memory_bytes=memory_bytes,
                isolate=isolate,
            ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=[writing],
            cwd=working_directory,
            env={},
            start_new_session=True,
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    lines, output, timed_out = await _collect(process, reading, timeout_s)
    return _conclude(
        files, lines, output, process.returncode or 0, timeout_s if timed_out else None
    )


def _command(
    descriptor: int,
    directory: Path,
    dependencies: Path | None,
    files: Sequence[str],
    *,
    memory_bytes: int,
    isolate: Isolate | None,
) -> list[str]:
    readable = [directory, *([dependencies] if dependencies is not None else [])]
    # The shell sets the limit before anything else runs: a limit set from here could come too late,
    # and one set between fork and exec could hang a server that has threads.
    limit = str((memory_bytes + _MAPPED_BESIDE) // 1024)
    return [
        *("/bin/sh", "-c", 'ulimit -v "$0" 2>/dev/null; exec "$@"', limit),
        *(isolate(readable) if isolate is not None else ()),
        *(sys.executable, "-P", "-B", "-X", "utf8", "-m", "carrick.runner.inspect"),
        *(str(descriptor), str(directory), str(dependencies or ""), *files),
    ]


async def _collect(
    process: asyncio.subprocess.Process, reading: int, timeout_s: float
) -> tuple[bytes, bytes, bool]:
    assert process.stdout is not None
    report = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(report), os.fdopen(reading, "rb", buffering=0)
    )
    lines, output = bytearray(), bytearray()
    timed_out = False
    readers = asyncio.gather(
        _read(report, lines, _MAX_REPORT), _read(process.stdout, output, _MAX_OUTPUT)
    )
    try:
        async with asyncio.timeout(timeout_s):
            await process.wait()
            # What it left running may hold the pipes open: its session ends with it.
            _kill_session(process.pid)
            await readers
    except TimeoutError:
        timed_out = True
    finally:
        _kill_session(process.pid)
        readers.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await readers
        await process.wait()
        transport.close()
    return bytes(lines), bytes(output), timed_out


async def _read(stream: asyncio.StreamReader, into: bytearray, limit: int) -> None:
    """Take up to `limit` bytes; the rest is read too, so that the child never waits for us."""
    while chunk := await stream.read(65536):
        into += chunk[: limit - len(into)]


def _kill_session(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, 9)


# --- what it said ---------------------------------------------------------------------------


def _conclude(
    files: Sequence[str], lines: bytes, output: bytes, exit_code: int, timed_out_s: float | None
) -> ChildReport:
    report = ChildReport()
    loading, is_done = "", False
    for entry in _entries(lines):
        if entry.get("done"):
            is_done = True
        elif "loading" in entry:
            loading = str(entry["loading"])
        else:
            _take(entry, files, report)
    if not is_done:
        report.problems.append(_ended_early(loading, output, exit_code, timed_out_s))
    elif not report.problems:
        report.problems += [
            Problem(file, None, "The file was imported, but nothing was said about it.")
            for file in files
            if file not in report.declarations
        ]
    return report


def _entries(lines: bytes) -> Iterator[dict[str, Any]]:
    for line in lines.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                yield entry


def _take(entry: dict[str, Any], files: Sequence[str], report: ChildReport) -> None:
    file = str(entry.get("file") or "")
    if "declaration" not in entry:
        report.problems.append(Problem.from_json(entry))
        return
    if file in files:
        try:
            report.declarations[file] = declaration_from_json(entry["declaration"])
        except (KeyError, TypeError, ValueError, AttributeError):
            report.problems.append(Problem(file, None, "The declaration cannot be read."))


def _ended_early(file: str, output: bytes, exit_code: int, timed_out_s: float | None) -> Problem:
    said = output.decode(errors="replace").strip()[-_OUTPUT_SHOWN:]
    hint = f"It printed: {said}" if said else ""
    if timed_out_s is not None:
        return Problem(
            file,
            None,
            f"Importing this file did not end within {timed_out_s:g} s.",
            "Do work inside the function; a module's top level only defines things.",
        )
    if exit_code < 0:
        message = f"The process was killed (signal {-exit_code}) while this file was imported."
        return Problem(file, None, message, hint or "It may have used too much memory.")
    message = f"Importing this file ended the process (exit code {exit_code})."
    return Problem(file, None, message, hint or "A function file must not call exit.")
