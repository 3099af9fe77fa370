"""What a database's errors mean to whoever asked: gone, full, damaged, or a mistake of ours."""

from __future__ import annotations

import errno
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from carrick.errors import StoreDamaged, StoreFull, StoreGone, StoreUnavailable

#: What says something of the database, and not of what was asked.
OF_THE_DATABASE = (DBAPIError, PoolTimeoutError, OSError, StoreUnavailable)
#: What SQLite says of a file that is not, or no longer, a sound database.
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
#: SQLSTATE classes, and single states, in which Postgres cannot do what is right to ask: lost
#: connections, used up resources, a person's intervention, a broken machine, a lock that is held.
_AWAY = ("08", "53", "57", "58", "XX", "55P03")
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
_PG_FULL = "53100"
_LONGEST = 200


def meaning_of(error: BaseException) -> BaseException:
    """Return what a driver's error means to callers: itself, when a statement of ours is to blame.

    Every error of a file or of a connection is one of the database.
    """
    if not isinstance(error, DBAPIError):
        return unavailable(error)
    is_away = isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
    if is_away or _is_damage(error) or (sqlstate(error) or "").startswith(_AWAY):
        return unavailable(error)
    return error


def unavailable(error: BaseException) -> StoreUnavailable:
    """Return an error that says what ails the database and, where it is known, what to do."""
    if isinstance(error, StoreUnavailable):
        return error
    found = _found(error)
    found.__cause__ = error
    return found


def _found(error: BaseException) -> StoreUnavailable:
    cause = getattr(error, "orig", None) or error
    reason = str(cause).strip() or type(cause).__name__  # a timeout, for one, says nothing
    said = reason.splitlines()[0][:_LONGEST]
    if _is_damage(error):
        return StoreDamaged(
            f"The database file is damaged ({said}). Stop the server, keep the file aside, and "
            "`carrick restore` a backup."
        )
    if _has_no_descriptors(error):
        return StoreUnavailable(
            "The database does not answer: this process has too many open files. Raise its limit "
            "(`ulimit -n`), or lower the number of connections to it."
        )
    if isinstance(error, PoolTimeoutError):
        return StoreUnavailable("The database does not answer: all connections to it are in use.")
    if _sqlite_code(error) == sqlite3.SQLITE_FULL or sqlstate(error) == _PG_FULL:
        return StoreFull()
    return StoreUnavailable(f"The database does not answer: {said}")


def sqlstate(error: BaseException) -> str | None:
    """Return Postgres's code of an error."""
    return getattr(getattr(error, "orig", None), "sqlstate", None)


@dataclass
class DatabaseFile:
    """The file a SQLite store writes to, and whether it still is the one under that name.

    A file that is deleted while it is open goes on taking writes, which end with the process.
    """

    path: Path
    _identity: tuple[int, int] | None = None

    def demand(self) -> None:
        """Make sure that what is written can be found again.

        Raises:
            StoreGone: There is no such file any more, or another one.
        """
        try:
            found = self.path.stat()
        except OSError as error:
            if self._identity is None:
                return  # the first connection makes it
            raise self._gone() from error
        if self._identity is None:
            self._identity = (found.st_dev, found.st_ino)
        elif self._identity != (found.st_dev, found.st_ino):
            raise self._gone()

    def _gone(self) -> StoreGone:
        return StoreGone(
            f"The database file {self.path} was removed or replaced while the server is running. "
            "Nothing is read or written until it is back. Put it back, or stop the server and "
            "`carrick restore` a backup."
        )


def _has_no_descriptors(error: BaseException) -> bool:
    """Whether a file or a connection could not be opened because too many are open.

    SQLite does not say so: it has to be tried.
    """
    if isinstance(error, OSError):
        return error.errno in _NO_DESCRIPTORS
    if _sqlite_code(error) != sqlite3.SQLITE_CANTOPEN:
        return False
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as found:
        return found.errno in _NO_DESCRIPTORS
    return False


def _is_damage(error: BaseException) -> bool:
    return _sqlite_code(error) in _DAMAGE


def _sqlite_code(error: BaseException) -> int:
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0)
    return code & 0xFF if isinstance(code, int) else 0  # the low byte; the others say more of it
