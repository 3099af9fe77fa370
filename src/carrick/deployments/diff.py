"""What a deployment would change: by content, function by function."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from carrick.errors import DeploymentRejected
from carrick.model.event import FunctionRef

Change = Literal["added", "changed", "unchanged", "removed"]


@dataclass(frozen=True)
class Scope:
    """What a deployment may touch. Everything else stays as it is."""

    integration_ids: tuple[str, ...] = ()
    #: Functions as `integration/name`.
    functions: tuple[str, ...] = ()

    def covers(self, integration_id: str, name: str) -> bool:
        """Whether a function is within the scope."""
        return (
            integration_id in self.integration_ids or f"{integration_id}/{name}" in self.functions
        )

    def as_json(self) -> dict[str, list[str]]:
        """Return it as JSON: `integrations` and `functions`."""
        return {"integrations": list(self.integration_ids), "functions": list(self.functions)}

    @classmethod
    def from_json(cls, value: dict[str, Any] | None) -> Scope | None:
        """Read what `as_json` wrote; nothing named is no scope at all.

        Raises:
            DeploymentRejected: A function is not named as `integration/name`.
        """
        if not value:
            return None
        functions = tuple(value.get("functions") or ())
        for function in functions:
            if function.count("/") != 1:
                raise DeploymentRejected(
                    f"A scope names functions as <integration>/<name>; {function!r} is not that."
                )
        scope = cls(tuple(value.get("integrations") or ()), functions)
        return scope if scope.integration_ids or scope.functions else None


@dataclass(frozen=True)
class FunctionChange:
    """What a deployment does to one function."""

    integration_id: str
    name: str
    event: str
    change: Change
    version: str | None = None
    #: Why an otherwise equal function counts as changed: its place among its event's functions.
    only_order: bool = False

    @property
    def label(self) -> str:
        """The function as `integration/name`."""
        return f"{self.integration_id}/{self.name}"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "integration_id": self.integration_id,
            "name": self.name,
            "event": self.event,
            "change": self.change,
            "version": self.version,
            "only_order": self.only_order,
        }


@dataclass(frozen=True)
class Preview:
    """What a deployment would do. Functions out of its scope are not in it."""

    added: tuple[FunctionChange, ...] = ()
    changed: tuple[FunctionChange, ...] = ()
    unchanged: tuple[FunctionChange, ...] = ()
    removed: tuple[FunctionChange, ...] = ()

    @property
    def changes_nothing(self) -> bool:
        """Whether deploying would leave everything as it is."""
        return not (self.added or self.changed or self.removed)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "added": [change.as_json() for change in self.added],
            "changed": [change.as_json() for change in self.changed],
            "unchanged": [change.as_json() for change in self.unchanged],
            "removed": [change.as_json() for change in self.removed],
        }

    def summary(self) -> dict[str, Any]:
        """Return what a list of deployments shows: how many, and which were touched."""
        touched = (*self.added, *self.changed, *self.removed)
        return {
            "added": len(self.added),
            "changed": len(self.changed),
            "unchanged": len(self.unchanged),
            "removed": len(self.removed),
            "functions": [f"{change.change} {change.label}" for change in touched],
        }


def compare(
    before: Sequence[FunctionRef], after: Sequence[FunctionRef], scope: Scope | None
) -> Preview:
    """Compare what is active with what would be, within a scope."""
    old = {_key(function): function for function in before if _is_covered(scope, function)}
    new = {_key(function): function for function in after if _is_covered(scope, function)}
    moved = _moved(before, after)
    found: dict[Change, list[FunctionChange]] = {
        "added": [], "changed": [], "unchanged": [], "removed": [],
    }  # fmt: skip
    for key, function in new.items():
        earlier = old.get(key)
        if earlier is None:
            found["added"].append(_change(function, "added"))
        elif earlier.content_hash != function.content_hash:
            found["changed"].append(_change(function, "changed"))
        elif key in moved:
            found["changed"].append(_change(function, "changed", only_order=True))
        else:
            found["unchanged"].append(_change(function, "unchanged"))
    found["removed"] = [
        _change(function, "removed") for key, function in old.items() if key not in new
    ]
    return Preview(**{change: tuple(entries) for change, entries in found.items()})


def merge(
    before: Iterable[FunctionRef], after: Iterable[FunctionRef], scope: Scope | None
) -> list[FunctionRef]:
    """Return what would be active: the new functions in scope, the old ones out of it."""
    kept = [function for function in before if scope and not _is_covered(scope, function)]
    return [*kept, *(function for function in after if _is_covered(scope, function))]


def _is_covered(scope: Scope | None, function: FunctionRef) -> bool:
    return scope is None or scope.covers(function.integration_id, function.name)


def _key(function: FunctionRef) -> tuple[str, str]:
    return function.integration_id, function.name


def _moved(before: Sequence[FunctionRef], after: Sequence[FunctionRef]) -> set[tuple[str, str]]:
    """Return the functions in both whose order within their event is not what it was."""
    common = {_key(function) for function in before} & {_key(function) for function in after}
    moved: set[tuple[str, str]] = set()
    old, new = _orders(before, common), _orders(after, common)
    for event, order in new.items():
        previous = old.get(event, [])
        if order != previous and set(order) == set(previous):
            moved |= {key for key, was in zip(order, previous, strict=True) if key != was}
    return moved


def _orders(
    functions: Sequence[FunctionRef], common: set[tuple[str, str]]
) -> dict[tuple[str, str], list[tuple[str, str]]]:
    orders: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for function in sorted(functions, key=lambda one: (one.position, one.name)):
        if _key(function) in common:
            event = (function.integration_id, function.event.value)
            orders.setdefault(event, []).append(_key(function))
    return orders


def _change(function: FunctionRef, change: Change, *, only_order: bool = False) -> FunctionChange:
    return FunctionChange(
        integration_id=function.integration_id,
        name=function.name,
        event=function.event.value,
        change=change,
        version=function.declaration.version,
        only_order=only_order,
    )
