"""Whether a server would start on the store that is there: what `carrick doctor` asks."""

from __future__ import annotations

from carrick.app.stores import key_in_use
from carrick.engine import demand_sessions
from carrick.errors import KeyMissing, StoreNewer, StoreOutdated
from carrick.model.clock import SystemClock
from carrick.settings import Settings
from carrick.store.migrate import schema_state
from carrick.store.opening import open_store, running, sqlite_url
from carrick.store.unit import Store
from carrick.vault import KeyFile, vault_of


async def look_at_store(settings: Settings) -> str:
    """Read the store as a server that starts does, change nothing, and say how it is.

    Raises:
        CarrickError: No server would start on it; the message says why.
    """
    if settings.database_url is None and not settings.database_file.exists():
        return "none yet: the server makes it when it first starts"
    url = settings.database_url or sqlite_url(settings.database_file)
    async with running(open_store(url, SystemClock())) as store:
        await demand_sessions(store)
        state = await schema_state(store)
        if state == "newer":
            raise StoreNewer
        if state != "current" and store.is_postgres:
            raise StoreOutdated(f"The database schema is {state}. Run `carrick migrate`.")
        if state != "empty":
            await _demand_key(settings, store)
    return "it answers, and its key is here" if state == "current" else "migrated at the next start"


async def _demand_key(settings: Settings, store: Store) -> None:
    path = settings.key_file
    vault = vault_of(settings, KeyFile(path) if store.is_postgres else KeyFile.load(path))
    sealed_with = await key_in_use(store)
    if sealed_with is not None and (vault is None or not vault.has(sealed_with)):
        place = "" if store.is_postgres else f"neither in {path} nor "
        raise KeyMissing(
            f"Its secrets are encrypted with key {sealed_with}, which is {place or 'not '}in "
            "CARRICK_ENCRYPTION_KEY. Bring the key back; no server starts without it."
        )
