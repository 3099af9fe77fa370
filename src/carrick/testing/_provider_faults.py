"""What the fake provider can be told to do wrong, and for how many calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

from aiohttp import web

FaultKind = Literal["status", "hang", "close", "html", "error_body", "large", "slow"]

_HTML = (
    "<!doctype html><html><head><title>Maintenance</title></head>"
    "<body><h1>We will be back shortly</h1></body></html>"
)


@dataclass
class Fault:
    """One thing that goes wrong, for the calls it matches.

    Args:
        kind: `status` answers with `status`, `headers` and `body`; `hang` never answers; `close`
            drops the connection; `html` answers 200 with a web page; `error_body` answers 200
            with an error inside; `large` answers 200 with `size_bytes`; `slow` waits `delay_s`
            and then behaves.
        path: Which paths, `*` and `?` as in a shell.
        method: Which method, `*` for any.
        times: For how many calls; `None` until it is cleared.
        after: Carry the call out first and go wrong only with the answer, so that the caller
            cannot know whether its write was made.
    """

    kind: FaultKind
    path: str = "*"
    method: str = "*"
    times: int | None = 1
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    delay_s: float = 1.0
    size_bytes: int = 20 * 1024 * 1024
    after: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise ValueError(f"kind is one of {', '.join(get_args(FaultKind))}, not {self.kind!r}")

    def matches(self, method: str, path: str) -> bool:
        """Return whether a call is one this fault is for."""
        return self.method in ("*", method) and fnmatchcase(path, self.path)

    def to_json(self) -> dict[str, Any]:
        """Return the fault as plain data."""
        return asdict(self)


class Faults:
    """The faults that are switched on, oldest first; the first that matches a call is used."""

    def __init__(self) -> None:
        self._active: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Switch a fault on."""
        self._active.append(fault)

    def clear(self) -> None:
        """Switch every fault off."""
        self._active.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault for a call and count it as used."""
        for fault in self._active:
            if fault.matches(method, path):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._active.remove(fault)
                return fault
        return None

    def to_json(self) -> list[dict[str, Any]]:
        """Return the active faults as plain data."""
        return [fault.to_json() for fault in self._active]


def wrong_answer(fault: Fault) -> web.Response:
    """Build the answer of a fault that answers at all."""
    if fault.kind == "html":
        return web.Response(text=_HTML, content_type="text/html")
    if fault.kind == "error_body":
        body = fault.body if fault.body is not None else {"error": {"code": "server_busy"}}
        return web.json_response(body)
    if fault.kind == "large":
        padding = "x" * fault.size_bytes
        return web.Response(text=json.dumps({"padding": padding}), content_type="application/json")
    body = fault.body if fault.body is not None else {"error": "fault", "status": fault.status}
    return web.json_response(body, status=fault.status, headers=fault.headers)
