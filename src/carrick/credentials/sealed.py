"""Credentials as they lie in the store: one sealed JSON object, bound to its credential set."""

from __future__ import annotations

from datetime import datetime

from carrick.errors import CiphertextInvalid
from carrick.model.auth import AuthMode, Credentials
from carrick.vault import Vault


def seal_credentials(vault: Vault, credential_set: str, credentials: Credentials) -> bytes:
    """Encrypt credentials for a credential set; they open for no other."""
    expires_at = credentials.expires_at
    return vault.seal_json(
        {
            "auth_mode": credentials.auth_mode.value,
            "values": dict(credentials.values),
            "expires_at": expires_at.isoformat() if expires_at is not None else None,
        },
        context=_context(credential_set),
    )


def open_credentials(vault: Vault, credential_set: str, ciphertext: bytes) -> Credentials:
    """Decrypt credentials.

    Raises:
        CiphertextInvalid: They belong to another set, or this server lacks the key.
    """
    opened = vault.open_json(ciphertext, context=_context(credential_set))
    try:
        expires_at = opened["expires_at"]
        return Credentials(
            AuthMode(opened["auth_mode"]),
            opened["values"],
            datetime.fromisoformat(expires_at) if expires_at is not None else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CiphertextInvalid("Stored credentials are not in a form this version reads.") from (
            error
        )


def _context(credential_set: str) -> str:
    return f"{credential_set}:credentials"
