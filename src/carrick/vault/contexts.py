"""What each kind of stored secret is bound to: the whole list, so that all can be sealed again.

A secret opens only with the context it was sealed with. What is bound to a row's own values stays
readable for whoever has the row, and `carrick.store.sealed` knows them by the same functions.
"""

from __future__ import annotations


def connection_credentials(credential_set: str) -> str:
    """Return what a connection's credentials are bound to."""
    return f"{credential_set}:credentials"


def integration_secret(credential_set: str, column: str) -> str:
    """Return what one of an integration's encrypted columns is bound to."""
    return f"{credential_set}:{column}"


def variable(environment_id: int, name: str) -> str:
    """Return what an environment variable's value is bound to."""
    return f"variable:{environment_id}:{name}"


def signing_key(environment_uuid: str) -> str:
    """Return what an environment's signing key is bound to."""
    return f"signing:{environment_uuid}"


def hmac_key(environment_uuid: str) -> str:
    """Return what an environment's hmac key is bound to."""
    return f"hmac:{environment_uuid}"


def checkpoint(connection_row_id: int | None, function: str) -> str:
    """Return what a function's checkpoint is bound to."""
    return f"checkpoint:{connection_row_id}:{function}"


def previous(run_id: str) -> str:
    """Return what a run's knowledge of the connection before a reconnect is bound to."""
    return f"previous:{run_id}"


def journal_answer(run_id: str, key: str) -> str:
    """Return what a recorded answer of a provider is bound to."""
    return f"journal:{run_id}:{key}"


def oauth_state(state_hash: str) -> str:
    """Return what a flow is bound to that waits for its browser."""
    return f"oauth_state:{state_hash}"
