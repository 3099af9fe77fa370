"""Another encryption key for all that is stored, while servers run: with a key file, and with many.

On SQLite keys are in `keys.toml`; on Postgres they are a setting, and a node learns by a restart.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from tests.lifecycle.conftest import settings_for
from tests.lifecycle.house import House

from carrick.app import App, opened_store, running
from carrick.app.backups import back_up, keys_beside, restore
from carrick.app.rotation import SETTLED, Rotated, Rotation
from carrick.environments import NewIntegration
from carrick.errors import (
    BackupInvalid,
    KeyLacking,
    RotationUnfinished,
    SettingsInvalid,
    StoreUnavailable,
)
from carrick.model.clock import SystemClock
from carrick.model.faults import Faults, Point
from carrick.settings import Settings
from carrick.store import key_use, sealed
from carrick.store.sealed import SEALED, SealedColumn
from carrick.store.tables import (
    checkpoints,
    connections,
    journal_entries,
    metadata,
    oauth_states,
    store_facts,
)
from carrick.store.unit import Store, Tx
from carrick.testing.fake_provider import FakeProvider
from carrick.testing.faults import PlannedFaults, fail_with
from carrick.vault import KeyFile, header_of, key_id, new_key

SETUP = """
@create_on_event(event="post-connection-creation", description="Never done", waits=[3600])
async def function(ctx: EventContext) -> None:
    raise ActionError({"message": "not yet"})
"""

#: Where keys are a setting: a server with a key file takes a new one up by itself.
with_settings = pytest.mark.parametrize(
    "backend", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
#: Where keys are in a file beside the database, and copies are files.
with_key_file = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)


class Cut(Exception):
    """Ends a rotation in the middle: nothing of it handles this."""


@dataclass
class Estate:
    """A database, the settings servers are started with, and who may be connected."""

    settings: Settings
    provider: FakeProvider
    keys: list[str] = field(default_factory=list)

    @property
    def is_postgres(self) -> bool:
        return self.settings.database_url is not None

    @property
    def key_file(self) -> KeyFile:
        return KeyFile.load(self.settings.data_dir / "keys.toml")

    def put_in_front(self) -> None:
        """Do what a person does before a rotation: nothing where there is a key file."""
        if self.is_postgres:
            self.keys.insert(0, base64.b64encode(new_key()).decode())
            self.given(*self.keys)

    def given(self, *keys: str) -> None:
        """Start servers with these keys from now on."""
        changes = {"encryption_key": ",".join(keys)}
        self.settings = Settings.model_validate({**dict(self.settings), **changes})

    @contextlib.asynccontextmanager
    async def opened(self, faults: Faults | None = None) -> AsyncIterator[tuple[Store, Rotation]]:
        """Do what the command does: open the store beside servers, and find its keys."""
        clock, more = SystemClock(), {"faults": faults} if faults is not None else {}
        async with opened_store(self.settings, clock, migrated=False, **more) as store:
            yield store, await Rotation.open(self.settings, store, clock)

    async def rotate(self, faults: Faults | None = None) -> Rotated:
        async with self.opened(faults) as (_, rotation):
            return await rotation.rotate()

    async def forget(self) -> Path | None:
        async with self.opened() as (_, rotation):
            return await rotation.forget(await rotation.former())


@pytest.fixture
def estate(store_url: str, tmp_path: Path, provider: FakeProvider) -> Estate:
    """A database without anything in it."""
    made = Estate(settings_for(store_url, tmp_path, provider), provider)
    if made.is_postgres:
        made.put_in_front()
    else:
        made.settings = made.settings.model_copy(update={"encryption_key": None})
    return made


@contextlib.asynccontextmanager
async def housed(estate: Estate) -> AsyncIterator[House]:
    """A server on the estate."""
    async with running(estate.settings, migrate_first=True) as app:
        environment = await app.rooms.environments.by_name("dev")
        assert environment is not None
        yield House(app, estate.provider, environment)


async def furnish(house: House) -> int:
    """Put something into every column that holds ciphertext; return the connection's row."""
    app, environment = house.app, house.environment.row_id
    await app.rooms.integrations.create(
        environment, NewIntegration(integration_id="acme", provider="api-key")
    )
    await house.deploy({"setup": SETUP})
    row_id = (await house.connect(house.provider.add_account("a"))).connection.row_id
    await app.services.variables.set(environment, {"TOKEN": "a variable"})
    await app.rooms.environments.update_settings(environment, {"hmac_key": "an hmac key"})
    await app.rooms.store.write(lambda tx: _add_rows(tx, row_id))
    for place in SEALED:
        if place.inside is None:
            await _fill(app, place)
    return row_id


async def _add_rows(tx: Tx, row_id: int) -> None:
    await tx.execute(
        insert(checkpoints).values(connection_row_id=row_id, function="setup", value=b"")
    )
    await tx.execute(
        insert(journal_entries).values(
            run_id="run",
            connection_row_id=row_id,
            function="setup",
            key="key",
            idempotency_key="key",
            method="POST",
            endpoint="/webhooks",
            state="succeeded",
            created_at=tx.now,
            updated_at=tx.now,
        )
    )
    place = select(connections.c.environment_id, connections.c.integration_row_id)
    found = await tx.row(place.where(connections.c.id == row_id))
    assert found is not None
    await tx.execute(
        insert(oauth_states).values(
            hash="state",
            environment_id=found.environment_id,
            integration_row_id=found.integration_row_id,
            cookie_hash="cookie",
            request=b"",
            created_at=tx.now,
            expires_at=tx.now,
        )
    )


async def _fill(app: App, place: SealedColumn) -> None:
    """Seal something in every row of a column that has nothing, or nothing sealed."""
    vault = app.vault.vault

    async def unit(tx: Tx) -> None:
        made_of = [column.label(f"of_{n}") for n, column in enumerate(place.made_of)]
        rows = await tx.rows(select(place.key.label("row_key"), place.column, *made_of))
        for row in rows:
            if not row[1]:
                context = place.context(*row[2:])
                sealed = vault.seal_json({"filled": True}, context=context)
                await tx.execute(
                    update(place.column.table)
                    .where(place.key == row.row_key)
                    .values({place.column.name: sealed})
                )

    await app.rooms.store.write(unit)


async def census(store: Store, key: str) -> set[str]:
    """Return every place in the whole database in which something sealed with a key stands."""
    binary, text = header_of(key), base64.b64encode(header_of(key)).decode()

    async def unit(tx: Tx) -> set[str]:
        found = set()
        for table in metadata.sorted_tables:
            for row in await tx.rows(select(table)):
                for column, value in row._mapping.items():
                    parts = value.items() if isinstance(value, dict) else [(None, value)]
                    for part, one in parts:
                        is_there = binary in one if isinstance(one, bytes) else text in str(one)
                        name = f"{table.name}.{column}" + (f".{part}" if part else "")
                        found |= {name} if is_there else set()
        return found

    return await store.read(unit)


async def demand_readable(house: House, row_id: int) -> None:
    """Make sure that a server can read what it needs, every column included."""
    app, environment = house.app, house.environment.row_id
    credentials = await app.rooms.fresh.get(row_id)
    assert credentials.values["apiKey"]
    assert dict(await app.services.variables.list(environment)) == {"TOKEN": "a variable"}
    found = await app.rooms.environments.by_name("dev")
    assert found is not None
    assert app.rooms.environments.hmac_key(found) == "an hmac key"
    assert await app.rooms.environments.signing_key(environment)
    vault = app.vault.vault

    async def unit(tx: Tx) -> None:
        for place in SEALED:
            for row in await tx.rows(select(place.column, *place.made_of)):
                value: Any = row[0]
                if place.inside is not None:
                    value = base64.b64decode(value[place.inside]) if place.inside in value else None
                if value:
                    vault.open(value, context=place.context(*row[1:]))

    await app.rooms.store.read(unit)


EVERYWHERE = {str(place) for place in SEALED}


@contextlib.asynccontextmanager
async def furnished(estate: Estate) -> AsyncIterator[tuple[House, int]]:
    """A server that has a secret in every place, and knows a new key if that takes a restart."""
    async with housed(estate) as house:
        row_id = await furnish(house)
        if not estate.is_postgres:
            yield house, row_id
            return
    estate.put_in_front()
    async with housed(estate) as house:
        yield house, row_id


async def test_everything_is_sealed_again_under_a_running_server(estate: Estate) -> None:
    """Every place with ciphertext is on the list, gets the new key, and stays readable."""
    async with furnished(estate) as (house, row_id):
        store, vault = house.app.rooms.store, house.app.vault.vault
        old = vault.active
        assert await census(store, old) == EVERYWHERE

        rotated = await estate.rotate()

        assert vault.active == rotated.key != old
        assert (rotated.former, rotated.unreadable) == ((old,), {})
        assert set(rotated.resealed) == EVERYWHERE
        assert await census(store, old) == set()
        assert await census(store, rotated.key) == EVERYWHERE
        await demand_readable(house, row_id)


@with_settings
async def test_a_key_in_front_waits_for_the_rotation(estate: Estate) -> None:
    """A node that was restarted with it goes on sealing with what all others can read."""
    async with furnished(estate) as (house, _):
        assert house.app.vault.vault.active == key_id(base64.b64decode(estate.keys[1]))


@with_settings
async def test_a_server_without_the_new_key_never_meets_it(estate: Estate) -> None:
    """While one runs nothing is changed, and the command says which; none starts afterwards."""
    async with housed(estate) as house:
        row_id = await furnish(house)
        old = house.app.vault.vault.active
        estate.put_in_front()
        with pytest.raises(RotationUnfinished, match=r"node-\w+ on .* does not have key"):
            await estate.rotate()
        assert await census(house.app.rooms.store, old) == EVERYWHERE
        await demand_readable(house, row_id)
    await estate.rotate()
    for only in estate.keys:  # the old one may still be needed as well, until it is forgotten
        estate.given(only)
        with pytest.raises(KeyLacking, match="carrick keys forget"):
            async with housed(estate):
                pass


@pytest.mark.parametrize("point", [Point.BEFORE_COMMIT, Point.AFTER_COMMIT])
async def test_a_rotation_may_be_cut_off_at_any_commit(estate: Estate, point: Point) -> None:
    """Everything is readable at each of them, and running it again goes on and makes no key."""
    async with furnished(estate) as (house, row_id):
        rotated, cuts = None, 0
        while rotated is None:
            cuts += 1
            faults = PlannedFaults()
            faults.plan(point, fail_with(Cut()), passing=cuts)
            rotated = await _until_cut(estate, faults)
            await demand_readable(house, row_id)

        assert cuts > 5
        assert rotated.continued
        assert await census(house.app.rooms.store, rotated.key) == EVERYWHERE
        assert len(rotated.former) == 1


async def _until_cut(estate: Estate, faults: PlannedFaults) -> Rotated | None:
    with contextlib.suppress(Cut, StoreUnavailable):
        return await estate.rotate(faults)
    return None


async def test_what_is_written_meanwhile_is_kept(estate: Estate) -> None:
    """A row that changed since it was read is left alone, and its new value is not touched."""
    async with furnished(estate) as (house, _), estate.opened() as (store, _):
        for place in SEALED:
            look = partial(sealed.window, place=place, header=header_of("nobody's"), most=9)
            window = await store.read(look)
            stale = replace(window.found[0], ciphertext=window.found[0].ciphertext + b"older")
            put = partial(sealed.replace, place=place, found=stale, ciphertext=b"lost")
            assert not await store.write(put)
            assert await store.read(look) == window
        assert await census(store, house.app.vault.vault.active) == EVERYWHERE


async def test_an_old_key_is_forgotten_when_nothing_needs_it(estate: Estate) -> None:
    """Not at once; what came late is sealed again; then a server starts without the old key."""
    async with furnished(estate) as (house, row_id):
        old = house.app.vault.vault.active
        rotated = await estate.rotate()
        with pytest.raises(RotationUnfinished, match=r"Run this again in \d+ s"):
            await estate.forget()

        vault = house.app.vault.vault
        vault.seal_with(old)  # a write that was on its way
        await house.app.services.variables.set(house.environment.row_id, {"TOKEN": "a variable"})
        vault.seal_with(rotated.key)
        await house.app.rooms.store.write(lambda tx: _age(tx, old))
        await estate.forget()
        assert await census(house.app.rooms.store, old) == set()
        await demand_readable(house, row_id)
    if estate.is_postgres:
        estate.given(estate.keys[0])
    else:
        assert list(estate.key_file.encryption_keys) == [rotated.key]
    async with housed(estate) as house:
        assert house.app.vault.vault.known == {rotated.key}
        await demand_readable(house, row_id)


async def _age(tx: Tx, key: str) -> None:
    """Have a key have sealed for the last time long ago."""
    long_ago = (tx.now - SETTLED).isoformat()
    await tx.execute(
        update(store_facts).where(store_facts.c.name == f"sealed_with:{key}").values(value=long_ago)
    )
    assert (await key_use.used(tx))[key] is not None


async def test_what_no_key_opens_is_told_and_left(estate: Estate) -> None:
    """One damaged secret does not keep the others from being sealed again."""
    async with furnished(estate) as (house, _):

        async def damage(tx: Tx) -> None:
            value = header_of(house.app.vault.vault.active) + b"x" * 60
            await tx.execute(update(connections).values(credentials=value))

        await house.app.rooms.store.write(damage)
        rotated = await estate.rotate()
        assert rotated.unreadable == {"connections.credentials": 1}
        assert set(rotated.resealed) == EVERYWHERE - {"connections.credentials"}


async def test_without_a_new_key_nothing_is_done(estate: Estate) -> None:
    """Where keys are a setting the command says what to set, and a wrong one is refused."""
    async with housed(estate):
        pass
    estate.given(*estate.keys or [base64.b64encode(new_key()).decode()])
    if estate.is_postgres:
        with pytest.raises(SettingsInvalid, match="CARRICK_ENCRYPTION_KEY=<new>,<old>"):
            await estate.rotate()
    else:  # a new key by setting, beside the key file: as good as one put in front
        assert (await estate.rotate()).key == key_id(base64.b64decode(_given(estate)))
    estate.given(base64.b64encode(new_key()).decode())
    if estate.is_postgres:
        with pytest.raises(KeyLacking, match="is not here"):
            await estate.rotate()


def _given(estate: Estate) -> str:
    assert estate.settings.encryption_key is not None
    return estate.settings.encryption_key.get_secret_value()


async def test_a_second_rotation_makes_another_key(estate: Estate) -> None:
    """The first having ended, nothing of it is taken for unfinished."""
    async with housed(estate):
        pass
    keys = []
    for _ in range(2):
        estate.put_in_front()
        rotated = await estate.rotate()
        keys.append(rotated.key)
        assert not rotated.continued
    assert len(set(keys)) == 2
    assert keys[0] in rotated.former


@with_key_file
async def test_a_backup_from_before_is_encrypted_with_the_present_key(
    estate: Estate, tmp_path: Path
) -> None:
    """Restored with the key that was kept with it, it is read, and the next rotation moves it."""
    copy, present = tmp_path / "copy.db", estate.settings
    async with furnished(estate) as (house, row_id):
        old = house.app.vault.vault.active
        back_up(present, copy, with_keys=True)
        rotated = await estate.rotate()
        await house.app.rooms.store.write(lambda tx: _age(tx, old))
        await estate.forget()
    now = SystemClock().now()
    with pytest.raises(BackupInvalid, match="--keys"):
        restore(present, copy, keys=None, force=True, now=now)
    restore(present, copy, keys=keys_beside(copy), force=True, now=now)

    async with housed(estate) as house:
        assert house.app.vault.vault.active == old
        await demand_readable(house, row_id)
        again = await estate.rotate()
        assert (again.key, again.made_in) == (rotated.key, None)
        assert await census(house.app.rooms.store, rotated.key) == EVERYWHERE
