"""`python -m carrick.runner.inspect <descriptor> <folder> <dependencies or ""> <file>...`.

Imports the function files of a project one by one and tells on the descriptor what they hold, one
JSON object a line: `{"loading": file}` before each import, so that one that never ends can be
named; then `{"file", "line", "declaration"}` or what is wrong as `{"file", "line", "message",
"hint"}`; `{"done": true}` at the end.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from carrick.runner.bundle import (
    FUNCTION_FOLDERS,
    PACKAGE,
    LoadedBundle,
    function_name,
    functions_in,
)
from carrick.runner.confine import die_with_host
from carrick.runner.outcome import headline, inside, own_frames
from carrick.sdk import CarrickUsageError, EventFunction

Tell = Callable[[dict[str, Any]], None]


def inspect(bundle: LoadedBundle, files: Sequence[str], tell: Tell) -> None:
    """Import files in order and tell what was found."""
    told: list[dict[str, Any]] = []
    seen: dict[tuple[str, str], str] = {}

    def tell_once(entry: dict[str, Any]) -> None:
        if entry not in told:  # a broken module that many files import is one problem
            told.append(entry)
            tell(entry)

    for file in files:
        tell({"loading": file})
        key = _key(file)
        if key is None:
            hint = "Move it to <integration-id>/on_events/<name>.py."
            tell_once(_problem(file, None, "Event functions do not lie here.", hint))
        elif key in seen:
            hint = "Rename one of the files; - and _ in a file's name mean the same."
            message = f"{seen[key]} already holds a function named {key[1]}."
            tell_once(_problem(file, None, message, hint))
        else:
            seen[key] = file
            tell_once(_inspect_file(bundle, file))
    tell({"done": True})


def _key(file: str) -> tuple[str, str] | None:
    parts = file.split("/")
    if len(parts) != 3 or parts[1] not in FUNCTION_FOLDERS or not parts[2].endswith(".py"):
        return None
    return parts[0], function_name(parts[2])


def _problem(file: str, line: int | None, message: str, hint: str = "") -> dict[str, Any]:
    return {"file": file, "line": line, "message": message, "hint": hint}


def _inspect_file(bundle: LoadedBundle, file: str) -> dict[str, Any]:
    try:
        found = functions_in(bundle.load(file))
        if len(found) == 1:
            declaration = json.loads(json.dumps(asdict(found[0].declaration)))
            return {"file": file, "line": _line(found[0]), "declaration": declaration}
    except BaseException as error:  # an author's module may raise anything, SystemExit too
        return _import_problem(bundle, file, error)
    if not found:
        hint = "Decorate an async function with @create_on_event(event=..., description=...)."
        return _problem(file, 1, "There is no event function in this file.", hint)
    message = f"There are {len(found)} event functions in this file."
    hint = "One function per file: the file's name is the function's."
    return _problem(file, _line(found[1]), message, hint)


def _line(function: EventFunction[Any]) -> int | None:
    code = getattr(function.exec, "__code__", None)
    line: int | None = getattr(code, "co_firstlineno", None)
    return line


def _import_problem(bundle: LoadedBundle, file: str, error: BaseException) -> dict[str, Any]:
    place, line = file, None
    for frame_file, frame_line, _, _ in own_frames(error.__traceback__, bundle.root):
        place, line = frame_file, frame_line
    message = headline(error)
    if isinstance(error, SyntaxError):
        place, line = inside(error.filename, bundle.root) or place, error.lineno or line
        message = f"This is not valid Python: {error.msg}."
    elif isinstance(error, CarrickUsageError):
        message = str(error)
    return _problem(place, line, message, _hint(bundle, error))


def _hint(bundle: LoadedBundle, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        name = error.name.split(".")[0]
        if name == PACKAGE:
            return "Check the dots of the relative import: one is this folder, two the one above."
        if (bundle.root / name).is_dir() or (bundle.root / f"{name}.py").is_file():
            return "Import the project's own modules relatively, e.g. `from ...lib import names`."
        return f"Add {name} to the dependencies in the project's pyproject.toml."
    if isinstance(error, SystemExit):
        return "A function file must not end the process when it is imported."
    return ""


def main(arguments: Sequence[str]) -> None:
    """Inspect, then end at once whatever the imported code started."""
    descriptor, folder, dependencies, *files = arguments
    die_with_host(None)
    sys.argv = [""]
    bundle = LoadedBundle(Path(folder))
    bundle.install(Path(dependencies) if dependencies else None)

    def tell(entry: dict[str, Any]) -> None:
        line = json.dumps(entry).encode() + b"\n"
        while line:
            line = line[os.write(int(descriptor), line) :]

    inspect(bundle, files, tell)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
