"""The encryption keys of a running server: which it has, and which of them seals.

Which key seals is a fact of the store, so that nodes agree on it. A server says which keys it has
when it starts and whenever that changes; `carrick keys rotate` waits until all have the new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform

import structlog

from carrick.errors import CarrickError, KeyLacking, SettingsInvalid, StoreUnavailable
from carrick.model.clock import Clock
from carrick.store import environments, key_use
from carrick.store.unit import Store, Tx
from carrick.vault import KeyFile, OpenedVault, Vault

#: Seconds between two looks at which key seals.
_LOOK_S = 1.0
#: Seconds a database gets to hear that a server has ended.
_LEAVING_S = 1.0
#: Seconds after which a node of several says again that it is there.
_SAY_S = 15.0

_log = structlog.get_logger("carrick")


class Keyring:
    """A server's keys, kept in step with its key file and with the other nodes."""

    def __init__(self, store: Store, opened: OpenedVault, clock: Clock, node_id: str) -> None:
        self._store = store
        self._vault = opened.vault
        self._keyfile = opened.keyfile
        self._clock = clock
        self._node_id = node_id
        # The file may have changed since the vault was opened: the first look reads it.
        self._version: tuple[int, int] | None = None
        self._said_at = 0.0
        self._lacking: str | None = None

    async def join(self) -> None:
        """Say which keys this server has, and seal with the one that all seal with.

        Raises:
            KeyLacking: It does not have all keys that are in use.
        """
        try:
            await self._store.write(self._join_in)
        except KeyLacking:
            # `carrick keys rotate` may have made it since this start read the file.
            if not self._learn():
                raise
            await self._store.write(self._join_in)
        self._said_at = self._clock.monotonic()

    async def run(self) -> None:
        """Take up new keys, and seal with the one that all seal with, until cancelled."""
        while True:
            await self._clock.sleep(_LOOK_S)
            with contextlib.suppress(StoreUnavailable):  # nothing can be sealed for it either
                await self.look()

    async def look(self) -> None:
        """Take up what has changed.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        is_news = self._learn()
        sealing = await self._store.read(key_use.sealing_key) or self._vault.active
        if not self._vault.has(sealing):
            self._miss(sealing)
            sealing = self._vault.active
        former = self._vault.active if sealing != self._vault.active else None
        if former is not None:
            self._vault.seal_with(sealing)
            _log.info("encryption_key_changed", key=sealing, former=former)
        now = self._clock.monotonic()
        is_due = self._store.is_postgres and now - self._said_at >= _SAY_S
        if is_news or former is not None or is_due:
            await self._store.write(lambda tx: self._announce(tx, former))
            self._said_at = now

    async def leave(self) -> None:
        """Say that this server has ended."""
        # A database that is silent must not hold up an end: it forgets this server in a minute.
        with contextlib.suppress(CarrickError, TimeoutError):
            async with asyncio.timeout(_LEAVING_S):
                await self._store.write(lambda tx: key_use.leave(tx, self._node_id))

    async def _join_in(self, tx: Tx) -> None:
        await key_use.sweep(tx, all_nodes=not tx.is_postgres)
        self._vault.seal_with(await settled_key(tx, self._vault))
        await self._announce(tx)

    async def _announce(self, tx: Tx, former: str | None = None) -> None:
        if former is not None:
            await key_use.note_used(tx, former)
        await key_use.announce(
            tx,
            self._node_id,
            host=platform.node(),
            known=self._vault.known,
            sealing=self._vault.active,
        )

    def _learn(self) -> bool:
        """Take up keys that were added to the key file; say whether there were any."""
        if self._keyfile is None or self._version == self._file_version():
            return False
        self._version = self._file_version()
        try:
            found = KeyFile.load(self._keyfile.path).encryption_keys
        except SettingsInvalid as error:  # somebody is editing it; the next version may be whole
            _log.warning("key_file_not_read", reason=error.message)
            return False
        new = {name: key for name, key in found.items() if not self._vault.has(name)}
        self._vault.learn(new)
        return bool(new)

    def _miss(self, key: str) -> None:
        if key != self._lacking:
            self._lacking = key
            _log.error("encryption_key_lacking", key=key)

    def _file_version(self) -> tuple[int, int] | None:
        if self._keyfile is None:
            return None
        try:
            found = self._keyfile.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns


async def settled_key(tx: Tx, vault: Vault) -> str:
    """Return the key that seals, which is decided here where nothing has been sealed yet.

    Raises:
        KeyLacking: The vault does not have all keys that are in use.
    """
    key = await key_use.hold(tx)
    stored = {vault.key_of(sealed) for _, sealed in await environments.signing_keys(tx)}
    is_new = key is None or (not stored and not await key_use.nodes(tx))
    if is_new:
        key = vault.active if vault.active in stored or not stored else min(stored)
    assert key is not None
    in_use = {key, *stored} if is_new else {key, *await key_use.used(tx)}
    lacking = sorted(in_use - vault.known)
    if lacking:
        raise KeyLacking(
            f"This database was written with another encryption key ({', '.join(lacking)}), which "
            "is not here. Bring back the CARRICK_ENCRYPTION_KEY or the keys.toml it was written "
            "with. A key may be left out after `carrick keys rotate` and `carrick keys forget`."
        )
    if is_new:
        await key_use.forget(tx, await key_use.used(tx))
        await key_use.set_sealing_key(tx, key)
        for other in stored - {key}:
            await key_use.note_used(tx, other)
    return key
