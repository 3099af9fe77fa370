"""JSON as a type, for the edges where data has no better one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

#: Anything JSON can say. `Any` in the leaves: mypy's recursive alias costs more than it proves.
JSONValue: TypeAlias = Any
JSONObject: TypeAlias = dict[str, Any]
JSONMapping: TypeAlias = Mapping[str, Any]
