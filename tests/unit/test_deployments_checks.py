"""Every fault of a project is found by reading it, and named with file, line and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from carrick.deployments import Problem, check, read_project
from carrick.deployments.project import make_project

TIDY = Path(__file__).parents[1] / "projects" / "tidy"

HEAD = "from carrick import EventContext, create_on_event\n"
DECORATOR = '@create_on_event(event="validate-connection", description="Check")\n'
BODY = "async def check(ctx: EventContext) -> None:\n    await ctx.get('/me')\n"
GOOD = HEAD + DECORATOR + BODY


def problems(source: str, path: str = "a/on_events/f.py", **others: str) -> list[Problem]:
    """Check a project with this file, and one good one if the file is none."""
    files = {path: source.encode(), "b/on_events/good.py": GOOD.encode()}
    files.update({name: text.encode() for name, text in others.items()})
    return check(make_project(files))


def only(found: list[Problem]) -> Problem:
    assert len(found) == 1, found
    assert found[0].hint, "every problem says what to do"
    return found[0]


def test_a_tidy_project_has_no_problems() -> None:
    """The example is in order, and so are all the ways in which it imports carrick."""
    assert check(read_project(TIDY)) == []


def test_a_syntax_error_is_named_with_its_line() -> None:
    """A file that is not Python says where."""
    problem = only(problems("x = 1\nasync def f(:\n"))

    assert (problem.file, problem.line) == ("a/on_events/f.py", 2)
    assert "not valid Python" in problem.message


@pytest.mark.parametrize("source", ["\0", "(" * 500])
def test_what_cannot_be_parsed_at_all_is_a_problem(source: str) -> None:
    """Bytes that are no source are reported, not raised."""
    found = problems(source)

    assert found[0].file == "a/on_events/f.py"


def test_a_file_without_a_function_is_a_problem() -> None:
    """A file in on_events is a function or begins with an underscore."""
    assert "no event function" in only(problems("X = 1\n")).message


def test_two_functions_in_one_file_are_a_problem() -> None:
    """The file names the function, so there can be only one."""
    second = DECORATOR + BODY.replace("check", "again")
    problem = only(problems(GOOD + second))

    assert problem.line == 6
    assert "second event function" in problem.message


@pytest.mark.parametrize(
    ("event", "close"),
    [("post-connection-create", "post-connection-creation"), ("validate", "validate-connection")],
)
def test_an_unknown_event_is_a_problem(event: str, close: str) -> None:
    """The hint has the names there are, and the one that was meant."""
    problem = only(problems(GOOD.replace("validate-connection", event)))

    assert event in problem.message
    assert f"Did you mean {close}?" in problem.hint


def test_a_missing_event_is_a_problem() -> None:
    """A function belongs to an event."""
    found = problems(GOOD.replace('event="validate-connection", ', ""))

    assert "says no event" in only(found).message


@pytest.mark.parametrize(
    "given", ["", ', description=""', ', description="  "', ", description=None"]
)
def test_a_missing_or_empty_description_is_a_problem(given: str) -> None:
    """A description is what people read in lists."""
    found = problems(GOOD.replace(', description="Check"', given))

    assert "description" in only(found).message


def test_a_bare_decorator_is_a_problem() -> None:
    """`@create_on_event` without a call declares nothing."""
    found = problems(HEAD + "@create_on_event\n" + BODY)

    assert "neither event nor description" in only(found).message


def test_a_function_that_is_not_async_is_a_problem() -> None:
    """A blocking function would hold up the others of its runner."""
    found = problems(GOOD.replace("async def", "def").replace("await ctx.get", "print"))

    assert "is not async" in only(found).message


@pytest.mark.parametrize("signature", ["", "ctx: EventContext, other: int", "ctx, *, other"])
def test_a_function_takes_the_context_and_nothing_else(signature: str) -> None:
    """Nobody would pass a second argument."""
    source = HEAD + DECORATOR + f"async def check({signature}) -> None:\n    pass\n"

    assert "exactly one argument" in only(problems(source)).message


def test_a_nested_function_is_a_problem() -> None:
    """What is not at the top level is not found when the file is imported."""
    nested = "".join(f"    {line}\n" for line in (DECORATOR + BODY).splitlines())

    assert "top level" in only(problems(HEAD + "if True:\n" + nested)).message


def test_two_files_of_one_name_are_a_problem() -> None:
    """Hyphens and underscores in a file's name mean the same."""
    found = problems(GOOD, "a/on_events/set_up.py", **{"a/on_events/set-up.py": GOOD})

    assert "two functions named set-up" in only(found).message


@pytest.mark.parametrize(
    "path", ["a/f.py", "a/on_events/deep/f.py", "a/on_events/_f.py", "f.py", "on_events/f.py"]
)
def test_a_function_elsewhere_is_a_problem(path: str) -> None:
    """A decorated function that would never be deployed is not dropped silently."""
    assert "not looked for" in only(problems(GOOD, path)).message


def test_a_file_name_that_is_no_name_is_a_problem() -> None:
    """The file's name becomes part of addresses and logs."""
    assert "does not make a function's name" in only(problems(GOOD, "a/on_events/a b.py")).message


def test_an_empty_project_is_a_problem() -> None:
    """Deploying nothing is a mistake, not a wish."""
    problem = only(check(make_project({"lib.py": b""})))

    assert "no event function in this project" in problem.message


def test_a_file_that_an_index_leaves_out_is_not_checked() -> None:
    """Half-written work may lie in a project as long as it is not selected."""
    files = {
        "a/on_events/good.py": GOOD.encode(),
        "a/on_events/broken.py": b"def (",
        "index.py": b"from .a.on_events import good",
    }

    assert check(make_project(files)) == []


def test_every_problem_is_found_at_once() -> None:
    """Nobody has to compile ten times to learn ten things."""
    found = problems("def (", **{"a/on_events/g.py": "X = 1", "a/on_events/h.py": HEAD})

    assert [problem.file for problem in found] == [f"a/on_events/{name}.py" for name in "fgh"]


def test_an_alias_of_the_decorator_is_understood() -> None:
    """Authors may import it under another name."""
    source = GOOD.replace("create_on_event\n", "create_on_event as on\n", 1)

    assert problems(source.replace("@create_on_event", "@on")) == []


def test_a_declaration_that_is_computed_is_left_to_the_import() -> None:
    """What reading cannot tell is not guessed."""
    source = "EVENT = 'validate-connection'\n" + GOOD.replace('"validate-connection"', "EVENT")

    assert problems(source) == []


# --- ctx must be awaited --------------------------------------------------------------------


def body(*lines: str) -> str:
    text = "".join(f"    {line}\n" for line in lines)
    return HEAD + DECORATOR + "async def check(ctx: EventContext) -> None:\n" + text


@pytest.mark.parametrize(
    "lines",
    [
        ("ctx.get('/me')",),
        ("ctx.set_metadata({})",),
        ("ctx.log('x')",),
        ("x = ctx.get('/me')", "print(x.data)"),
        ("x = ctx.get('/me')",),
        ("x = ctx.get('/me').data",),
        ("x = ctx.get_metadata()['a']",),
        ("if ctx.get_metadata():", "    pass"),
        ("x = f'{ctx.get_webhook_url()}'",),
        ("a, b = ctx.get('/me')",),
        ("for page in ctx.get('/me'):", "    pass"),
        ("x = 1 if ctx.get('/me') else 2", "print(x)"),
        ("ctx.paginate('/all')",),
        ("ctx.lock('key')",),
        ("async def inner():", "    ctx.get('/me')", "await inner()"),
    ],
)
def test_a_call_on_the_context_that_is_not_awaited_is_a_problem(lines: tuple[str, ...]) -> None:
    """It would silently do nothing, or fail far from where the mistake is."""
    problem = only(problems(body(*lines)))

    assert "is not awaited" in problem.message
    assert problem.hint.startswith("Write `a")


@pytest.mark.parametrize(
    "lines",
    [
        ("await ctx.get('/me')",),
        ("x = (await ctx.get('/me')).data", "print(x)"),
        ("return await ctx.get('/me')",),
        ("return ctx.get('/me')",),
        ("await asyncio.gather(ctx.get('/a'), ctx.get('/b'))",),
        ("await asyncio.gather(*[ctx.get(p) for p in '12'])",),
        ("await asyncio.gather(*(ctx.get(p) for p in '12'))",),
        ("calls = [ctx.get('/a'), ctx.get('/b')]", "await asyncio.gather(*calls)"),
        ("task = asyncio.create_task(ctx.get('/a'))", "await task"),
        ("call = ctx.get('/a')", "x = await call", "print(x)"),
        ("call = ctx.get('/a')", "await asyncio.wait_for(call, 1)"),
        ("calls = []", "calls.append(ctx.get('/a'))", "await asyncio.gather(*calls)"),
        ("async for page in ctx.paginate('/all'):", "    print(page)"),
        ("pages = [page async for page in ctx.paginate('/all')]", "print(pages)"),
        ("async with ctx.lock('key'):", "    pass"),
        ("if await ctx.lock('key'):", "    pass"),
        ("x = await (ctx.get('/a') if ctx.attempt else ctx.get('/b'))", "print(x)"),
        ("send = lambda: ctx.get('/a')", "await send()"),
        ("print(ctx.now(), ctx.uuid(), ctx.connection_id)",),
        ("other = {}", "other.get('x')"),
        ("async with asyncio.TaskGroup() as group:", "    group.create_task(ctx.get('/a'))"),
    ],
)
def test_a_call_that_is_awaited_or_handed_on_is_fine(lines: tuple[str, ...]) -> None:
    """What may be awaited elsewhere is never called a mistake."""
    assert problems("import asyncio\n" + body(*lines)) == []


def test_shared_modules_are_checked_too() -> None:
    """A context that is handed to another function is a context there."""
    shared = (
        "from carrick import EventContext\n"
        "async def notify(ctx: 'EventContext[dict]') -> None:\n"
        "    ctx.post('/notify')\n"
    )

    problem = only(problems(GOOD, **{"a/shared.py": shared}))

    assert (problem.file, problem.line) == ("a/shared.py", 3)
