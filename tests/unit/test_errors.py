"""Every error says what is wrong, and is told apart by code and status."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re

import pytest

from carrick import errors
from carrick.errors import CarrickError, ProviderTimeout, ProviderUnreachable

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, CarrickError)
]


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_an_error_is_complete(error: type[CarrickError]) -> None:
    """Its docstring is the user's message, its code a word for machines, its status one of HTTP."""
    assert re.fullmatch(r"[A-Z].*\.", (error.__doc__ or "").strip(), re.DOTALL)
    assert re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", error.code)
    assert 400 <= error.status < 600


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_an_error_speaks_for_itself(error: type[CarrickError]) -> None:
    """Raised without words, it says its class's sentence."""
    assert str(error()) == (error.__doc__ or "").strip()


def test_every_error_is_found_in_one_place() -> None:
    """Whichever file has it, it is importable from `carrick.errors` and listed there."""
    files = [
        importlib.import_module(f"{errors.__name__}.{file.name}")
        for file in pkgutil.iter_modules(errors.__path__)
    ]
    defined = {
        name
        for file in files
        for name, value in vars(file).items()
        if inspect.isclass(value) and value.__module__ == file.__name__
    }

    assert {error.__name__ for error in CLASSES} == defined == set(errors.__all__)


def test_one_code_has_one_status_unless_it_grows_more_specific() -> None:
    """Two errors of one code differ in status only when both refine one that has the code."""
    for one in CLASSES:
        for other in CLASSES:
            if one.code == other.code and one.status != other.status:
                refined = [each for each in CLASSES if each.code == one.code]
                assert any(issubclass(one, each) and issubclass(other, each) for each in refined)


def test_an_error_carries_what_it_was_given() -> None:
    """Message, payload, issues and the time to wait are there for whoever maps it."""
    error = CarrickError("No.", payload={"a": 1}, issues=[{"code": "b"}], retry_after_s=5)

    assert (error.message, error.payload, error.issues, error.retry_after_s) == (
        "No.",
        {"a": 1},
        [{"code": "b"}],
        5,
    )


@pytest.mark.parametrize("error", [ProviderUnreachable, ProviderTimeout])
def test_an_unreachable_provider_may_have_been_reached(error: type[ProviderUnreachable]) -> None:
    """Whether a request left is unknown unless it is said that it certainly did not."""
    assert error().sent is True
    assert error(sent=False).sent is False
