"""Connections: reading them, their metadata, and the one place that changes their state."""

from carrick.connections.connections import ConnectionPatch, Connections
from carrick.store.connections import ConnectionFilter

__all__ = ["ConnectionFilter", "ConnectionPatch", "Connections"]
