"""An outbound request and its answer as plain data: auth modes build one and read the other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

#: Answers of gateways that got none themselves: what was asked may have been carried out.
NOBODY_KNOWS = frozenset({408, 502, 504})


@dataclass(frozen=True)
class ClientCertificate:
    """What a server recognizes its caller by in the TLS handshake, in PEM."""

    certificate: str = field(repr=False)
    private_key: str = field(repr=False)


@dataclass(frozen=True)
class OutboundRequest:
    """A request to somebody else's server, complete and ready to send."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    client_certificate: ClientCertificate | None = None

    def with_headers(self, headers: Mapping[str, str]) -> OutboundRequest:
        """Return a copy with headers added; a name already there, in any case, is replaced."""
        lowered = {name.lower() for name in headers}
        kept = {name: value for name, value in self.headers.items() if name.lower() not in lowered}
        return replace(self, headers={**kept, **headers})


@dataclass(frozen=True)
class OutboundAnswer:
    """What came back: status, headers with lower-case names, and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    def header(self, name: str) -> str | None:
        """Return a header by name in any case."""
        return self.headers.get(name.lower())

    def text(self) -> str:
        """Return the body as text; bytes that are not valid are replaced."""
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """Return the parsed body.

        Raises:
            ValueError: The body is not JSON.
        """
        return json.loads(self.body)
