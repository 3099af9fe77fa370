"""Copies of the embedded store: one whole SQLite file, as it was at one moment, and back.

A copy is made through SQLite itself, so a server may write meanwhile. Everything here blocks and
belongs into a thread or into a command of its own.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import LargeBinary

from carrick.errors import BackupInvalid
from carrick.store.migrate import revisions
from carrick.store.tables import bundles, metadata

#: Pages copied before others get a turn at the file: 4 MiB.
_PAGES = 1024
_REST_S = 0.001
#: What SQLite keeps beside a file, under its name.
_LOGS = ("-wal", "-journal", "-shm")
#: Sealed values looked at in each column.
_SAMPLE = 20


@dataclass(frozen=True)
class Snapshot:
    """What a copy holds."""

    path: Path
    revision: str
    environments: int
    connections: int
    #: A few values of every encrypted column.
    sealed: tuple[bytes, ...]


def take(source: Path, target: Path) -> Snapshot:
    """Copy a database file that may be in use, and look at the copy.

    The copy appears under its name only when it is whole and on disk.

    Raises:
        BackupInvalid: The source is damaged, or there is no room for a copy.
    """
    # Not named by the process: one that was killed may have had the same number.
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}")
    try:
        with _faults_told(source):
            beside.touch(0o600, exist_ok=False)  # says why it cannot be made, unlike SQLite
            with _opened(source) as original, _opened(beside) as copy:
                original.backup(copy, pages=_PAGES, sleep=_REST_S)
                copy.execute("PRAGMA journal_mode=DELETE")  # one file, without others beside it
            snapshot = inspect(beside)
            _sync(beside)
            beside.replace(target)
            _sync(target.parent)
    finally:
        beside.unlink(missing_ok=True)
    return Snapshot(
        target, snapshot.revision, snapshot.environments, snapshot.connections, snapshot.sealed
    )


def inspect(path: Path) -> Snapshot:
    """Read a copy from end to end.

    Raises:
        BackupInvalid: It is damaged, is not Carrick's, or is of a later version.
    """
    if not path.is_file():
        raise BackupInvalid(f"There is no file {path}.")
    with _faults_told(path), _opened(path) as database:
        said = [row[0] for row in database.execute("PRAGMA integrity_check(5)")]
        if said != ["ok"]:
            raise BackupInvalid(f"{path} is damaged: {'; '.join(said)}")
        names = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
        if "alembic_version" not in names or "connections" not in names:
            raise BackupInvalid(f"{path} is a SQLite file, but not one of Carrick's.")
        row = database.execute("SELECT version_num FROM alembic_version").fetchone()
        if row is None:
            raise BackupInvalid(f"{path} has tables of Carrick's, but no schema version.")
        revision = str(row[0])
        if revision not in revisions():
            raise BackupInvalid(
                f"{path} was written by a later version of Carrick (schema {revision}). "
                "Restore it with that version."
            )
        return Snapshot(
            path,
            revision,
            _count(database, "environments"),
            _count(database, "connections"),
            tuple(_sealed(database)),
        )


def put_in_place(source: Path, target: Path, *, kept_as: Path) -> Path | None:
    """Make a copy the database file, in one step; return what was there before, if anything.

    Args:
        source: A copy that was looked at.
        target: The database file; nobody may be using it.
        kept_as: Where the present one goes, or what is left of it.
    """
    arriving = target.with_name(f"{target.name}.arriving")
    with _faults_told(target):
        for left in (arriving, arriving.with_name(f"{arriving.name}-journal")):
            left.unlink(missing_ok=True)  # by one that was killed
        arriving.touch(0o600)  # says why it cannot be made, unlike SQLite
        with _opened(source) as original, _opened(arriving) as copy:
            original.backup(copy)
        arriving.chmod(0o600)
        _sync(arriving)
        kept = _lay_aside(target, kept_as)
        arriving.replace(target)
        _sync(target.parent)
    return kept


def _lay_aside(target: Path, kept_as: Path) -> Path | None:
    """Keep the present database under another name, with what its log still holds.

    A log whose database is gone is kept as well: SQLite would play it into the next file of that
    name, whichever that is.
    """
    kept = []
    if target.exists():
        with contextlib.suppress(sqlite3.DatabaseError), _opened(target) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.execute("PRAGMA journal_mode=DELETE")
        os.link(target, kept_as)
        kept.append(kept_as)
    for suffix in _LOGS:  # left where the file was too damaged to be tidied, or is not there
        with contextlib.suppress(FileNotFoundError):
            moved = kept_as.with_name(kept_as.name + suffix)
            target.with_name(target.name + suffix).rename(moved)
            kept.append(moved)
    return kept[0] if kept else None


def _sealed(database: sqlite3.Connection) -> Iterator[bytes]:
    """Yield a few values of each encrypted column; bundles are code, and not encrypted."""
    there = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
    for table in metadata.sorted_tables:
        if table is bundles or table.name not in there:
            continue
        present = {row[1] for row in database.execute(f'PRAGMA table_info("{table.name}")')}
        for column in table.columns:
            if not isinstance(column.type, LargeBinary) or column.name not in present:
                continue
            rows = database.execute(
                f'SELECT "{column.name}" FROM "{table.name}" '  # noqa: S608 - names of our own
                f'WHERE "{column.name}" IS NOT NULL ORDER BY rowid DESC LIMIT {_SAMPLE}'
            )
            yield from (row[0] for row in rows)


def _count(database: sqlite3.Connection, table: str) -> int:
    return int(database.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])  # noqa: S608


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(path, isolation_level=None, timeout=30)
    try:
        yield database
    finally:
        database.close()


@contextlib.contextmanager
def _faults_told(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise BackupInvalid("There is not enough room on the disk for a copy.") from error
        raise BackupInvalid(f"{path} cannot be read: {error}") from error
    except OSError as error:
        named = error.filename or path
        raise BackupInvalid(f"{named}: {error.strerror or error}.") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
