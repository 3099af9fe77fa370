"""What is wrong with a project: said with the file, the line and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from carrick.errors import ProjectInvalid


@dataclass(frozen=True, order=True)
class Problem:
    """One reason why a project does not compile."""

    #: Path inside the project with forward slashes; empty for the project as a whole.
    file: str
    #: Line in that file, from 1; `None` where there is none to point at.
    line: int | None
    message: str
    #: What to do about it.
    hint: str = ""

    @property
    def place(self) -> str:
        """Where it is, as `file:line`."""
        return f"{self.file}:{self.line}" if self.line is not None else self.file or "."

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON, as the API and `--json` show it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Problem:
        """Read what `as_json` wrote."""
        line = value.get("line")
        return cls(
            file=str(value.get("file") or ""),
            line=int(line) if line is not None else None,
            message=str(value.get("message") or ""),
            hint=str(value.get("hint") or ""),
        )


def sort_key(problem: Problem) -> tuple[str, int, str]:
    """Order problems as one reads: by file, then by line."""
    return problem.file, problem.line or 0, problem.message


def project_invalid(problems: Sequence[Problem]) -> ProjectInvalid:
    """Return the error that carries these problems."""
    first = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return ProjectInvalid(
        f"The project does not compile: {first.place}: {first.message}{more}",
        payload={"problems": [problem.as_json() for problem in problems]},
    )
