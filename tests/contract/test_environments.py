"""Environments, keys and variables behave the same on both databases."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest

from carrick.environments import (
    DEFAULT_KEY_NAME,
    ApiKeys,
    Environments,
    Principal,
    Variables,
    session_tags,
)
from carrick.errors import (
    CiphertextInvalid,
    Conflict,
    InvalidBody,
    InvalidPublicKey,
    InvalidSecretKeyFormat,
    NotFound,
    ResourceCapped,
    SettingsInvalid,
    Unauthenticated,
)
from carrick.model.connection import EndUser
from carrick.model.environment import Environment
from carrick.store import environments as table
from carrick.store.unit import Store, Tx
from carrick.testing.clock import FakeChance, FakeClock
from carrick.vault import KeyFile, Vault

VAULT = Vault({"k": bytes(32)}, "k")
KEY = "0b8f6f0e-5e0e-4c0b-9d3e-1a2b3c4d5e6f"
OTHER_KEY = "1c9f6f0e-5e0e-4c0b-9d3e-1a2b3c4d5e6f"


@pytest.fixture
def environments(store: Store, clock: FakeClock, chance: FakeChance) -> Environments:
    """The room under test, with nothing in it."""
    return Environments(store, VAULT, clock, chance)


@pytest.fixture
def keys(store: Store, environments: Environments, chance: FakeChance) -> ApiKeys:
    """API keys that share what was looked up with the environments."""
    return ApiKeys(store, chance, environments.recent)


@pytest.fixture
def keyfile(tmp_path: Path) -> KeyFile:
    """A key file that is not written yet."""
    return KeyFile(tmp_path / "keys.toml")


@pytest.fixture
async def dev(environments: Environments) -> Environment:
    """The environment `dev`."""
    await environments.ensure_defaults({})
    return await _named(environments, "dev")


async def _named(environments: Environments, name: str) -> Environment:
    found = await environments.by_name(name)
    assert found is not None
    return found


async def _environment_of(environments: Environments, key: str) -> str:
    return (await environments.authenticate_key(key)).environment.name


# --- defaults -------------------------------------------------------------------------------


async def test_dev_and_prod_exist_with_a_key_each(
    environments: Environments, keys: ApiKeys
) -> None:
    """The first start makes both environments, and a key for each that may do everything."""
    created = await environments.ensure_defaults({})

    assert [one.name for one in await environments.list()] == ["dev", "prod"]
    assert set(created) == {"dev", "prod"}
    principal = await environments.authenticate_key(created["prod"])
    assert principal.environment.name == "prod"
    assert principal.key_name == DEFAULT_KEY_NAME
    assert principal.scopes == ("environment:*",)


async def test_a_second_start_changes_nothing(environments: Environments) -> None:
    """Called again, it makes no environment and no key, and the old keys still open."""
    created = await environments.ensure_defaults({})

    assert await environments.ensure_defaults({}) == {}
    assert [one.name for one in await environments.list()] == ["dev", "prod"]
    assert await _environment_of(environments, created["dev"]) == "dev"


async def test_nodes_that_start_at_once_agree(
    store: Store, clock: FakeClock, chance: FakeChance
) -> None:
    """Of several nodes on an empty database one makes the defaults, and none fails."""
    nodes = [Environments(store, VAULT, clock, chance) for _ in range(4)]

    created = await asyncio.gather(*(node.ensure_defaults({"dev": KEY}) for node in nodes))

    assert len(await nodes[0].list()) == 2
    assert sum("prod" in one for one in created) == 1
    assert await _environment_of(nodes[0], KEY) == "dev"


async def test_created_keys_are_kept_in_the_key_file(
    environments: Environments, keyfile: KeyFile
) -> None:
    """With a key file the keys that were made can be read from it afterwards."""
    created = await environments.ensure_defaults({}, keyfile)

    assert KeyFile.load(keyfile.path).secret_keys == created


async def test_a_new_database_takes_the_keys_of_an_old_key_file(
    environments: Environments, keyfile: KeyFile
) -> None:
    """A key that the file has already, as after a crash before the commit, is used again."""
    keyfile.secret_keys["dev"] = KEY

    created = await environments.ensure_defaults({}, keyfile)

    assert set(created) == {"prod"}
    assert await _environment_of(environments, KEY) == "dev"


async def test_a_given_key_opens_its_environment_from_every_start(
    environments: Environments, keys: ApiKeys
) -> None:
    """A key from the settings works; given another one later, the earlier one stops working."""
    await environments.ensure_defaults({"dev": KEY.upper()})
    await environments.ensure_defaults({"dev": KEY})
    assert await _environment_of(environments, KEY) == "dev"
    names = [key.display_name for key in await keys.list((await environments.list())[0].row_id)]
    assert names == ["CARRICK_SECRET_KEY_DEV"]

    await environments.ensure_defaults({"dev": OTHER_KEY})

    assert await _environment_of(environments, OTHER_KEY) == "dev"
    with pytest.raises(Unauthenticated):
        await environments.authenticate_key(KEY)


async def test_a_given_key_may_be_the_default_one(environments: Environments) -> None:
    """Somebody who exports the default key for the command line can start the server with it."""
    created = await environments.ensure_defaults({})

    await environments.ensure_defaults({"dev": created["dev"]})

    assert await _environment_of(environments, created["dev"]) == "dev"


async def test_a_given_key_makes_its_environment(environments: Environments) -> None:
    """A key for an environment that does not exist yet makes it; hyphens count as underscores."""
    await environments.ensure_defaults({"staging": KEY})
    made = await environments.create("my-shop")
    await environments.ensure_defaults({"my_shop": OTHER_KEY})

    assert await _environment_of(environments, KEY) == "staging"
    assert await _environment_of(environments, OTHER_KEY) == made.environment.name
    assert len(await environments.list()) == 4


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dev": "letmein"}, "CARRICK_SECRET_KEY_DEV must be a UUID v4"),
        ({"dev": KEY, "prod": KEY}, "CARRICK_SECRET_KEY_PROD: each environment"),
        ({"a b": KEY}, "cannot be an environment's name"),
    ],
)
async def test_wrong_given_keys_are_refused(
    environments: Environments, given: dict[str, str], said: str
) -> None:
    """A given key that cannot work stops the start and names its variable."""
    with pytest.raises(SettingsInvalid, match=said):
        await environments.ensure_defaults(given)

    assert await environments.list() == []


async def test_a_key_of_one_environment_cannot_be_given_to_another(
    environments: Environments,
) -> None:
    """A key opens one environment; giving it to a second one is an error."""
    created = await environments.ensure_defaults({})

    with pytest.raises(SettingsInvalid, match="is the key of environment 'dev'"):
        await environments.ensure_defaults({"prod": created["dev"]})


async def test_another_encryption_key_stops_the_start(
    store: Store, environments: Environments, clock: FakeClock, chance: FakeChance
) -> None:
    """A server that cannot read what was stored before does not start."""
    await environments.ensure_defaults({})
    other = Environments(store, Vault({"o": bytes(range(32))}, "o"), clock, chance)

    with pytest.raises(SettingsInvalid, match="another encryption key"):
        await other.ensure_defaults({})


# --- environments ---------------------------------------------------------------------------


async def test_an_environment_is_made_with_a_key(environments: Environments) -> None:
    """A new environment comes with a key that opens it."""
    made = await environments.create("staging")

    assert await environments.by_name("staging") == made.environment
    assert await environments.get(made.environment.row_id) == made.environment
    assert await _environment_of(environments, made.secret_key) == "staging"
    assert made.secret_key not in repr(made)


async def test_environment_names_are_unique_and_plain(environments: Environments) -> None:
    """A name that is taken, or has characters a name may not have, is refused."""
    await environments.create("staging")

    with pytest.raises(Conflict):
        await environments.create("staging")
    with pytest.raises(InvalidBody) as caught:
        await environments.create("Staging!")
    assert [issue["path"] for issue in caught.value.issues or ()] == [["name"]]


async def test_nothing_is_found_where_nothing_is(environments: Environments) -> None:
    """Unknown rows, names and keys are told apart from errors."""
    assert await environments.get(99) is None
    assert await environments.by_name("dev") is None
    for call in (environments.signing_key, environments.public_key):
        with pytest.raises(NotFound):
            await call(99)
    with pytest.raises(NotFound):
        await environments.rotate_signing_key(99)
    with pytest.raises(NotFound):
        await environments.update_settings(99, {})


async def test_settings_change_one_by_one(environments: Environments, dev: Environment) -> None:
    """Settings are merged, `None` takes one away, and a known key sees them at once."""
    key = (await environments.create("x")).secret_key
    x = (await environments.authenticate_key(key)).environment
    await environments.update_settings(x.row_id, {"primary_url": "https://a", "a": 1})
    changed = await environments.update_settings(x.row_id, {"a": None, "b": {"c": True}})

    assert changed.settings == {"primary_url": "https://a", "b": {"c": True}}
    assert (await environments.authenticate_key(key)).environment == changed
    assert (await _named(environments, "dev")).settings == {}


async def test_concurrent_settings_changes_are_all_kept(
    environments: Environments, dev: Environment
) -> None:
    """Changes of different settings at the same time do not undo one another."""
    await asyncio.gather(
        *(environments.update_settings(dev.row_id, {f"s{n}": n}) for n in range(8))
    )

    assert (await _named(environments, "dev")).settings == {f"s{n}": n for n in range(8)}


async def test_signing_keys_are_sealed_and_can_be_rotated(
    store: Store, environments: Environments, dev: Environment
) -> None:
    """A signing key is a UUID v4 that lies encrypted in the store; rotating makes a new one."""
    first = await environments.signing_key(dev.row_id)
    second = await environments.rotate_signing_key(dev.row_id)

    assert uuid.UUID(first).version == 4
    assert second != first
    assert await environments.signing_key(dev.row_id) == second

    async def stored(tx: Tx) -> list[tuple[str, bytes]]:
        return await table.signing_keys(tx, dev.row_id)

    [(_, sealed)] = await store.read(stored)
    assert second.encode() not in sealed


async def test_a_public_key_opens_its_environment(
    environments: Environments, dev: Environment
) -> None:
    """The public key finds its environment in any case; others are refused."""
    public_key = await environments.public_key(dev.row_id)

    assert await environments.by_public_key(public_key.upper()) == dev
    with pytest.raises(Unauthenticated):
        await environments.by_public_key(KEY)
    with pytest.raises(InvalidPublicKey):
        await environments.by_public_key("pk")


# --- API keys -------------------------------------------------------------------------------


async def test_an_api_key_opens_what_its_scopes_say(
    environments: Environments, keys: ApiKeys, dev: Environment
) -> None:
    """A key stands for its environment and scopes, in any case, and is never listed as text."""
    made, plain = await keys.create(dev.row_id, "CI", ["environment:connections:*", "x"])

    principal = await environments.authenticate_key(plain.upper())

    assert principal == Principal(dev, ("environment:connections:*", "x"), "CI")
    assert made in await keys.list(dev.row_id)
    assert plain not in repr(await keys.list(dev.row_id))


@pytest.mark.parametrize(
    ("granted", "wanted", "may"),
    [
        ("environment:*", "environment:connections:read", True),
        ("environment:connections:*", "environment:connections:read", True),
        ("environment:connections:read", "environment:connections:read", True),
        ("environment:connections:read", "environment:connections:read_credentials", False),
        ("environment:connections:*", "environment:connectionsx", False),
        ("account:*", "environment:connections:read", False),
    ],
)
def test_scopes_match_exactly_or_by_prefix(granted: str, wanted: str, may: bool) -> None:
    """A scope is granted as such or by one that ends in `:*`."""
    principal = Principal(Environment(1, "u", "dev"), (granted,), "k")

    assert principal.may(wanted) is may


async def test_unknown_keys_are_refused(environments: Environments, dev: Environment) -> None:
    """A text that is no key, and a key that nobody has, are refused differently."""
    with pytest.raises(InvalidSecretKeyFormat):
        await environments.authenticate_key("letmein")
    with pytest.raises(Unauthenticated) as caught:
        await environments.authenticate_key(KEY)
    assert caught.value.code == "unknown_account"


async def test_a_deleted_key_is_refused_at_once(
    environments: Environments, keys: ApiKeys, dev: Environment
) -> None:
    """A key that was used a moment ago opens nothing once it is deleted."""
    made, plain = await keys.create(dev.row_id, "CI", ["environment:*"])
    await environments.authenticate_key(plain)

    await keys.delete(dev.row_id, made.row_id)

    with pytest.raises(Unauthenticated):
        await environments.authenticate_key(plain)
    with pytest.raises(NotFound):
        await keys.delete(dev.row_id, made.row_id)


async def test_a_key_deleted_by_another_node_is_refused_within_five_seconds(
    store: Store, environments: Environments, keys: ApiKeys, dev: Environment, clock: FakeClock
) -> None:
    """What was looked up is believed for five seconds and no longer."""
    made, plain = await keys.create(dev.row_id, "CI", ["environment:*"])
    await environments.authenticate_key(plain)
    elsewhere = ApiKeys(
        store, FakeChance(9), Environments(store, VAULT, clock, FakeChance()).recent
    )
    await elsewhere.delete(dev.row_id, made.row_id)

    clock.move(4.9)
    assert await _environment_of(environments, plain) == "dev"
    clock.move(0.2)
    with pytest.raises(Unauthenticated):
        await environments.authenticate_key(plain)


async def test_a_key_belongs_to_one_environment(
    environments: Environments, keys: ApiKeys, dev: Environment
) -> None:
    """One environment can neither see nor delete another one's keys."""
    prod = await _named(environments, "prod")
    made, _ = await keys.create(dev.row_id, "CI", ["environment:*"])

    assert made not in await keys.list(prod.row_id)
    with pytest.raises(NotFound):
        await keys.delete(prod.row_id, made.row_id)


async def test_key_names_are_unique_and_keys_are_counted(keys: ApiKeys, dev: Environment) -> None:
    """A name is given once in an environment, and there are at most fifty keys."""
    await keys.create(dev.row_id, "0", ["a"])
    with pytest.raises(Conflict):
        await keys.create(dev.row_id, "0", ["a"])
    with pytest.raises(InvalidBody):
        await keys.create(dev.row_id, "none", [])
    for number in range(1, 49):
        await keys.create(dev.row_id, str(number), ["a"])

    with pytest.raises(ResourceCapped, match="50"):
        await keys.create(dev.row_id, "one more", ["a"])


# --- variables ------------------------------------------------------------------------------


async def test_variables_are_set_replaced_and_deleted(store: Store, dev: Environment) -> None:
    """A variable can be set, replaced and taken away; one environment does not see another's."""
    variables = Variables(store, VAULT)
    await variables.set(dev.row_id, {"B": "2", "A": "1", "C": "ü"})
    await variables.set(dev.row_id, {"A": "one", "B": None, "never": None})

    assert await variables.list(dev.row_id) == [("A", "one"), ("C", "ü")]
    assert await variables.get(dev.row_id, ["C", "B"]) == {"C": "ü"}
    assert await variables.get(dev.row_id, []) == {}
    assert await variables.list(dev.row_id + 1) == []


async def test_variables_are_sealed_each_in_its_place(store: Store, dev: Environment) -> None:
    """A value lies encrypted, and moved to another name it does not open."""
    variables = Variables(store, VAULT)
    await variables.set(dev.row_id, {"A": "very secret"})

    async def move(tx: Tx) -> None:
        [(_, sealed)] = await table.list_variables(tx, dev.row_id)
        assert b"very secret" not in sealed
        await table.put_variable(tx, dev.row_id, "B", sealed)

    await store.write(move)
    with pytest.raises(CiphertextInvalid):
        await variables.list(dev.row_id)


# --- tags of a session ----------------------------------------------------------------------


def test_session_tags_tell_who_the_end_user_is() -> None:
    """Tags begin with what is known of the end user; explicit ones win; keys are lower-case."""
    end_user = EndUser(
        "u1",
        email="a@b.co",
        display_name="Ann",
        tags={"Plan": "pro"},
        organization_id="o1",
        organization_display_name="Org",
    )

    assert session_tags(end_user, {"Project": "p1", "organization_id": "mine"}) == {
        "end_user_id": "u1",
        "end_user_email": "a@b.co",
        "end_user_display_name": "Ann",
        "organization_id": "mine",
        "organization_display_name": "Org",
        "plan": "pro",
        "project": "p1",
    }


def test_the_end_users_own_tags_give_way_when_there_are_too_many() -> None:
    """More than ten tags drop the end user's own; more explicit ones are refused."""
    end_user = EndUser("u1", tags={f"t{n}": "x" for n in range(10)})

    assert session_tags(end_user, {}) == {"end_user_id": "u1"}
    with pytest.raises(InvalidBody):
        session_tags(end_user, {f"t{n}": "x" for n in range(10)})
