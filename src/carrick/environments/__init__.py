"""Environments and what stands in them: keys, variables, integrations, connect sessions."""

from carrick.environments.defaults import DEFAULT_ENVIRONMENTS
from carrick.environments.environments import CreatedEnvironment, Environments, Principal
from carrick.environments.integrations import IntegrationChanges, Integrations, NewIntegration
from carrick.environments.keys import DEFAULT_KEY_NAME, FULL_ACCESS, ApiKeys, RecentKeys
from carrick.environments.names import SCOPE, of_no_environment, setting_for
from carrick.environments.provider_imports import ProviderImports
from carrick.environments.sessions import ConnectSessions, NewSession, session_tags
from carrick.environments.variables import Variables

__all__ = [
    "DEFAULT_ENVIRONMENTS",
    "DEFAULT_KEY_NAME",
    "FULL_ACCESS",
    "SCOPE",
    "ApiKeys",
    "ConnectSessions",
    "CreatedEnvironment",
    "Environments",
    "IntegrationChanges",
    "Integrations",
    "NewIntegration",
    "NewSession",
    "Principal",
    "ProviderImports",
    "RecentKeys",
    "Variables",
    "of_no_environment",
    "session_tags",
    "setting_for",
]
