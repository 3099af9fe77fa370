"""The type variable of everything that depends on the declared metadata model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    M = TypeVar("M", default=dict[str, Any])
else:  # the default is for type checkers; importing typing_extensions for it would cost each start
    from typing import TypeVar

    M = TypeVar("M")
