"""Changing the encryption key of what is stored while servers run: `carrick keys rotate`.

First every server has the new key, then all seal with it, then what the old ones sealed is sealed
again, in small transactions. Whatever is cut off between two of these is readable, and goes on
where it was when the command is run again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from carrick.app.keyring import settled_key
from carrick.app.stores import is_served, key_in_use
from carrick.errors import CiphertextInvalid, RotationUnfinished, SettingsInvalid
from carrick.model.clock import Clock
from carrick.settings import Settings
from carrick.store import key_use, sealed
from carrick.store.key_use import LIVES_S, KeyNode
from carrick.store.sealed import SEALED, Found, SealedColumn, Window
from carrick.store.unit import Store, Tx
from carrick.vault import Vault, changing, header_of, open_vault

#: Rows of one transaction; each may be some hundred kilobytes.
_ROWS = 100
#: Between two transactions, so that a server gets its turn at a SQLite file.
_REST_S = 0.005
_POLL_S = 0.2
#: How long a server may take to read its key file again, or to hear which key seals.
_NOTICED_S = 20.0
#: How often everything is looked through until nothing is found; mostly twice.
_PASSES = 20
#: What a server sealed just before it heard of the new key is written by then.
SETTLED = timedelta(minutes=2)
_HOW = (
    "Put a new key in front of the present one, on every node: CARRICK_ENCRYPTION_KEY=<new>,<old> "
    "(make one with: openssl rand -base64 32). Restart them one after another, and run this again "
    "with the same setting. A node that died is forgotten after a minute"
)

_RESTART = "Restart it, and run this again"


@dataclass(frozen=True)
class Rotated:
    """What a rotation came to."""

    key: str
    #: Keys that have sealed before.
    former: tuple[str, ...]
    #: Secrets that were sealed again, by column.
    resealed: Mapping[str, int]
    #: Secrets that none of the keys opens, by column; they were left as they are.
    unreadable: Mapping[str, int]
    #: The key file that the new key was added to now.
    made_in: Path | None
    #: Whether an earlier run had begun it.
    continued: bool


@dataclass
class _Tally:
    resealed: Counter[str] = field(default_factory=Counter)
    unreadable: Counter[str] = field(default_factory=Counter)
    #: Found, and sealed again by somebody else meanwhile.
    missed: int = 0


class Rotation:
    """The keys of one store, and what is to become of them."""

    def __init__(self, settings: Settings, store: Store, clock: Clock, vault: Vault) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._vault = vault
        #: What the settings put first: the key that is to seal, sooner or later.
        self._wanted = vault.active

    @classmethod
    async def open(cls, settings: Settings, store: Store, clock: Clock) -> Rotation:
        """Find the keys of a store.

        Raises:
            SettingsInvalid: Nothing is stored yet, or a key is missing here that is in use.
        """
        in_use = await key_in_use(store)
        if in_use is None:
            raise SettingsInvalid("Nothing is stored here yet: start a server first.")
        opened = open_vault(settings, is_postgres=store.is_postgres, sealed_with=in_use)
        return cls(settings, store, clock, opened.vault)

    async def rotate(self) -> Rotated:
        """Encrypt everything with the new key; make one where keys are in a key file.

        Raises:
            KeyLacking: A key that is in use is not here.
            SettingsInvalid: There is no new key, or a server does not have it.
            RotationUnfinished: Servers go on sealing with an old key.
        """
        present, begun = await self._store.write(self._standing)
        made_in = None
        target = begun or self._wanted
        if target == present and begun is None:
            target, made_in = self._made()
        await self._switched(target)
        self._vault.seal_with(target)
        await self._until(
            lambda node: node.sealing == target,
            "goes on sealing with another key. Is it cut off from the database? Run this again "
            "when it is back, or has been stopped for a minute",
            LIVES_S + _NOTICED_S,
        )
        tally = await self._reseal()
        await self._store.write(key_use.end_rotation)
        used = await self._store.read(key_use.used)
        return Rotated(
            target,
            tuple(sorted(set(used) - {target})),
            dict(tally.resealed),
            dict(tally.unreadable),
            made_in,
            begun is not None,
        )

    async def former(self) -> list[str]:
        """Return the keys that no longer seal, and are remembered.

        Raises:
            KeyLacking: A key that is in use is not here.
            RotationUnfinished: A rotation has begun and not ended.
        """
        present, begun = await self._store.write(self._standing)
        if begun is not None:
            raise RotationUnfinished(
                "Not everything is encrypted with the new key yet: run `carrick keys rotate` again."
            )
        # One that the settings put in front is not old; it has not begun to seal.
        remembered = {*await self._store.read(key_use.used), *self._vault.known}
        return sorted(remembered - {present, self._wanted})

    async def forget(self, keys: Sequence[str]) -> Path | None:
        """Take keys out of use, and out of the key file; return that, if there is one.

        Raises:
            RotationUnfinished: Something may still become encrypted with them.
        """
        now = await self._store.read(_now)
        for key, until in (await self._store.read(key_use.used)).items():
            if key in keys and until is not None and now - until < SETTLED:
                left = round((SETTLED - (now - until)).total_seconds())
                raise RotationUnfinished(
                    f"A server has sealed with key {key} until moments ago, and what it sealed may "
                    f"still be on its way. Run this again in {left} s."
                )
        self._vault.seal_with((await self._store.write(self._standing))[0])
        await self._reseal()  # what was on its way when the rotation ended
        await self._store.write(lambda tx: key_use.forget(tx, keys))
        return self._dropped(keys)

    async def _standing(self, tx: Tx) -> tuple[str, str | None]:
        return await settled_key(tx, self._vault), await key_use.rotating_to(tx)

    @property
    def _key_file(self) -> Path | None:
        if self._store.is_postgres or self._settings.encryption_key is not None:
            return None
        return self._settings.key_file

    def _made(self) -> tuple[str, Path]:
        if self._key_file is None:
            raise SettingsInvalid(f"There is no new key. {_HOW}.")
        with changing(self._key_file) as keyfile:
            key = keyfile.add_encryption_key()
        self._vault.learn(keyfile.encryption_keys)
        return key, self._key_file

    def _dropped(self, keys: Sequence[str]) -> Path | None:
        if self._key_file is None:
            return None
        with changing(self._key_file) as keyfile:
            for key in keys:
                keyfile.encryption_keys.pop(key, None)
        return self._key_file

    async def _switched(self, target: str) -> None:
        """Have all servers seal with a key, once all of them have it."""

        async def unit(tx: Tx) -> bool:
            present = await key_use.hold(tx)
            if self._without(await key_use.nodes(tx), lambda node: target in node.known):
                return False
            if present is not None and present != target:
                await key_use.note_used(tx, present)
            await key_use.set_sealing_key(tx, target)
            await key_use.begin_rotation(tx, target)
            return True

        # A server reads its key file by itself; one whose keys are settings has to be restarted.
        patience_s = _NOTICED_S if self._key_file is not None else 0.0
        is_switched = False
        while not is_switched:
            await self._until(
                lambda node: target in node.known,
                f"does not have key {target} yet. {_HOW if self._key_file is None else _RESTART}",
                patience_s,
            )
            is_switched = await self._store.write(unit)

    async def _until(
        self, holds: Callable[[KeyNode], bool], otherwise: str, limit_s: float
    ) -> None:
        """Wait until something holds for all servers that run.

        Raises:
            RotationUnfinished: It does not come to that.
        """
        begun = self._clock.monotonic()
        while True:
            left = self._without(await self._store.read(key_use.nodes), holds)
            if not left:
                return
            if self._clock.monotonic() - begun >= limit_s:
                raise RotationUnfinished(f"{', '.join(left)} {otherwise}.")
            await self._clock.sleep(_POLL_S)

    def _without(self, nodes: Sequence[KeyNode], holds: Callable[[KeyNode], bool]) -> list[str]:
        """Return the servers that run for which something does not hold."""
        if not self._store.is_postgres:
            if not is_served(self._settings.data_dir):
                return []
            if not nodes:
                return ["The server"]
        return [f"{node.node_id} on {node.host}" for node in nodes if not holds(node)]

    async def _reseal(self) -> _Tally:
        """Seal everything again that another key has sealed, until there is nothing left."""
        total = _Tally()
        for _ in range(_PASSES):
            tally = await self._pass()
            total.resealed += tally.resealed
            total.unreadable = tally.unreadable
            if not tally.resealed and not tally.missed:
                return total
        raise RotationUnfinished(
            "Something goes on writing with an old key. Is there a server of an earlier version? "
            "Update it, and run this again."
        )

    async def _pass(self) -> _Tally:
        tally = _Tally()
        for place in SEALED:
            after, is_end = None, False
            while not is_end:
                window = await self._window(place, after)
                await self._handle(place, window.found, tally)
                after, is_end = window.last, window.is_end
        return tally

    async def _window(self, place: SealedColumn, after: object) -> Window:
        header = header_of(self._vault.active)
        return await self._store.read(
            lambda tx: sealed.window(tx, place, header, after=after, most=_ROWS), scans=True
        )

    async def _handle(self, place: SealedColumn, found: Sequence[Found], tally: _Tally) -> None:
        again: list[tuple[Found, bytes]] = []
        for one in found:
            try:
                again.append((one, self._vault.reseal(one.ciphertext, context=one.context)))
            except CiphertextInvalid:
                tally.unreadable[str(place)] += 1
        if not again:
            return

        async def unit(tx: Tx) -> int:
            return sum([await sealed.replace(tx, place, one, new) for one, new in again])

        changed = await self._store.write(unit)
        tally.missed += len(again) - changed
        tally.resealed[str(place)] += changed
        await self._clock.sleep(_REST_S)


async def _now(tx: Tx) -> datetime:
    return tx.now
