"""The database, its schema, and backups of it."""

from __future__ import annotations

from carrick.errors.base import CarrickError, NotNow


class StoreInUse(CarrickError):
    """Another server is using this data directory. One server process per SQLite file."""

    code = "store_in_use"


class BackupInvalid(CarrickError):
    """This backup cannot be used."""

    code = "backup_invalid"


class StoreOutdated(CarrickError):
    """The database schema is older than this version. Run `carrick migrate`."""

    code = "store_outdated"


class StoreNewer(CarrickError):
    """The database was written by a later version of Carrick. Start that version on it."""

    code = "store_newer"


class StoreUnavailable(NotNow):
    """The database does not answer."""

    code = "store_unavailable"


class StoreFull(StoreUnavailable):
    """The disk of the database is full, so nothing can be written. Make room; no restart needed."""

    code = "store_full"


class StoreGone(StoreUnavailable):
    """The database file was removed or replaced while the server is running."""

    code = "store_gone"


class StoreDamaged(StoreUnavailable):
    """The database file is damaged. Keep it aside and `carrick restore` a backup."""

    code = "store_damaged"
    retryable = False
