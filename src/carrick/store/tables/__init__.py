"""Every table, in files as the repositories are. Names are the vocabulary's; times are UTC."""

from carrick.store.tables.columns import UtcDateTime, metadata
from carrick.store.tables.connection import checkpoints, connections, function_locks
from carrick.store.tables.deployment import bundles, deployed_functions, deployments
from carrick.store.tables.end_user import connect_sessions, end_users, oauth_states
from carrick.store.tables.environment import (
    api_keys,
    environment_variables,
    environments,
    imported_providers,
    integrations,
    provider_imports,
)
from carrick.store.tables.event import journal_entries, lifecycle_events
from carrick.store.tables.fact import store_facts
from carrick.store.tables.notification import notification_attempts, notifications
from carrick.store.tables.operation import operation_messages, operations

__all__ = [
    "UtcDateTime",
    "api_keys",
    "bundles",
    "checkpoints",
    "connect_sessions",
    "connections",
    "deployed_functions",
    "deployments",
    "end_users",
    "environment_variables",
    "environments",
    "function_locks",
    "imported_providers",
    "integrations",
    "journal_entries",
    "lifecycle_events",
    "metadata",
    "notification_attempts",
    "notifications",
    "oauth_states",
    "operation_messages",
    "operations",
    "provider_imports",
    "store_facts",
]
