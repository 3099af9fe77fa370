"""What the journeys work with: the rooms below, passed in as one value."""

from __future__ import annotations

from dataclasses import dataclass

from carrick.connections import Connections
from carrick.credentials import FreshCredentials
from carrick.deployments import Deployments
from carrick.environments import Environments, Integrations
from carrick.journal import Journal
from carrick.lifecycle.progress import Progress
from carrick.lifecycle.wake import Wake
from carrick.model.clock import Chance, Clock
from carrick.model.connection import Connection
from carrick.model.environment import Environment
from carrick.model.faults import NO_FAULTS, Faults
from carrick.notify import ConnectionFacts, Notifier, facts_of
from carrick.operations import Operations
from carrick.providers import Catalogue
from carrick.proxy import Proxy
from carrick.runtime.calls import CallServices
from carrick.runtime.pool import RunnerPool
from carrick.store.unit import Store
from carrick.vault import Vault


@dataclass(frozen=True)
class Timing:
    """How long journeys wait, in seconds; DESIGN.md §2 gives the values."""

    #: A reconnect for functions of its connection that are running.
    busy_s: float = 20.0
    #: All validation of one journey.
    validation_s: float = 45.0
    #: A DELETE for the first cleanup attempt.
    deletion_s: float = 30.0
    #: A server that is told to stop for functions that are running.
    stop_s: float = 10.0


@dataclass(frozen=True)
class Rooms:
    """Everything a journey may use."""

    store: Store
    vault: Vault
    clock: Clock
    chance: Chance
    catalogue: Catalogue
    environments: Environments
    integrations: Integrations
    connections: Connections
    fresh: FreshCredentials
    deployments: Deployments
    journal: Journal
    operations: Operations
    notifier: Notifier
    proxy: Proxy
    pool: RunnerPool
    calls: CallServices
    wake: Wake
    progress: Progress
    #: This process's name among nodes; holders of leases are named after it.
    node_id: str
    timing: Timing = Timing()
    faults: Faults = NO_FAULTS

    def facts(self, environment: Environment, connection: Connection) -> ConnectionFacts:
        """Return what notifications say about a connection."""
        provider = self.catalogue.find(connection.provider)
        auth_mode = provider.auth_mode.value if provider is not None else "unknown"
        return facts_of(environment, connection, auth_mode)
