"""Fault points: all of them are listed, and nothing but a test makes anything happen at one."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from carrick.model.faults import NO_FAULTS, NoFaults, Point
from carrick.settings import Settings
from carrick.testing.faults import Hold, PlannedFaults, fail_with, read_plan
from carrick.testing.serve import main

PACKAGE = Path(__file__).parents[2] / "src" / "carrick"
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if "testing" not in path.parts]


def passings() -> Iterator[tuple[Path, ast.expr]]:
    """Every place in the code that says a point is passed, and what it names."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "reached"
            ):
                yield path, node.args[0]


def test_every_point_is_passed_somewhere_and_named_in_the_list() -> None:
    """The list is the code's: a point that nothing passes, or one made up on the spot, fails."""
    named = []
    for path, argument in passings():
        named.append(ast.unparse(argument))
        assert ast.unparse(argument).startswith("Point."), f"{path}: {ast.unparse(argument)}"

    assert set(named) == {f"Point.{point.name}" for point in Point}


def test_a_point_is_named_as_it_is_written() -> None:
    """One spelling: `BEFORE_SEND` is `before-send`."""
    assert [point.value for point in Point] == [
        point.name.lower().replace("_", "-") for point in Point
    ]


async def test_a_server_that_serves_does_nothing_at_any_point() -> None:
    """The default does nothing, holds nothing, and no setting changes it."""
    for point in Point:
        await NO_FAULTS.reached(point)

    assert vars(NoFaults()) == {}
    assert [name for name in Settings.model_fields if "fault" in name or "kill" in name] == []


def test_only_the_testing_room_builds_faults() -> None:
    """No other room has a class with fault points but the one that does nothing."""
    found = [
        (path.relative_to(PACKAGE).as_posix(), one.name)
        for path in MODULES
        for one in ast.walk(ast.parse(path.read_text()))
        if isinstance(one, ast.ClassDef)
        for method in one.body
        if isinstance(method, ast.AsyncFunctionDef) and method.name == "reached"
    ]

    assert found == [("model/faults.py", "Faults"), ("model/faults.py", "NoFaults")]


async def test_a_plan_is_carried_out_at_its_passing_and_once() -> None:
    """The second passing from the moment it was planned, not the first and not the third."""
    faults = PlannedFaults()
    await faults.reached(Point.BEFORE_SEND)
    faults.plan(Point.BEFORE_SEND, fail_with(ConnectionError("cut")), passing=2)

    await faults.reached(Point.BEFORE_SEND)
    await faults.reached(Point.AFTER_ANSWER)
    with pytest.raises(ConnectionError, match="cut"):
        await faults.reached(Point.BEFORE_SEND)
    await faults.reached(Point.BEFORE_SEND)

    assert faults.passed == {Point.BEFORE_SEND: 4, Point.AFTER_ANSWER: 1}


async def test_whoever_is_held_goes_on_when_let_go(request: pytest.FixtureRequest) -> None:
    """A hold lets a test put two things in an order that chance would seldom give them."""
    faults, hold, order = PlannedFaults(), Hold(), []
    faults.plan(Point.LAST_LOOK, hold)

    async def passing() -> None:
        await faults.reached(Point.LAST_LOOK)
        order.append("passed")

    task = asyncio.create_task(passing())
    await hold.arrived.wait()
    order.append("held")
    hold.let_go()
    await task

    assert order == ["held", "passed"]


@pytest.mark.parametrize("text", ["before-sent", "before-send:0", "before-send:x", ""])
def test_a_plan_that_means_nothing_is_refused(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A misspelt point would make a test that kills nothing and passes."""
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says, it is not taken
        read_plan(text)
    with pytest.raises(SystemExit):
        main(["--kill-at", text])
    assert "--kill-at" in capsys.readouterr().err


def test_the_points_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """What `--kill-at` takes is told by `--list`."""
    assert main(["--list"]) == 0
    assert capsys.readouterr().out.split() == [point.value for point in Point]
