"""Rows of figures: what was measured, beside what Nango took for the same."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

#: Medians of Nango 0.71.4 with all five services, Postgres 15 and Redis 7 on two cores, warm.
NANGO = {
    "create, no functions, import": 9.4,
    "create, no functions, api-auth": 58.9,
    "POST /connect/sessions": 61.2,
    "create + validate, import": 121.5,
    "create + validate, api-auth": 115.4,
    "answer → post-creation's call reaches the provider, import": 40.9,
    "answer → post-creation's call reaches the provider, api-auth": 50.1,
    "delete, no functions": 13.4,
    "delete + cleanup function": 137.8,
    "direct GET to the provider": 0.42,
    "GET through the proxy": 10.5,
    "added by the proxy (difference of the medians)": 10.1,
    "200 connects, concurrency 20, validate + post-creation: connects/s": 10.9,
    "200 connects, concurrency 20, no functions: connects/s": 100.0,
    "proxy, concurrency 32: requests/s": 176.0,
    "the same without the proxy: requests/s": 5035.0,
    "CPU per connect with both functions (ms)": 136.0,
    "CPU per proxied request (ms)": 8.2,
    "memory idle (MB, PSS)": 1043.0,
    "memory just after load (MB, PSS)": 1864.0,
    "start to healthy (s)": 11.0,
}


@dataclass(frozen=True)
class Row:
    """One measured thing."""

    name: str
    n: int
    min: float
    median: float
    p95: float
    max: float
    #: Whether a larger number is the better one.
    more_is_better: bool = False

    @property
    def nango(self) -> float | None:
        """What Nango took."""
        return NANGO.get(self.name)

    @property
    def ratio(self) -> float | None:
        """How many times better than Nango this is; below 1 it is worse."""
        if self.nango is None or min(self.median, self.nango) <= 0:
            return None
        return self.median / self.nango if self.more_is_better else self.nango / self.median

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain data."""
        return {**asdict(self), "nango_median": self.nango, "ratio": self.ratio}


def row_of(name: str, values: Sequence[float], *, more_is_better: bool = False) -> Row:
    """Sum single measurements up."""
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    median = statistics.median(ordered)
    return Row(name, len(ordered), ordered[0], median, p95, ordered[-1], more_is_better)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| | n | min | median | p95 | max | Nango's median | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        figures = [_shown(value) for value in (row.min, row.median, row.p95, row.max)]
        figures[1] = f"**{figures[1]}**"
        nango = _shown(row.nango) if row.nango is not None else ""
        ratio = f"{row.ratio:.1f}x" if row.ratio is not None else ""
        lines.append(f"| {row.name} | {row.n} | {' | '.join(figures)} | {nango} | {ratio} |")
    return "\n".join(lines)


def _shown(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
