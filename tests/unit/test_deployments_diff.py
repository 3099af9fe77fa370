"""What a deployment changes is told by content and by order, within its scope."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carrick.deployments import Scope
from carrick.deployments.diff import compare, merge
from carrick.errors import DeploymentRejected
from carrick.model.event import Declaration, Event, FunctionRef


def function(label: str, content: str = "1", position: int = 0) -> FunctionRef:
    integration_id, name = label.split("/")
    declaration = Declaration(Event.VALIDATE_CONNECTION, "Check", version="7")
    return FunctionRef(1, 1, "bundle", integration_id, name, position, content, declaration)


BEFORE = [function("a/one"), function("a/two", position=1), function("b/three")]


def labels(preview: object, kind: str) -> list[str]:
    return [change.label for change in getattr(preview, kind)]


def test_functions_are_added_changed_unchanged_or_removed() -> None:
    """Each function is exactly one of the four."""
    after = [function("a/one"), function("a/two", "2", 1), function("c/four")]

    preview = compare(BEFORE, after, None)

    assert labels(preview, "unchanged") == ["a/one"]
    assert labels(preview, "changed") == ["a/two"]
    assert labels(preview, "added") == ["c/four"]
    assert labels(preview, "removed") == ["b/three"]
    assert not preview.changes_nothing


def test_a_version_is_a_label_and_decides_nothing() -> None:
    """Only content counts."""
    after = [replace(one, declaration=replace(one.declaration, version="8")) for one in BEFORE]

    assert compare(BEFORE, after, None).changes_nothing


def test_another_order_is_a_change() -> None:
    """Validations stop at the first refusal, so their order is behaviour."""
    after = [function("a/two"), function("a/one", position=1), function("b/three")]

    preview = compare(BEFORE, after, None)

    assert sorted(labels(preview, "changed")) == ["a/one", "a/two"]
    assert all(change.only_order for change in preview.changed)


def test_a_new_first_function_moves_nobody() -> None:
    """Positions are compared among the functions that were there before."""
    after = [
        function("a/zero"),
        function("a/one", position=1),
        function("a/two", position=2),
        function("b/three"),
    ]

    preview = compare(BEFORE, after, None)

    assert labels(preview, "added") == ["a/zero"]
    assert preview.changed == ()


def test_a_scope_hides_what_is_out_of_it() -> None:
    """Functions elsewhere are neither compared nor removed."""
    after = [function("a/one", "2"), function("c/four")]

    preview = compare(BEFORE, after, Scope(functions=("a/one",)))

    assert labels(preview, "changed") == ["a/one"]
    assert preview.added == preview.removed == preview.unchanged == ()


def test_a_scope_keeps_the_rest_as_it_is() -> None:
    """What is merged is new in the scope and old out of it."""
    after = [function("a/one", "2"), function("b/three", "2")]

    merged = merge(BEFORE, after, Scope(integration_ids=("a",)))

    assert {(one.name, one.content_hash) for one in merged} == {("one", "2"), ("three", "1")}


def test_without_a_scope_nothing_old_is_kept() -> None:
    """A whole deploy is the project and nothing else."""
    assert merge(BEFORE, [function("c/four")], None) == [function("c/four")]


@pytest.mark.parametrize("value", [None, {}, {"integrations": [], "functions": []}])
def test_a_scope_that_names_nothing_is_none(value: dict[str, list[str]] | None) -> None:
    """An empty scope is the whole project."""
    assert Scope.from_json(value) is None


def test_a_scope_names_functions_with_their_integration() -> None:
    """A name alone could be several functions."""
    assert Scope.from_json({"functions": ["a/one"]}) == Scope(functions=("a/one",))
    with pytest.raises(DeploymentRejected, match="<integration>/<name>"):
        Scope.from_json({"functions": ["one"]})
