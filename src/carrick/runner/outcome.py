"""What a function's exception means for its run."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from carrick.runner.wire import MAX_PAYLOAD, Done
from carrick.sdk.errors import (
    ActionError,
    IncompleteDryRun,
    LockUnavailable,
    ProviderError,
    WriteOutcomeUnknown,
)
from carrick.sdk.plain import to_json, to_loose

#: Characters of a message and of a traceback that leave the runner.
MAX_MESSAGE = 4_000
MAX_DETAIL = 16_000
#: How many causes of an error are told.
_CAUSES = 4


def describe(run: int, error: BaseException | None, root: Path, *, dry_run: bool) -> Done:
    """Return what became of a run that ended with this error, or without one.

    Args:
        run: The run's number.
        error: What the function raised.
        root: The project's folder; only its own lines are shown in tracebacks.
        dry_run: Whether placeholders may have gone around.
    """
    if error is None:
        return Done(run, "succeeded")
    match told := _most_telling(error):
        case IncompleteDryRun():
            done = Done(run, "incomplete", message=_clip(str(told)))
        case WriteOutcomeUnknown():
            done = Done(run, "unknown_write", method=told.method, endpoint=told.endpoint)
        case ActionError():
            done = _refused(run, told)
        case ProviderError():
            done = _provider_failed(run, told, root)
        case LockUnavailable():
            # Nobody said no: like a silent provider, this is worth another try.
            done = Done(run, "provider_failed", message=_clip(str(told)))
        case TypeError() | ValueError() if dry_run and "Placeholder" in str(told):
            done = Done(run, "incomplete", message=_clip(headline(told)))
        case _:
            detail = _sendable(trace(error, root))
            done = Done(run, "defective", message=_clip(headline(told)), detail=detail)
    return done


def headline(error: BaseException) -> str:
    """Return an error as `Type: message`."""
    try:
        text = str(error)
    except Exception:  # an author's __str__ may do anything; the report must not fail for it
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def trace(error: BaseException, root: Path) -> str:
    """Return the traceback of an error and its causes: the project's own lines, nothing else."""
    parts: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(parts) < _CAUSES:
        lines = [
            f"  {place}:{line} in {name}" + (f"\n    {code}" if code else "")
            for place, line, name, code in own_frames(seen.__traceback__, root)
        ]
        parts.append("\n".join([*lines, headline(seen)]))
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "\n\ncaused by\n\n".join(parts)[:MAX_DETAIL]


def own_frames(tb: TracebackType | None, root: Path) -> Iterator[tuple[str, int, str, str | None]]:
    """Yield file, line, function and code of a traceback's frames inside the project."""
    for frame in traceback.extract_tb(tb):
        place = inside(frame.filename, root)
        if place is not None:
            yield place, frame.lineno or 0, frame.name, frame.line or None


def inside(file: str | None, root: Path) -> str | None:
    """Return a file's path inside the project, `None` for any other file."""
    if file is None:
        return None
    try:
        return Path(file).relative_to(root).as_posix()
    except ValueError:
        return None


def _most_telling(error: BaseException) -> BaseException:
    """Return the error that decides: of a group's, control signals, then the author's own no."""
    leaves = list(_leaves(error))
    kinds = (IncompleteDryRun, WriteOutcomeUnknown, ActionError, ProviderError)
    for kind in kinds:
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    return leaves[0] if len(leaves) == 1 else error


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def _refused(run: int, error: ActionError) -> Done:
    payload = to_json(to_loose(error.payload), "payload") if error.payload is not None else None
    if payload is not None and len(payload.encode()) > MAX_PAYLOAD:
        payload = None
    message = error.message
    if message is None and error.payload is not None and not isinstance(error.payload, dict | list):
        message = str(to_loose(error.payload))
    return Done(run, "action_refused", message=_clip(message) if message else None, payload=payload)


def _provider_failed(run: int, error: ProviderError, root: Path) -> Done:
    return Done(
        run,
        "provider_failed",
        message=_clip(error.message),
        detail=_sendable(trace(error, root)),
        status=error.status,
        retry_after_s=error.retry_after,
    )


def _clip(text: str) -> str:
    return _sendable(text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}…")


def _sendable(text: str) -> str:
    """Return text without lone surrogates, which no message can carry."""
    return text.encode("utf-8", errors="replace").decode()
