"""Fill what a provider definition describes as nested templates: parameters, headers, claims."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from carrick.auth.mode import ModeContext

PLACEHOLDER = re.compile(r"\$\{([^{}]*)\}")
_ABSENT = object()


def filled(
    ctx: ModeContext, templates: Mapping[str, Any], values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the same structure with every text filled; what nothing can fill is left out."""
    found = _filled(ctx, templates, values)
    result: dict[str, Any] = found
    return result


def _filled(ctx: ModeContext, template: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(template, str):
        text = ctx.render(template, values)
        # Asked of the template as well: a password may have the form of a placeholder.
        left = set(PLACEHOLDER.findall(text)) & set(PLACEHOLDER.findall(template))
        return _ABSENT if left else text
    if isinstance(template, Mapping):
        parts = ((str(name), _filled(ctx, inner, values)) for name, inner in template.items())
        return {name: part for name, part in parts if part is not _ABSENT and part is not None}
    if isinstance(template, list):
        items = (_filled(ctx, inner, values) for inner in template)
        return [item for item in items if item is not _ABSENT]
    return template
