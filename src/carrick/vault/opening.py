"""Where the vault's keys come from at start: `CARRICK_ENCRYPTION_KEY`, else the key file."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from carrick.errors import KeyMissing, SettingsInvalid
from carrick.settings import KEY_FILE_NAME, Settings
from carrick.vault.keyfile import KeyFile
from carrick.vault.seal import KEY_BYTES, Vault, key_id

_HOW = "Make one with: openssl rand -base64 32"


@dataclass(frozen=True)
class OpenedVault:
    """The vault, the key file beside the database (SQLite only), and whether a key was made."""

    vault: Vault
    keyfile: KeyFile | None
    created: bool


def open_vault(
    settings: Settings, *, is_postgres: bool, sealed_with: str | None = None
) -> OpenedVault:
    """Find the encryption keys, or make one on the first start of an embedded server.

    `CARRICK_ENCRYPTION_KEY` may hold several keys separated by commas: the first encrypts, the
    others only decrypt what was written before it was put in front.

    Args:
        settings: Hold the key, or name the data directory.
        is_postgres: Whether the store is a Postgres database.
        sealed_with: The id of the key that wrote what is in the store already. A new key would be
            of no use there, and would look as if all were well.

    Raises:
        KeyMissing: No key is given, and the store is Postgres or holds secrets already.
        SettingsInvalid: A key is not 32 bytes of base64; the message says how to make one.
    """
    given = _given_keys(settings)
    if is_postgres:
        if not given:
            raise KeyMissing(f"{(KeyMissing.__doc__ or '').strip()} {_HOW}")
        return OpenedVault(Vault(given, next(iter(given))), None, created=False)
    keyfile = KeyFile.load(settings.key_file)
    created = False
    if not given and keyfile.active is None and sealed_with is not None:
        raise KeyMissing(
            f"The database holds secrets that were encrypted with key {sealed_with}, and there is "
            f"no key in {keyfile.path}. No new one was made. Put back the {KEY_FILE_NAME} that "
            "belongs to this database, or set CARRICK_ENCRYPTION_KEY to its key."
        )
    if not given and keyfile.active is None:
        keyfile.add_encryption_key()
        keyfile.save()
        created = True
    vault = vault_of(settings, keyfile)
    assert vault is not None
    return OpenedVault(vault, keyfile, created)


def vault_of(settings: Settings, keyfile: KeyFile) -> Vault | None:
    """Return a vault with the keys of the settings and of a key file; `None` without any.

    Raises:
        SettingsInvalid: A key is not 32 bytes of base64.
    """
    given = _given_keys(settings)
    active = next(iter(given), keyfile.active)
    if active is None:
        return None
    return Vault({**keyfile.encryption_keys, **given}, active)


def _given_keys(settings: Settings) -> dict[str, bytes]:
    if settings.encryption_key is None:
        return {}
    texts = settings.encryption_key.get_secret_value().split(",")
    keys = [_decode(text.strip()) for text in texts if text.strip()]
    return {key_id(key): key for key in keys}


def _decode(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SettingsInvalid(f"CARRICK_ENCRYPTION_KEY is not valid base64. {_HOW}") from error
    if len(key) != KEY_BYTES:
        raise SettingsInvalid(
            f"CARRICK_ENCRYPTION_KEY holds {len(key)} bytes and must hold {KEY_BYTES}. {_HOW}"
        )
    return key
