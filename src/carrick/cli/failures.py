"""How a failure is told: one sentence, and what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from carrick.errors import CarrickError

_BY_CODE = {
    "unknown_account": "Is CARRICK_SECRET_KEY_<ENVIRONMENT> the key of this server's environment?",
    "invalid_secret_key_format": "An API key is a UUID; see `carrick keys show`.",
    "forbidden": "Use a key with that scope: an environment's default key has all of its own, and "
    "`carrick keys create`, on the server's machine, makes others.",
    "unknown_provider_config": "`carrick integrations list` shows the integrations there are.",
    "unknown_provider_template": "`carrick providers list` shows the providers there are.",
    "unknown_connection": "`carrick connections list` shows the connections there are.",
    "unknown_function": "`carrick deploy` deploys functions; names are the files' with hyphens.",
    "removal_not_confirmed": "Pass --allow-removals, or deploy a part with --integration.",
    "store_in_use": "Stop the other server, or give this one a --data-dir of its own.",
    "answer_lost": "Look whether it was done before you ask again.",
    "server_unreachable": "Start one with `carrick serve`, or name another in CARRICK_SERVER_URL.",
}


def report(error: CarrickError) -> None:
    """Print a failure on stderr."""
    first, *more = sentences(error)
    write(f"Error: {first}")
    for line in more:
        write(f"  {line}")
    for line in details(error):
        write(line)
    hint = _BY_CODE.get(_code(error))
    if hint is not None:
        write(f"Hint: {hint}")


def write(line: str) -> None:
    """Print a line on stderr."""
    print(line, file=sys.stderr)


def sentences(error: CarrickError) -> list[str]:
    """Return what went wrong: one line, or as many as there are faults."""
    return [" ".join(line.split()) for line in error.message.splitlines()] or [error.code]


def details(error: CarrickError) -> list[str]:
    """Return what the failure says beyond its sentence, a line each."""
    payload: Mapping[str, Any] = error.payload or {}
    lines = []
    for problem in payload.get("problems") or ():
        lines += problem_lines(problem)
    lines += [f"  {line}" for line in payload.get("output") or ()]
    for issue in error.issues or ():
        path = ".".join(str(part) for part in issue.get("path") or ())
        line = f"{path}: {issue.get('message')}" if path else str(issue.get("message"))
        if line not in error.message:
            lines.append(f"  {line}")
    return lines


def problem_lines(problem: Mapping[str, Any]) -> list[str]:
    """Return a project's problem as lines: where and what, then what to do."""
    file, line = problem.get("file") or ".", problem.get("line")
    place = f"{file}:{line}" if line is not None else file
    lines = [f"  {place}: {problem.get('message')}"]
    if problem.get("hint"):
        lines.append(f"      {problem['hint']}")
    return lines


def _code(error: CarrickError) -> str:
    return getattr(error, "answer_code", None) or error.code
