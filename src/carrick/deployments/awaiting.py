"""Finds calls on `ctx` whose result nobody awaits: they would silently do nothing."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator

from carrick.deployments.problem import Problem
from carrick.sdk import EventContext

_Function = ast.FunctionDef | ast.AsyncFunctionDef

#: Parents under which a coroutine is handed on, to be awaited by whoever gets it.
_HANDED_ON = (
    ast.Await,
    ast.Return,
    ast.Yield,
    ast.YieldFrom,
    ast.Call,
    ast.keyword,
    ast.List,
    ast.Tuple,
    ast.Set,
    ast.Dict,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
    ast.comprehension,
    ast.AsyncFor,
    ast.withitem,
    ast.Lambda,
)
#: Parents that only pass a value through: what counts is what stands around them.
_PASSED_THROUGH = (ast.IfExp, ast.BoolOp, ast.Starred, ast.NamedExpr)


def check_awaits(path: str, tree: ast.Module, event_functions: set[int]) -> list[Problem]:
    """Return a problem for each call on a context that is not awaited.

    Args:
        path: The file, for the problems.
        tree: Its syntax tree.
        event_functions: `id()` of the nodes whose first argument is a context without saying so.
    """
    awaited, used = _context_methods()
    problems: dict[tuple[int, int], Problem] = {}
    for function in ast.walk(tree):
        if not isinstance(function, _Function):
            continue
        names = _context_names(function, is_event_function=id(function) in event_functions)
        if not names:
            continue
        parents = _parents(function)
        for call, method in _calls_on(function, names):
            if method in awaited:
                is_lost = _is_lost(call, parents, function)
            elif method in used:
                is_lost = isinstance(parents[call], ast.Expr)
            else:
                continue
            if is_lost:
                name = ast.unparse(call.func)
                problems[call.lineno, call.col_offset] = _problem(path, call, name, method)
    return list(problems.values())


def _problem(path: str, call: ast.Call, name: str, method: str) -> Problem:
    ways = {"paginate": f"async for page in {name}(...)", "lock": f"async with {name}(...)"}
    hint = f"Write `{ways.get(method, f'await {name}(...)')}`."
    return Problem(path, call.lineno, f"{name}() is not awaited, so it would do nothing.", hint)


def _context_methods() -> tuple[set[str], set[str]]:
    """Return the context's coroutine methods, and those whose result must at least be used."""
    awaited: set[str] = set()
    for name, member in inspect.getmembers(EventContext, inspect.isfunction):
        if not name.startswith("_") and inspect.iscoroutinefunction(member):
            awaited.add(name)
    return awaited, {"paginate", "lock"} - awaited


def _context_names(function: _Function, *, is_event_function: bool) -> set[str]:
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    names = {argument.arg for argument in arguments if _says_context(argument.annotation)}
    if is_event_function and arguments:
        names.add(arguments[0].arg)
    return names


def _says_context(annotation: ast.expr | None) -> bool:
    return annotation is not None and "EventContext" in ast.unparse(annotation)


def _parents(function: _Function) -> dict[ast.AST, ast.AST]:
    return {
        child: parent for parent in ast.walk(function) for child in ast.iter_child_nodes(parent)
    }


def _calls_on(function: _Function, names: set[str]) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(function):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in names
        ):
            yield node, node.func.attr


def _is_lost(node: ast.expr, parents: dict[ast.AST, ast.AST], function: _Function) -> bool:
    """Whether a coroutine made here certainly ends without being awaited."""
    child: ast.AST = node
    parent = parents[child]
    while isinstance(parent, _PASSED_THROUGH):
        if isinstance(parent, ast.IfExp) and parent.test is child:
            return True
        if isinstance(parent, ast.NamedExpr) and _is_used(parent.target.id, parents, function):
            return False
        child, parent = parent, parents[parent]
    if isinstance(parent, ast.Assign | ast.AnnAssign):
        return _assignment_is_lost(parent, parents, function)
    if isinstance(parent, ast.Call):
        return parent.func is child
    return not isinstance(parent, _HANDED_ON)


def _assignment_is_lost(
    assignment: ast.Assign | ast.AnnAssign, parents: dict[ast.AST, ast.AST], function: _Function
) -> bool:
    targets = assignment.targets if isinstance(assignment, ast.Assign) else [assignment.target]
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    if len(names) < len(targets):
        return any(isinstance(target, ast.Tuple | ast.List) for target in targets)
    return not any(_is_used(name, parents, function) for name in names)


def _is_used(name: str, parents: dict[ast.AST, ast.AST], function: _Function) -> bool:
    """Whether a name is awaited or handed on anywhere in the function."""
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load):
            parent = parents[node]
            if isinstance(parent, ast.Call) and parent.func is node:
                continue
            if isinstance(parent, (*_HANDED_ON, *_PASSED_THROUGH, ast.Assign, ast.AnnAssign)):
                return True
            if isinstance(parent, ast.For):
                return True
    return False
