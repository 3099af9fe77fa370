"""What exists from the first start: `dev`, `prod`, a key for each, and the keys settings give.

First everything is decided from what the store says, then written in one unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from carrick.environments.keys import DEFAULT_KEY_NAME, FULL_ACCESS
from carrick.environments.names import ENVIRONMENT_NAME, is_uuid4
from carrick.errors import CiphertextInvalid, SettingsInvalid
from carrick.model.clock import Chance
from carrick.store import environments as table
from carrick.store.environments import NewEnvironment
from carrick.store.unit import Tx
from carrick.vault import KeyFile, Vault, contexts, hash_token

DEFAULT_ENVIRONMENTS = ("dev", "prod")


@dataclass(frozen=True)
class StoredState:
    """What the store has: environment names in whatever state, and their sealed signing keys."""

    names: frozenset[str]
    signing_keys: tuple[tuple[str, bytes], ...]


@dataclass
class Plan:
    """What has to be written."""

    environments: list[NewEnvironment] = field(default_factory=list)
    #: Default keys by environment name: of new environments only.
    default_keys: dict[str, str] = field(default_factory=dict, repr=False)
    #: Keys from the settings by environment name.
    given_keys: dict[str, str] = field(default_factory=dict, repr=False)
    #: The default keys that did not exist before, not even in the key file.
    created_keys: dict[str, str] = field(default_factory=dict, repr=False)

    async def apply(self, tx: Tx) -> None:
        """Write it."""
        for new in self.environments:
            made = await table.insert_environment(tx, new)
            plain = self.default_keys.get(new.name)
            if plain is not None:
                hashed = hash_token(plain)
                await table.insert_api_key(
                    tx, made.row_id, DEFAULT_KEY_NAME, hashed, (FULL_ACCESS,)
                )
        for name, plain in self.given_keys.items():
            await _register(tx, name, plain)


def variable_for(environment: str) -> str:
    """Return the name of the variable that sets an environment's API key."""
    return f"CARRICK_SECRET_KEY_{environment.upper().replace('-', '_')}"


def new_environment(name: str, vault: Vault, chance: Chance) -> NewEnvironment:
    """Draw the keys of a new environment."""
    uuid = chance.uuid4()
    signing_key = vault.seal(chance.uuid4().encode(), context=contexts.signing_key(uuid))
    return NewEnvironment(uuid, name, signing_key, chance.uuid4())


def checked_keys(secret_keys: Mapping[str, str]) -> dict[str, str]:
    """Return the keys that settings give, in lower case.

    Raises:
        SettingsInvalid: One is not a UUID v4, stands twice, or its environment cannot exist.
    """
    keys: dict[str, str] = {}
    for name, key in secret_keys.items():
        variable = variable_for(name)
        if not ENVIRONMENT_NAME.fullmatch(name):
            raise SettingsInvalid(f"{variable}: {name!r} cannot be an environment's name.")
        if not is_uuid4(key):
            raise SettingsInvalid(
                f"{variable} must be a UUID v4. "
                "Make one with: python -c 'import uuid; print(uuid.uuid4())'"
            )
        if key.lower() in keys.values():
            raise SettingsInvalid(f"{variable}: each environment needs a key of its own.")
        keys[name] = key.lower()
    return keys


async def read_state(tx: Tx) -> StoredState:
    """Read what exists already."""
    return StoredState(frozenset(await table.names(tx)), tuple(await table.signing_keys(tx)))


def check_vault(vault: Vault, state: StoredState) -> None:
    """Make sure that what was stored before can be read.

    Raises:
        SettingsInvalid: It cannot: another encryption key wrote it.
    """
    for uuid, sealed in state.signing_keys:
        try:
            vault.open(sealed, context=contexts.signing_key(uuid))
        except CiphertextInvalid as error:
            raise SettingsInvalid(
                f"This database was written with another encryption key ({Vault.key_of(sealed)}). "
                "Start with the CARRICK_ENCRYPTION_KEY or the keys.toml it was written with."
            ) from error


def plan(
    state: StoredState,
    given: Mapping[str, str],
    keyfile: KeyFile | None,
    vault: Vault,
    chance: Chance,
) -> Plan:
    """Decide what has to be written, and draw the keys."""
    result = Plan()
    spelled = {name.replace("-", "_"): name for name in state.names}
    result.given_keys = {spelled.get(name, name): key for name, key in given.items()}
    known = keyfile.secret_keys if keyfile is not None else {}
    for name in dict.fromkeys((*DEFAULT_ENVIRONMENTS, *result.given_keys)):
        if name in state.names:
            continue
        result.environments.append(new_environment(name, vault, chance))
        if name in known and is_uuid4(known[name]):
            # A start that ended before its commit, or a new database beside an old key file.
            result.default_keys[name] = known[name].lower()
        elif keyfile is not None or name not in result.given_keys:
            result.default_keys[name] = result.created_keys[name] = chance.uuid4()
    return result


async def _register(tx: Tx, environment: str, plain: str) -> None:
    """Let a key from the settings open its environment, in place of the one given before."""
    hashed = hash_token(plain)
    found = await table.by_name(tx, environment)
    if found is None:  # it is being deleted: a key of it is not wanted any more
        return
    holder = await table.key_holder(tx, hashed)
    variable = variable_for(environment)
    if holder is not None:
        if holder.environment.row_id != found.row_id:
            raise SettingsInvalid(
                f"{variable} is the key of environment {holder.environment.name!r} already."
            )
        return
    earlier = await table.api_key_named(tx, found.row_id, variable)
    if earlier is not None:
        await table.set_api_key_hash(tx, earlier.row_id, hashed)
    else:
        await table.insert_api_key(tx, found.row_id, variable, hashed, (FULL_ACCESS,))
