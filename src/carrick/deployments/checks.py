"""What can be said about a project without running it.

Every finding names the file, the line and what to do. What only running can tell (an import that
fails, a declaration that is computed) is found by the inspection that follows in a child process.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections import Counter

from carrick.deployments.awaiting import check_awaits
from carrick.deployments.problem import Problem, sort_key
from carrick.deployments.project import Project
from carrick.deployments.selection import FunctionFile, Selection, find_function_files, select
from carrick.deployments.sources import Sources
from carrick.model.event import Event

_NAME = re.compile(r"^[a-zA-Z0-9_-]{1,255}$")
_INTEGRATION_ID = re.compile(r"^[a-zA-Z0-9~:.@ _-]{1,255}$")
_EVENTS = [event.value for event in Event]
_EXAMPLE = '@create_on_event(event="validate-connection", description="...")'

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def check(project: Project) -> list[Problem]:
    """Return everything that is wrong with a project as far as reading it can tell."""
    return check_selected(project, Sources(project))[1]


def check_selected(project: Project, sources: Sources) -> tuple[Selection, list[Problem]]:
    """Return what is deployed of a project together with what is wrong with it."""
    selection = select(project, sources)
    problems = [*project.problems, *selection.problems]
    if not find_function_files(project):
        problems.append(_empty())
    deployed = {file.path for file in selection.files}
    for file in selection.files:
        problems += _check_names(file)
    problems += _duplicates(selection)
    for path in project.python_files:
        if path in selection.left_out:
            continue
        problems += _check_file(path, sources, is_deployed=path in deployed)
    return selection, sorted(set(problems), key=sort_key)


def _check_file(path: str, sources: Sources, *, is_deployed: bool) -> list[Problem]:
    tree = sources.tree(path)
    if tree is None:
        fault = sources.fault(path)
        return [fault] if fault is not None else []
    try:
        decorated = find_decorated(tree)
        problems = check_awaits(path, tree, {id(node) for node, _ in decorated})
        if is_deployed:
            problems += _check_functions(path, tree, decorated)
        elif decorated:
            problems.append(_misplaced(path, decorated[0][0]))
    except RecursionError:
        return [Problem(path, None, "This file is nested too deeply to be checked.")]
    return problems


# --- finding event functions ----------------------------------------------------------------


def find_decorated(tree: ast.Module) -> list[tuple[_Function, ast.expr]]:
    """Return every function under `create_on_event`, with its decorator, in file order."""
    names, modules = _imported_as(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, _Function):
            for decorator in node.decorator_list:
                target = decorator.func if isinstance(decorator, ast.Call) else decorator
                if _is_create_on_event(target, names, modules):
                    found.append((node, decorator))
    return sorted(found, key=lambda pair: pair[0].lineno)


def _imported_as(tree: ast.Module) -> tuple[set[str], set[str]]:
    names: set[str] = set()
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("carrick", "carrick.sdk"):
            names.update(a.asname or a.name for a in node.names if a.name == "create_on_event")
            modules.update(a.asname or a.name for a in node.names if a.name == "sdk")
        elif isinstance(node, ast.Import):
            modules.update(
                a.asname or a.name for a in node.names if a.name in ("carrick", "carrick.sdk")
            )
    return names, modules


def _is_create_on_event(target: ast.expr, names: set[str], modules: set[str]) -> bool:
    if isinstance(target, ast.Name):
        return target.id in names
    return (
        isinstance(target, ast.Attribute)
        and target.attr == "create_on_event"
        and ast.unparse(target.value) in modules
    )


# --- one function per file, well declared ---------------------------------------------------


def _check_functions(
    path: str, tree: ast.Module, decorated: list[tuple[_Function, ast.expr]]
) -> list[Problem]:
    if not decorated:
        return [
            Problem(
                path,
                1,
                "This file has no event function.",
                f"Put {_EXAMPLE} (from carrick) over one async function, or begin the file's name "
                "with _ if functions only import it.",
            )
        ]
    problems = [
        Problem(
            path,
            node.lineno,
            f"{node.name} is the second event function in this file; a file holds one.",
            "Move it to a file of its own: the file's name is the function's name.",
        )
        for node, _ in decorated[1:]
    ]
    node, decorator = decorated[0]
    if node not in tree.body:
        message = f"{node.name} must stand at the top level of the file."
        problems.append(Problem(path, node.lineno, message, "Move it out of what it is nested in."))
    problems += _check_signature(path, node)
    if isinstance(decorator, ast.Call):
        problems += _check_event(path, node, decorator) + _check_description(path, node, decorator)
    else:
        message = f"create_on_event over {node.name} says neither event nor description."
        problems.append(Problem(path, decorator.lineno, message, f"Write {_EXAMPLE}."))
    return problems


def _check_signature(path: str, node: _Function) -> list[Problem]:
    problems = []
    if isinstance(node, ast.FunctionDef):
        problems.append(
            Problem(
                path,
                node.lineno,
                f"{node.name} is not async.",
                f"Write `async def {node.name}`; blocking libraries go through asyncio.to_thread.",
            )
        )
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    required = len(positional) - len(arguments.defaults)
    demanded = [default for default in arguments.kw_defaults if default is None]
    if required > 1 or demanded or (not positional and arguments.vararg is None):
        problems.append(
            Problem(
                path,
                node.lineno,
                f"{node.name} must take exactly one argument, the context.",
                f"Write `async def {node.name}(ctx: EventContext) -> None`.",
            )
        )
    return problems


def _check_event(path: str, node: _Function, call: ast.Call) -> list[Problem]:
    given = _argument(call, "event")
    hint = f"Use one of: {', '.join(_EVENTS)}."
    if given is None:
        if _is_spread(call):
            return []
        return [Problem(path, call.lineno, f"{node.name} says no event.", hint)]
    if not isinstance(given, ast.Constant) or given.value in _EVENTS:
        return []
    close = difflib.get_close_matches(str(given.value), _EVENTS, n=1, cutoff=0.5)
    if close:
        hint = f"Did you mean {close[0]}? {hint}"
    return [Problem(path, given.lineno, f"There is no event {given.value!r}.", hint)]


def _check_description(path: str, node: _Function, call: ast.Call) -> list[Problem]:
    given = _argument(call, "description")
    hint = 'Say what it does in one sentence: description="Register the webhook".'
    if given is None:
        if _is_spread(call):
            return []
        return [Problem(path, call.lineno, f"{node.name} has no description.", hint)]
    if isinstance(given, ast.Constant) and not str(given.value or "").strip():
        return [Problem(path, given.lineno, f"{node.name} has an empty description.", hint)]
    return []


def _argument(call: ast.Call, name: str) -> ast.expr | None:
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    return None


def _is_spread(call: ast.Call) -> bool:
    return any(keyword.arg is None for keyword in call.keywords)


# --- the project as a whole -----------------------------------------------------------------


def _check_names(file: FunctionFile) -> list[Problem]:
    problems = []
    if not _NAME.match(file.name):
        message = f"{file.path.rsplit('/', 1)[-1]} does not make a function's name."
        hint = "Name the file with letters, digits and _ only, e.g. post_connection_setup.py."
        problems.append(Problem(file.path, None, message, hint))
    if not _INTEGRATION_ID.match(file.integration_id):
        message = f"{file.integration_id} is not an integration id."
        hint = "Letters, digits and ~ : . @ _ - are allowed in the folder's name."
        problems.append(Problem(file.path, None, message, hint))
    return problems


def _duplicates(selection: Selection) -> list[Problem]:
    counts = Counter(file.label for file in selection.files)
    seen: set[str] = set()
    problems = []
    for file in selection.files:
        if counts[file.label] > 1 and file.label in seen:
            problems.append(
                Problem(
                    file.path,
                    None,
                    f"{file.integration_id} has two functions named {file.name}.",
                    "Rename one of the files; - and _ in a file's name mean the same.",
                )
            )
        seen.add(file.label)
    return problems


def _misplaced(path: str, node: _Function) -> Problem:
    return Problem(
        path,
        node.lineno,
        f"The event function {node.name} lies where functions are not looked for.",
        "Move it to <integration-id>/on_events/<name>.py; names that begin with _ do not count.",
    )


def _empty() -> Problem:
    return Problem(
        "",
        None,
        "There is no event function in this project.",
        "Functions lie in <integration-id>/on_events/<name>.py; `carrick init` makes an example.",
    )
