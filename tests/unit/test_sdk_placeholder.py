"""Placeholders: text of where a value would have come from, nothing to compute with."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from carrick.sdk import IncompleteDryRun, Placeholder

DATA: Any = Placeholder("POST /webhooks")


def test_any_key_or_attribute_is_another_placeholder() -> None:
    """Data that is not there can be walked through; as text it says the way."""
    assert str(DATA.id) == "«POST /webhooks → id»"
    assert str(DATA["items"][0].get("name")) == "«POST /webhooks → items[0].name»"
    assert repr(DATA) == "«POST /webhooks»"
    assert f"/webhooks/{DATA.id:>3}" == "/webhooks/«POST /webhooks → id»"
    assert "a" + DATA.id + "b" == "a«POST /webhooks → id»b"


def test_a_placeholder_is_something() -> None:
    """It is true, equals itself, can be a key, and can be copied."""
    assert DATA.id
    assert DATA.id == Placeholder("POST /webhooks", "id")
    assert {DATA.id: 1}[DATA.id] == 1
    assert str(copy.deepcopy(DATA.id)) == str(DATA.id)
    assert DATA.id is not None


COMPUTATIONS: list[Callable[[], object]] = [
    lambda: int(DATA.n),
    lambda: float(DATA.n),
    lambda: DATA.n + 1,
    lambda: 1 + DATA.n,
    lambda: DATA.n - 1,
    lambda: 2 * DATA.n,
    lambda: DATA.n < 3,
    lambda: DATA.n <= 3,
    lambda: DATA.n == 3,
    lambda: DATA.n != 3,
    lambda: len(DATA),
    lambda: list(DATA),
    lambda: [1, 2][DATA.n],
    lambda: "x" in DATA,
    lambda: str(DATA.name.upper()),
    lambda: -DATA.n,
    lambda: round(DATA.n),
    lambda: sorted([DATA.a, DATA.b]),
    lambda: dict(**DATA),
]


@pytest.mark.parametrize("compute", COMPUTATIONS)
def test_computing_with_a_placeholder_ends_the_run(compute: Callable[[], object]) -> None:
    """Whatever needs the value itself raises a signal that `except Exception` lets through."""
    with pytest.raises(IncompleteDryRun, match="POST /webhooks"):
        compute()
    assert not issubclass(IncompleteDryRun, Exception)
