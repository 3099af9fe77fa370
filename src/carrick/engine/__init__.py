"""Carries wake-ups: from the transaction that writes an event to the node that runs it.

The truth stays in the mailboxes of the store. An engine only says "look at this connection now";
a wake-up that is lost or doubled changes nothing, because a sweep looks at every mailbox that has
something due. This is the only room that knows PgQueuer.
"""

from carrick.engine.embedded import EmbeddedEngine
from carrick.engine.pooler import demand_sessions
from carrick.engine.postgres import PostgresEngine
from carrick.engine.schema import install_schema, schema_is_installed
from carrick.engine.sweep import Drain, Due

__all__ = [
    "Drain",
    "Due",
    "EmbeddedEngine",
    "PostgresEngine",
    "demand_sessions",
    "install_schema",
    "schema_is_installed",
]
