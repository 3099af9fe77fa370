"""Backing the embedded store up, and restoring it: what `carrick backup` and `restore` do."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from carrick.app.stores import LOCK_NAME, is_data_dir, only_server
from carrick.errors import BackupInvalid, CiphertextInvalid, SettingsInvalid
from carrick.settings import DATABASE_NAME, KEY_FILE_NAME, Settings
from carrick.store import snapshot
from carrick.store.snapshot import Snapshot
from carrick.vault import KeyFile, Vault, vault_of

#: What a data directory holds under names of ours; a copy in their place would be the end of it.
_OF_A_SERVER = frozenset(
    {DATABASE_NAME, f"{DATABASE_NAME}-wal", f"{DATABASE_NAME}-shm", KEY_FILE_NAME, LOCK_NAME}
)


@dataclass(frozen=True)
class Restored:
    """What was restored."""

    snapshot: Snapshot
    #: Where the database that was there before is now, or what was left of one.
    kept_as: Path | None


def back_up(settings: Settings, target: Path, *, with_keys: bool, force: bool = False) -> Snapshot:
    """Copy the database of a data directory, which a server may be using.

    Args:
        settings: Name the data directory.
        target: The file to make.
        with_keys: Copy the key file as well, to `<target>.keys.toml`.
        force: Whether a copy that is there may be replaced, and keys beside it.

    Raises:
        SettingsInvalid: There is no embedded store, or the copy cannot lie there.
        BackupInvalid: The database is damaged.
    """
    source = _embedded(settings) / DATABASE_NAME
    if not source.is_file():
        raise SettingsInvalid(f"There is no database in {source.parent.absolute()} to back up.")
    for made in (target, keys_beside(target)) if with_keys else (target,):
        _demand_place(source.parent, made, force=force)
    keys = KeyFile.load(source.parent / KEY_FILE_NAME) if with_keys else None
    if keys is not None and not keys.encryption_keys:
        raise SettingsInvalid(
            f"There is no encryption key in {keys.path}: it comes from CARRICK_ENCRYPTION_KEY. "
            "Keep that, and leave --with-keys out."
        )
    taken = snapshot.take(source, target)
    if keys is not None:
        keys.path = keys_beside(target)
        keys.save()
    return taken


def restore(
    settings: Settings, source: Path, *, keys: Path | None, force: bool, now: datetime
) -> Restored:
    """Make a copy the database of a data directory.

    Args:
        settings: Name the data directory.
        source: The copy.
        keys: A key file to restore with it.
        force: Whether a database that is there may be replaced; it is kept under another name.
        now: The present moment.

    Raises:
        StoreInUse: A server is using the directory.
        BackupInvalid: The copy is damaged, or cannot be read with the keys that are there.
        SettingsInvalid: There is a database already, or no embedded store.
    """
    directory = _embedded(settings)
    with only_server(directory):
        target = directory / DATABASE_NAME
        if target.exists() and not force:
            raise SettingsInvalid(
                f"There is a database in {directory.absolute()} already. --force replaces it "
                "and keeps it under another name; --data-dir names another directory."
            )
        found = snapshot.inspect(source)
        keyfile = KeyFile.load(settings.key_file)
        if keys is not None:
            _add_keys(keyfile, keys)
        _demand_keys(settings, keyfile, found)
        if keys is not None:  # and not before: keys that open nothing here are not taken over
            _save(keyfile)
        kept_as = target.with_name(f"{DATABASE_NAME}.before-{now:%Y%m%dT%H%M%S}")
        return Restored(found, snapshot.put_in_place(source, target, kept_as=kept_as))


def keys_beside(backup: Path) -> Path:
    """Return where the keys of a backup lie when they were copied with it."""
    return backup.with_name(f"{backup.name}.keys.toml")


def _demand_place(directory: Path, made: Path, *, force: bool) -> None:
    """Make sure that a file may be made there: never in place of what a server lives on.

    Raises:
        SettingsInvalid: It may not.
    """
    if made.is_dir():
        raise SettingsInvalid(f"{made} is a folder. Name a file in it.")
    if not made.parent.is_dir():
        raise SettingsInvalid(f"There is no folder {made.parent}.")
    of_a_server = made.parent.resolve() == directory.resolve() or is_data_dir(made.parent)
    if of_a_server and made.name in _OF_A_SERVER:
        raise SettingsInvalid(f"{made} is what a server works with. Name another file.")
    if made.exists() and not made.is_file():  # a device, say: it would be gone for everybody
        raise SettingsInvalid(f"{made} is not a file that can be replaced. Name another one.")
    if made.exists() and not force:
        raise SettingsInvalid(f"{made} exists. Name another file, or pass --force.")


def _embedded(settings: Settings) -> Path:
    if settings.database_url is not None:
        raise SettingsInvalid(
            "CARRICK_DATABASE_URL names a Postgres database: back it up with pg_dump, restore it "
            "with pg_restore, and keep CARRICK_ENCRYPTION_KEY."
        )
    return settings.data_dir


def _add_keys(present: KeyFile, keys: Path) -> None:
    """Take a backup's keys over; keys that are there already stay, to read what they encrypted."""
    if not keys.is_file():
        raise SettingsInvalid(f"There is no key file {keys}.")
    given = KeyFile.load(keys)
    if not given.encryption_keys:
        raise SettingsInvalid(f"{keys} is not a key file: there is no encryption key in it.")
    present.encryption_keys = {**present.encryption_keys, **given.encryption_keys}
    present.secret_keys = {**present.secret_keys, **given.secret_keys}
    # A key that was rotated in here since stays the one that new secrets are to have.
    present.active = present.active or given.active


def _save(keyfile: KeyFile) -> None:
    if keyfile.path.exists():
        shutil.copy2(keyfile.path, keyfile.path.with_name(f"{KEY_FILE_NAME}.before"))
    keyfile.save()


def _demand_keys(settings: Settings, keyfile: KeyFile, found: Snapshot) -> None:
    """Make sure that what the copy holds encrypted can be decrypted here.

    Raises:
        BackupInvalid: A key is missing; the message names it.
    """
    vault = vault_of(settings, keyfile)
    for sealed in found.sealed:
        try:
            name = Vault.key_of(sealed)
        except CiphertextInvalid as error:
            raise BackupInvalid(f"{found.path} holds a secret that is damaged.") from error
        if vault is None or not vault.has(name):
            raise BackupInvalid(
                f"{found.path} is encrypted with key {name}, which is neither in "
                f"{settings.key_file} nor in CARRICK_ENCRYPTION_KEY. "
                "Pass the key file that was kept with it: --keys FILE."
            )
