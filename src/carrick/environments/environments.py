"""Environments: making them, finding them by name or key, their settings and signing keys."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from carrick.environments import defaults
from carrick.environments.keys import DEFAULT_KEY_NAME, FULL_ACCESS, RecentKeys
from carrick.environments.names import ENVIRONMENT_NAME, is_uuid4
from carrick.errors import (
    Conflict,
    InvalidBody,
    InvalidPublicKey,
    InvalidSecretKeyFormat,
    NotFound,
    Unauthenticated,
)
from carrick.model.clock import Chance, Clock
from carrick.model.environment import Environment
from carrick.store import environments as table
from carrick.store.environments import KeyHolder
from carrick.store.unit import Store, Tx
from carrick.vault import KeyFile, Vault, contexts, hash_token

#: Two nodes that start at once make the defaults at once; the one that loses looks again.
_TRIES = 3


@dataclass(frozen=True)
class Principal:
    """Who is asking: an environment, through one of its keys."""

    environment: Environment
    scopes: tuple[str, ...]
    key_name: str

    def may(self, scope: str) -> bool:
        """Whether the key has a scope, itself or through one that ends in `:*`."""
        return any(
            granted == scope or (granted.endswith(":*") and scope.startswith(granted[:-1]))
            for granted in self.scopes
        )


@dataclass(frozen=True)
class CreatedEnvironment:
    """A new environment and the text of its first API key, which is not kept."""

    environment: Environment
    secret_key: str = field(repr=False)


class Environments:
    """The environments of this installation."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        clock: Clock,
        chance: Chance,
        recent: RecentKeys | None = None,
    ) -> None:
        self._store = store
        self._vault = vault
        self._chance = chance
        #: Shared with `ApiKeys`, so that a deleted key is forgotten at once.
        self.recent = recent if recent is not None else RecentKeys(clock)

    async def ensure_defaults(
        self, secret_keys: Mapping[str, str], keyfile: KeyFile | None = None
    ) -> dict[str, str]:
        """Make what every installation has, as often as it is called.

        `dev`, `prod` and every environment that a key is given for exist afterwards, and every
        given key opens its environment. A key made here is written to the key file before it is
        stored, so that no crash leaves a key that nobody knows.

        Returns:
            The API keys that were made now, by environment name.

        Raises:
            SettingsInvalid: A given key is not a UUID v4 or is used twice, or the stored secrets
                cannot be read with the encryption key this server has.
        """
        given = defaults.checked_keys(secret_keys)
        for attempt in range(1, _TRIES + 1):
            state = await self._store.read(defaults.read_state)
            defaults.check_vault(self._vault, state)
            plan = defaults.plan(state, given, keyfile, self._vault, self._chance)
            if keyfile is not None and plan.created_keys:
                keyfile.add_secret_keys(plan.created_keys)
            try:
                await self._store.write(plan.apply)
            except Conflict:
                if attempt == _TRIES:
                    raise
                continue
            self.recent.forget()
            return plan.created_keys
        raise AssertionError("unreachable: the last try returns or raises")

    async def create(self, name: str) -> CreatedEnvironment:
        """Make an environment with a key that may do everything in it.

        Raises:
            InvalidBody: The name has characters an environment's name may not have.
            Conflict: There is one by that name.
        """
        if not ENVIRONMENT_NAME.fullmatch(name):
            message = "A name has lower-case letters, digits, hyphens and underscores."
            raise InvalidBody(
                issues=[{"code": "invalid_format", "message": message, "path": ["name"]}]
            )
        new = defaults.new_environment(name, self._vault, self._chance)
        plain = self._chance.uuid4()

        async def unit(tx: Tx) -> Environment:
            made = await table.insert_environment(tx, new)
            await table.insert_api_key(
                tx, made.row_id, DEFAULT_KEY_NAME, hash_token(plain), (FULL_ACCESS,)
            )
            return made

        return CreatedEnvironment(await self._store.write(unit), plain)

    async def get(self, row_id: int) -> Environment | None:
        """Return an environment by its row, one that is being deleted as well."""

        async def unit(tx: Tx) -> Environment | None:
            return await table.get(tx, row_id)

        return await self._store.read(unit)

    async def by_name(self, name: str) -> Environment | None:
        """Return the active environment of that name."""

        async def unit(tx: Tx) -> Environment | None:
            return await table.by_name(tx, name)

        return await self._store.read(unit)

    async def list(self) -> Sequence[Environment]:
        """Return the active environments in the order they were made."""
        return await self._store.read(table.list_all)

    async def authenticate_key(self, token: str) -> Principal:
        """Return who an API key stands for.

        Raises:
            InvalidSecretKeyFormat: It does not look like one.
            Unauthenticated: There is no such key.
        """
        if not is_uuid4(token):
            raise InvalidSecretKeyFormat
        holder = await self._holder(hash_token(token.lower()))
        return Principal(holder.environment, holder.key.scopes, holder.key.display_name)

    async def by_public_key(self, public_key: str) -> Environment:
        """Return the environment with that public key.

        Raises:
            InvalidPublicKey: It does not look like one.
            Unauthenticated: There is no such key.
        """
        if not is_uuid4(public_key):
            raise InvalidPublicKey

        async def unit(tx: Tx) -> Environment | None:
            return await table.by_public_key(tx, public_key.lower())

        environment = await self._store.read(unit)
        if environment is None:
            raise Unauthenticated
        return environment

    async def public_key(self, environment_id: int) -> str:
        """Return an environment's public key.

        Raises:
            NotFound: There is no such environment.
        """

        async def unit(tx: Tx) -> str | None:
            return await table.public_key(tx, environment_id)

        key = await self._store.read(unit)
        if key is None:
            raise NotFound("There is no such environment.")
        return key

    async def update_settings(self, environment_id: int, changes: Mapping[str, Any]) -> Environment:
        """Change settings by name and return the environment; `None` takes one away.

        Raises:
            NotFound: There is no such environment.
        """

        async def unit(tx: Tx) -> Environment:
            environment = await table.get(tx, environment_id, lock=True)
            if environment is None:
                raise NotFound("There is no such environment.")
            merged = {**environment.settings, **self._sealed(environment, changes)}
            kept = {name: value for name, value in merged.items() if value is not None}
            await table.set_settings(tx, environment_id, kept)
            tx.after_commit(self.recent.forget)
            return Environment(environment_id, environment.uuid, environment.name, kept)

        return await self._store.write(unit)

    def hmac_key(self, environment: Environment) -> str:
        """Return the key browsers' hmacs are made with; an empty one when none is set."""
        sealed = environment.settings.get("hmac_key")
        if not sealed:
            return ""
        context = contexts.hmac_key(environment.uuid)
        return self._vault.open(base64.b64decode(str(sealed)), context=context).decode()

    def _sealed(self, environment: Environment, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return changes as they may be stored: the one secret among the settings is sealed."""
        key = changes.get("hmac_key")
        if not key:
            return changes
        context = contexts.hmac_key(environment.uuid)
        sealed = self._vault.seal(str(key).encode(), context=context)
        return {**changes, "hmac_key": base64.b64encode(sealed).decode()}

    async def signing_key(self, environment_id: int) -> str:
        """Return the key an environment's notifications are signed with.

        Raises:
            NotFound: There is no such environment.
        """

        async def unit(tx: Tx) -> list[tuple[str, bytes]]:
            return await table.signing_keys(tx, environment_id)

        for uuid, sealed in await self._store.read(unit):
            return self._vault.open(sealed, context=contexts.signing_key(uuid)).decode()
        raise NotFound("There is no such environment.")

    async def rotate_signing_key(self, environment_id: int) -> str:
        """Replace the key an environment's notifications are signed with and return the new one.

        Raises:
            NotFound: There is no such environment.
        """
        plain = self._chance.uuid4()

        async def unit(tx: Tx) -> None:
            environment = await table.get(tx, environment_id)
            if environment is None:
                raise NotFound("There is no such environment.")
            context = contexts.signing_key(environment.uuid)
            sealed = self._vault.seal(plain.encode(), context=context)
            await table.set_signing_key(tx, environment_id, sealed)

        await self._store.write(unit)
        return plain

    async def _holder(self, hashed: str) -> KeyHolder:
        holder = self.recent.get(hashed)
        if holder is not None:
            return holder
        version = self.recent.version

        async def unit(tx: Tx) -> KeyHolder | None:
            return await table.key_holder(tx, hashed)

        holder = await self._store.read(unit)
        if holder is None:
            raise Unauthenticated
        self.recent.put(hashed, holder, version=version)
        return holder
