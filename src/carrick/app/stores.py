"""The data a server works on: held against a second server, opened with its schema in order."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from carrick.engine import demand_sessions, install_schema
from carrick.errors import StoreInUse, StoreNewer, StoreOutdated
from carrick.model.clock import Clock
from carrick.model.faults import NO_FAULTS, Faults
from carrick.settings import Settings
from carrick.store import environments
from carrick.store.migrate import migrate, schema_state
from carrick.store.opening import open_store, sqlite_url
from carrick.store.unit import Store
from carrick.vault import Vault

#: The file of a data directory that its server holds.
LOCK_NAME = "server.lock"


@contextlib.contextmanager
def only_server(data_dir: Path) -> Iterator[None]:
    """Hold a data directory against a second server.

    Raises:
        StoreInUse: Another server holds it.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data_dir / LOCK_NAME).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreInUse(
                f"Another server is using {data_dir}. One server process per SQLite file: stop it, "
                "choose another CARRICK_DATA_DIR, or use Postgres."
            ) from error
        yield


def is_data_dir(folder: Path) -> bool:
    """Whether a folder is, or was, a server's data directory."""
    return (folder / LOCK_NAME).exists()


def is_served(data_dir: Path) -> bool:
    """Whether a server holds a data directory."""
    try:
        with (data_dir / LOCK_NAME).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextlib.asynccontextmanager
async def opened_store(
    settings: Settings, clock: Clock, *, migrated: bool, faults: Faults = NO_FAULTS
) -> AsyncIterator[Store]:
    """Open the store, with its schema in order.

    Args:
        settings: Where it is.
        clock: What it takes as now.
        migrated: Migrate a Postgres store as well; SQLite is always migrated.
        faults: What happens around commits.

    Raises:
        StoreOutdated: A Postgres schema has to be migrated first.
        StoreNewer: A later version migrated it, and this one would not know what it writes to.
        SettingsInvalid: A pooler in between gives transactions of one connection to several.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    url = settings.database_url or sqlite_url(settings.database_file)
    store = open_store(url, clock, faults)
    await store.start()
    try:
        await demand_sessions(store)
        state = await schema_state(store)
        if state == "newer":
            raise StoreNewer
        if state != "current":
            if store.is_postgres and not migrated:
                raise StoreOutdated(
                    f"The database schema is {state}. Run `carrick migrate`, "
                    "or start with `carrick serve --migrate`."
                )
            await migrate(store)
        if store.is_postgres and migrated:
            await install_schema(store)
        yield store
    finally:
        await store.close()


async def key_in_use(store: Store) -> str | None:
    """Return the id of the key that wrote what is stored; `None` when nothing is yet."""
    sealed = await store.read(environments.signing_keys)
    return Vault.key_of(sealed[-1][1]) if sealed else None
