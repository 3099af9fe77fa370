"""The only room with keys: seals what is stored, keeps the key file, hashes tokens."""

from carrick.vault.keyfile import KeyFile, changing
from carrick.vault.opening import OpenedVault, open_vault, vault_of
from carrick.vault.seal import KEY_BYTES, Vault, hash_token, header_of, key_id, new_key

__all__ = [
    "KEY_BYTES",
    "KeyFile",
    "OpenedVault",
    "Vault",
    "changing",
    "hash_token",
    "header_of",
    "key_id",
    "new_key",
    "open_vault",
    "vault_of",
]
