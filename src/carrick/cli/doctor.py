"""`carrick doctor`: is this machine in order?"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from carrick.cli.access import JsonOption

if TYPE_CHECKING:
    from carrick.settings import Settings


#: Bytes that a server needs on its disk to go on for long.
_ROOM = 32 * 2**20


@dataclass(frozen=True)
class Finding:
    """What was found out about one thing."""

    what: str
    #: `ok`, `note` (works, but could be better) or `bad`.
    state: str
    message: str


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(as_json: JsonOption = False) -> None:
    """Look at Python, SQLite, isolation, the data directory, the database and the server."""
    from carrick.cli.access import settings
    from carrick.cli.output import print_json, print_table, styled

    given = settings()
    findings = [
        _python(),
        _sqlite(),
        _pip(),
        asyncio.run(_isolation(given)),
        _data_dir(given.data_dir),
        _keys(given),
        asyncio.run(_database(given)),
        asyncio.run(_server(given)),
    ]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        styles = {"ok": "green", "note": "yellow", "bad": "red"}
        rows: list[tuple[Any, ...]] = [
            (finding.what, styled(finding.state, styles[finding.state]), finding.message)
            for finding in findings
        ]
        print_table(("", "", ""), rows, empty="")
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(1)


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("python", "ok", f"{version} ({sys.executable})")


def _sqlite() -> Finding:
    import sqlite3

    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < (3, 35):
        return Finding("sqlite", "bad", f"{version}: Carrick needs 3.35 or newer, or Postgres")
    return Finding("sqlite", "ok", version)


def _pip() -> Finding:
    from importlib.util import find_spec

    if find_spec("pip") is None:
        return Finding("pip", "note", "missing: projects with dependencies cannot be deployed here")
    return Finding("pip", "ok", "installs what projects depend on")


async def _isolation(given: Settings) -> Finding:
    from carrick.errors import SettingsInvalid
    from carrick.runtime.isolation import choose_isolation

    try:
        chosen = await choose_isolation(given.isolation)
    except SettingsInvalid as error:
        return Finding("isolation", "bad", error.message)
    return Finding("isolation", "note" if chosen.is_direct else "ok", chosen.report)


def _data_dir(path: Path) -> Finding:
    import shutil

    from carrick.settings import DATABASE_NAME

    place = path.absolute()
    if not place.exists():
        parent = next(folder for folder in place.parents if folder.exists())
        if os.access(parent, os.W_OK):
            return Finding("data directory", "ok", f"{place} is made when the server starts")
        return Finding("data directory", "bad", f"{place} cannot be made: {parent} is read-only")
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return Finding("data directory", "bad", f"{place} cannot be written to")
    for file in place.glob(f"{DATABASE_NAME}*"):
        if not os.access(file, os.R_OK | os.W_OK):
            return Finding("data directory", "bad", f"{file} cannot be written to")
    if (free := shutil.disk_usage(place).free) < _ROOM:
        left = f"{free // 2**20} MiB are left on the disk of {place}: make room"
        return Finding("data directory", "bad", left)
    return Finding("data directory", "ok", str(place))


def _keys(given: Settings) -> Finding:
    from carrick.errors import SettingsInvalid
    from carrick.vault import KeyFile

    path = given.key_file.absolute()
    try:
        if path.exists():
            if path.stat().st_mode & 0o077:
                return Finding("keys", "bad", f"others can read {path}: chmod 600 it")
            KeyFile.load(path)
            return Finding("keys", "ok", str(path))
    except OSError as error:
        return Finding("keys", "bad", f"{path} cannot be read: {error.strerror}")
    except SettingsInvalid as error:
        return Finding("keys", "bad", error.message)
    if given.secret_keys:
        return Finding("keys", "ok", "API keys come from CARRICK_SECRET_KEY_<ENVIRONMENT>")
    return Finding("keys", "note", "none yet: the server makes them when it first starts")


async def _database(given: Settings) -> Finding:
    from carrick.app.checkup import look_at_store
    from carrick.errors import CarrickError

    try:
        with _without_logs():  # what they would say is told here
            return Finding("database", "ok", await look_at_store(given))
    except CarrickError as error:
        return Finding("database", "bad", error.message)
    except OSError as error:
        named = error.filename or given.data_dir
        return Finding("database", "bad", f"{named}: {error.strerror}")


@contextlib.contextmanager
def _without_logs() -> Iterator[None]:
    import logging

    import structlog

    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


async def _server(given: Settings) -> Finding:
    from carrick.cli.access import server_url
    from carrick.client import ApiError, Client, ServerUnreachable

    url = server_url(given)
    async with Client(url) as client:
        try:
            await client.health()
        except ServerUnreachable:
            return Finding("server", "note", f"none answers at {url}: `carrick serve` starts one")
        except ApiError as error:
            return Finding("server", "bad", f"{url}: {error.message}")
    return Finding("server", "ok", f"{url} is ready to run functions")
