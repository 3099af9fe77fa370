"""What the demo did: steps, the calls the provider received meanwhile, and checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from carrick.testing.fake_provider import Call


@dataclass(frozen=True)
class Check:
    """One thing that had to be so."""

    name: str
    expected: Any
    actual: Any

    @property
    def ok(self) -> bool:
        """Whether it was so."""
        return bool(self.expected == self.actual)

    def to_json(self) -> dict[str, Any]:
        """Return the check as plain data."""
        return {
            "name": self.name,
            "ok": self.ok,
            "expected": self.expected,
            "actual": self.actual,
        }


@dataclass
class Step:
    """One thing that was asked of Carrick."""

    title: str
    #: Seconds after the demo began.
    at_s: float
    request: str = ""
    answer: str = ""
    took_s: float = 0.0
    calls: list[Call] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything went as expected."""
        return all(check.ok for check in self.checks)

    def expect(self, name: str, actual: Any, expected: Any) -> None:
        """Note that something must be so, and what it was."""
        self.checks.append(Check(name, expected, actual))

    def to_json(self) -> dict[str, Any]:
        """Return the step as plain data."""
        return {
            "title": self.title,
            "at_s": round(self.at_s, 3),
            "took_s": round(self.took_s, 3),
            "request": self.request,
            "answer": self.answer,
            "ok": self.ok,
            "provider_calls": [
                {
                    "method": call.method,
                    "path": call.path,
                    "account": call.account,
                    "status": call.status,
                    "idempotency_key": call.idempotency_key,
                }
                for call in self.calls
            ],
            "checks": [check.to_json() for check in self.checks],
        }
