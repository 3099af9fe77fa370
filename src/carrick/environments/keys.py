"""API keys: made once, shown once, stored as a hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carrick.errors import InvalidBody, NotFound, ResourceCapped
from carrick.model.clock import Chance, Clock
from carrick.model.environment import ApiKey
from carrick.store import environments as table
from carrick.store.environments import KeyHolder
from carrick.store.unit import Store, Tx
from carrick.vault import hash_token

DEFAULT_KEY_NAME = "Default - Full access"
FULL_ACCESS = "environment:*"
_MOST_KEYS = 50
_MOST_RECENT = 4096
#: How long a deleted key may still open the door of another node.
_TTL_S = 5.0


@dataclass(frozen=True)
class _Known:
    holder: KeyHolder
    until: float


class RecentKeys:
    """API keys that were looked up a moment ago, so that not every request asks the store."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, _Known] = {}
        #: Counts `forget`: a lookup that began before one must not be remembered after it.
        self.version = 0

    def get(self, hashed: str) -> KeyHolder | None:
        """Return whose key it is, if that was looked up within the last seconds."""
        known = self._known.get(hashed)
        if known is None:
            return None
        if known.until <= self._clock.monotonic():
            del self._known[hashed]
            return None
        return known.holder

    def put(self, hashed: str, holder: KeyHolder, *, version: int) -> None:
        """Remember a lookup that began at that version."""
        if version != self.version:
            return
        if len(self._known) >= _MOST_RECENT:
            self._known.clear()
        self._known[hashed] = _Known(holder, self._clock.monotonic() + _TTL_S)

    def forget(self) -> None:
        """Forget everything: a key or an environment has changed."""
        self.version += 1
        self._known.clear()


class ApiKeys:
    """The API keys of environments."""

    def __init__(self, store: Store, chance: Chance, recent: RecentKeys) -> None:
        self._store = store
        self._chance = chance
        self._recent = recent

    async def create(
        self, environment_id: int, display_name: str, scopes: Sequence[str]
    ) -> tuple[ApiKey, str]:
        """Make a key and return it with its text, which is not kept.

        Raises:
            InvalidBody: The key would have no name or open nothing.
            Conflict: There is a key of that name.
            ResourceCapped: The environment has as many keys as it may have.
        """
        if not display_name or not scopes:
            raise InvalidBody("An API key needs a display name and at least one scope.")
        plain = self._chance.uuid4()

        async def unit(tx: Tx) -> ApiKey:
            if await table.count_api_keys(tx, environment_id) >= _MOST_KEYS:
                raise ResourceCapped(f"An environment may have {_MOST_KEYS} API keys.")
            hashed = hash_token(plain)
            return await table.insert_api_key(tx, environment_id, display_name, hashed, scopes)

        return await self._store.write(unit), plain

    async def list(self, environment_id: int) -> Sequence[ApiKey]:
        """Return an environment's keys, oldest first, without their text."""

        async def unit(tx: Tx) -> list[ApiKey]:
            return await table.list_api_keys(tx, environment_id)

        return await self._store.read(unit)

    async def delete(self, environment_id: int, row_id: int) -> None:
        """Delete a key: at once on this node, within five seconds on every other.

        Raises:
            NotFound: The environment has no such key.
        """

        async def unit(tx: Tx) -> None:
            if not await table.delete_api_key(tx, environment_id, row_id):
                raise NotFound("There is no such API key.")
            tx.after_commit(self._recent.forget)

        await self._store.write(unit)
