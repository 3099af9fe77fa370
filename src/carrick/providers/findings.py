"""What reading a provider file brings up: faults keep it from being used, warnings do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Findings:
    """Collects both, each line naming file, entry and key."""

    origin: str
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def fault(self, where: str, message: str) -> None:
        """Note something that keeps the file from being used."""
        self.faults.append(f"{self.origin}: {where}: {message}")

    def warn(self, where: str, message: str) -> None:
        """Note something that is odd and harmless."""
        self.warnings.append(f"{self.origin}: {where}: {message}")


def summarised(warnings: Iterable[str], *, named: int = 3) -> list[str]:
    """Return warnings with the same words as one line that names a few places and counts the rest.

    A catalogue written for another reader may hold one key a thousand times.
    """
    places: dict[str, list[str]] = {}
    for warning in warnings:
        _, where, message = warning.split(": ", 2)
        entry, _, key = where.partition(".")
        places.setdefault(f"{key}: {message}" if key else message, []).append(entry)
    lines = []
    for message, entries in sorted(places.items(), key=lambda pair: -len(pair[1])):
        several = list(Counter(entries))
        more = f" and {len(several) - named} more" if len(several) > named else ""
        lines.append(f"{message} ({', '.join(several[:named])}{more})")
    return lines
