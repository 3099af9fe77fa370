"""How many operations have ended in this process, by what they were and how they ended."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """One kind of operation that ended in one way."""

    environment_id: int
    type: str
    action: str
    state: str


Tally = Counter[Ended]
