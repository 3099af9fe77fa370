"""What a caller asks of the connect journey, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from carrick.auth import ModeContext, Steps
from carrick.model.auth import AuthMode
from carrick.model.connection import Connection, EndUser
from carrick.model.environment import Environment
from carrick.model.event import Occasion


@dataclass(frozen=True)
class ConnectRequest:
    """One connect, reconnect or import, whatever entrance it came through."""

    environment: Environment
    integration_id: str
    #: How credentials arrive: what a form sends, what `POST /connections` carries, or the steps
    #: that exchange what a consent page handed out.
    source: Literal["form", "import", "oauth"]
    #: The auth-mode specific input; never in a repr.
    body: Mapping[str, Any] = field(repr=False)
    #: The steps of the source `oauth`.
    obtain: Callable[[ModeContext], Steps] | None = field(default=None, repr=False)
    #: The mode the entrance is for; `None` when the body says it.
    auth_mode: AuthMode | None = None
    connection_id: str | None = None
    #: The row a reconnect session is bound to.
    reconnect_row_id: int | None = None
    #: `None` means not given: a reconnect then keeps what the connection has.
    connection_config: Mapping[str, Any] | None = None
    #: Config set by the product's own server (a session's defaults): wins and may set any key.
    trusted_config: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] | None = None
    tags: Mapping[str, str] | None = None
    end_user: EndUser | None = None
    webhook_url_override: str | None = None


@dataclass(frozen=True)
class Connected:
    """An accepted connection."""

    connection: Connection
    occasion: Occasion
