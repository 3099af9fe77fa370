"""Parse a provider file: YAML or JSON, and nothing but plain values that JSON can hold."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import yaml

from carrick.errors import ProvidersInvalid

#: Deeper, or more of them, is no catalogue: YAML of a few lines can unfold to a billion values.
_DEEPEST = 100
_MOST_VALUES = 2_000_000


def read_definitions(text: str, *, origin: str) -> dict[str, Any]:
    """Parse a provider file: YAML, or JSON when it begins with a brace.

    Raises:
        ProvidersInvalid: The text is neither, holds what JSON cannot, or is not a map of provider
            names to definitions.
    """
    try:
        parsed = _parsed(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).replace('in "<unicode string>",', "at").split())
        raise ProvidersInvalid(f"{origin}: cannot be parsed: {reason}") from error
    if parsed is None:
        return {}
    if not isinstance(parsed, dict):
        raise ProvidersInvalid(
            f"{origin}: must be a map from provider names to their definitions, "
            f"not {type(parsed).__name__}"
        )
    left = _MOST_VALUES
    for name, entry in parsed.items():
        try:
            left = _demand_plain(entry, left)
        except ValueError as error:
            raise ProvidersInvalid(f"{origin}: {name}: {error}") from error
    return {str(name): entry for name, entry in parsed.items()}


def _parsed(text: str) -> Any:
    if text.lstrip().startswith("{"):
        return json.loads(text, object_pairs_hook=_object)
    return yaml.load(text, _Loader)  # noqa: S506 - it is a safe one


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object; a key written twice is an error, not a silent replacement."""
    built = dict(pairs)
    if len(built) < len(pairs):
        name, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {name!r} is written twice")
    return built


def _demand_plain(entry: Any, left: int) -> int:
    """Make sure that an entry can be stored as JSON and is not too much of it.

    Anchors make one value stand in many places, even inside itself: what counts is the entry
    unfolded.

    Args:
        entry: The parsed value.
        left: How many values there may be.

    Returns:
        How many more there may be.

    Raises:
        ValueError: Says what is wrong.
    """
    waiting = [(entry, 0)]
    while waiting:
        value, depth = waiting.pop()
        left -= 1
        if left < 0:
            raise ValueError(f"the file unfolds to more than {_MOST_VALUES:,} values")
        if depth > _DEEPEST:
            raise ValueError(f"is nested more than {_DEEPEST} deep, or inside itself")
        if isinstance(value, dict):
            for key in value:
                _demand_scalar(key)
            waiting += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list):
            waiting += [(inner, depth + 1) for inner in value]
        else:
            _demand_scalar(value)
    return left


def _demand_scalar(value: Any) -> None:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("holds half of a surrogate pair, which is no text") from None
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"holds {value}, which is no number")
    elif not isinstance(value, bool | int | float | None):
        raise ValueError(f"holds a {type(value).__name__}, which JSON has not")


class _Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """Safe YAML without dates (an API version is text), and with duplicate keys refused."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the name is PyYAML's
        first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping; a key written twice is an error, not a silent replacement."""
        written: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in written:
                told = f"the key {key.value!r} is written twice"
                raise yaml.MarkedYAMLError(None, None, told, key.start_mark)
            written.add((key.tag, key.value))
        built: dict[Any, Any] = super().construct_mapping(node, deep)
        return built
