"""What the API works with: the rooms below it, built by `app` and passed in as one value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from carrick.api.popups import Popups
from carrick.connections import Connections
from carrick.credentials import FreshCredentials
from carrick.deployments import Deployments
from carrick.dryrun import DryRuns
from carrick.environments import ApiKeys, ConnectSessions, Environments, Integrations, Variables
from carrick.lifecycle.journeys import Lifecycle
from carrick.model.clock import Chance, Clock
from carrick.notify import Deliveries
from carrick.operations import Operations
from carrick.providers import Catalogue
from carrick.proxy import Proxy
from carrick.settings import Settings
from carrick.store.backlog import Backlog


@dataclass(frozen=True)
class Readiness:
    """Whether functions can run on this server, and why not."""

    is_ready: bool
    reason: str = ""


@dataclass(frozen=True)
class Load:
    """What this server is busy with."""

    #: Processes that run functions.
    runners: int
    #: Connections whose setups and cleanups run here, and how many may.
    turns: int
    most_turns: int
    #: Integrations whose provider does not do its work, as this server sees it.
    outages: int


@dataclass
class Stopping:
    """Whether this server was told to stop: it still answers, and wants no more connections."""

    has_begun: bool = False


@dataclass(frozen=True)
class Services:
    """Everything a route may use."""

    settings: Settings
    clock: Clock
    chance: Chance
    catalogue: Catalogue
    environments: Environments
    api_keys: ApiKeys
    variables: Variables
    integrations: Integrations
    sessions: ConnectSessions
    connections: Connections
    credentials: FreshCredentials
    lifecycle: Lifecycle
    deployments: Deployments
    dry_runs: DryRuns
    operations: Operations
    deliveries: Deliveries
    proxy: Proxy
    #: Browsers that wait for the outcome of a popup.
    popups: Popups
    #: Ask the store for a sign of life; raises StoreUnavailable.
    ping: Callable[[], Awaitable[None]]
    #: The same, and to keep something if it last could not.
    ping_writes: Callable[[], Awaitable[None]]
    #: Whether functions can run here.
    ready: Callable[[], Readiness]
    #: What this server is busy with.
    load: Callable[[], Load]
    #: Count what is still to be done, in every environment.
    backlog: Callable[[], Awaitable[Backlog]]
    #: Set by whoever serves.
    stopping: Stopping
    #: Refuse an address the server itself may not call; raises EgressDenied.
    check_url: Callable[[str], Awaitable[None]]
