"""JSON as a type, for the edges where data has no better one."""

from __future__ import annotations

from typing import Any, TypeAlias

#: `Any` in the leaves: mypy's recursive alias costs more than it proves.
JSONObject: TypeAlias = dict[str, Any]
