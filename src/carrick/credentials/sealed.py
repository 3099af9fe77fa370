"""Credentials as they lie in the store: one sealed JSON object, bound to its credential set."""

from __future__ import annotations

from datetime import datetime

from carrick.errors import CiphertextInvalid
from carrick.model.auth import AuthMode, Credentials
from carrick.store.refresh import RefreshRow
from carrick.vault import Vault, contexts


def seal_credentials(vault: Vault, credential_set: str, credentials: Credentials) -> bytes:
    """Encrypt credentials for a credential set; they open for no other."""
    expires_at = credentials.expires_at
    return vault.seal_json(
        {
            "auth_mode": credentials.auth_mode.value,
            "values": dict(credentials.values),
            "expires_at": expires_at.isoformat() if expires_at is not None else None,
        },
        context=contexts.connection_credentials(credential_set),
    )


def open_credentials(vault: Vault, credential_set: str, ciphertext: bytes) -> Credentials:
    """Decrypt credentials.

    Raises:
        CiphertextInvalid: They belong to another set, or this server lacks the key.
    """
    opened = vault.open_json(ciphertext, context=contexts.connection_credentials(credential_set))
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


def is_unreplaced(vault: Vault, seen: RefreshRow, current: RefreshRow) -> bool:
    """Whether a connection's credentials are still those that were seen.

    The same ciphertext proves it, since every sealing gives another. So does the same content of
    the same set under another key: then only `carrick keys rotate` was there in between.
    """
    if seen.credentials == current.credentials:
        return True
    if seen.credentials is None or current.credentials is None:
        return False
    if seen.credential_set != current.credential_set:
        return False
    if vault.key_of(seen.credentials) == vault.key_of(current.credentials):
        return False
    context = contexts.connection_credentials(seen.credential_set)
    was, now = (vault.open(one, context=context) for one in (seen.credentials, current.credentials))
    return was == now
