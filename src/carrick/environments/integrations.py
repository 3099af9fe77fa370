"""Integrations: an environment's use of one provider, with its secrets sealed.

Deleting one is a journey (its connections are cleaned up first) and lives in `lifecycle`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from carrick.environments.integration_config import resolve_integration_config
from carrick.errors import Conflict, InvalidBody, NotFound
from carrick.model.auth import AuthMode
from carrick.model.clock import Chance
from carrick.model.environment import Integration, IntegrationState
from carrick.model.provider import Provider
from carrick.store import deployments as deployment_rows
from carrick.store import environments as environment_rows
from carrick.store import integrations as table
from carrick.store.integrations import SealedIntegration
from carrick.store.unit import Store, Tx
from carrick.vault import Vault, contexts

OnRefusedReconnect = Literal["auth_error", "keep"]

#: Modes whose connections cannot be made without the developer's own app at the provider.
_NEEDS_CREDENTIALS = frozenset({AuthMode.OAUTH1, AuthMode.OAUTH2, AuthMode.APP, AuthMode.CUSTOM})
#: Modes whose integration credentials have `scopes`.
_HAS_SCOPES = frozenset({AuthMode.OAUTH1, AuthMode.OAUTH2, AuthMode.TBA})


#: What is kept beside an integration's own columns, because nothing looks for it.
_SETTINGS = (
    "override_hosts",
    "on_refused_reconnect",
    "function_concurrency",
    "functions_per_minute",
)


class Providers(Protocol):
    """The catalogue, as far as integrations need it."""

    def find(self, name: str) -> Provider | None:
        """Return a provider by name."""


@dataclass(frozen=True)
class NewIntegration:
    """An integration somebody asks for. Credentials have their wire names, `type` included."""

    integration_id: str
    provider: str
    display_name: str | None = None
    credentials: Mapping[str, Any] | None = field(default=None, repr=False)
    integration_config: Mapping[str, str] | None = field(default=None, repr=False)
    custom: Mapping[str, str] | None = field(default=None, repr=False)
    forward_webhooks: bool = True
    override_hosts: Sequence[str] = ()
    on_refused_reconnect: OnRefusedReconnect = "auth_error"
    function_concurrency: int = 0
    functions_per_minute: int = 0


@dataclass(frozen=True)
class IntegrationChanges:
    """What is to change; `None` leaves a thing as it is."""

    integration_id: str | None = None
    display_name: str | None = None
    credentials: Mapping[str, Any] | None = field(default=None, repr=False)
    integration_config: Mapping[str, str] | None = field(default=None, repr=False)
    custom: Mapping[str, str] | None = field(default=None, repr=False)
    forward_webhooks: bool | None = None
    override_hosts: Sequence[str] | None = None
    on_refused_reconnect: OnRefusedReconnect | None = None
    #: 0 takes a limit away.
    function_concurrency: int | None = None
    functions_per_minute: int | None = None


class Integrations:
    """The integrations of environments."""

    def __init__(self, store: Store, vault: Vault, providers: Providers, chance: Chance) -> None:
        self._store = store
        self._vault = vault
        self._providers = providers
        self._chance = chance

    async def create(self, environment_id: int, new: NewIntegration) -> Integration:
        """Make an integration; the provider's default scopes are stored when none are given.

        Raises:
            InvalidBody: The provider is unknown, the id is taken, or the credentials or inputs
                do not fit the provider.
        """
        provider = self._provider(new.provider)
        credentials = _new_credentials(provider, new.credentials)
        _refuse_custom(provider, new.custom)
        config = resolve_integration_config(provider, new.integration_config or {})
        credential_set = self._chance.uuid4()
        values = {
            "environment_id": environment_id,
            "integration_id": new.integration_id,
            "provider": provider.name,
            "display_name": new.display_name,
            "credential_set": credential_set,
            "credentials": self._seal(credential_set, "credentials", credentials),
            "integration_config": self._seal(credential_set, "integration_config", config),
            "custom": self._seal(credential_set, "custom", new.custom),
            "settings": _settings({}, new),
            "forward_webhooks": new.forward_webhooks,
        }

        async def unit(tx: Tx) -> SealedIntegration:
            if not await environment_rows.is_active(tx, environment_id):
                raise NotFound("This environment is being deleted.")
            return await table.insert_integration(tx, values)

        try:
            return self._open(await self._store.write(unit))
        except Conflict as error:
            raise _id_taken() from error

    async def get(self, environment_id: int, integration_id: str) -> Integration | None:
        """Return the active integration of that id."""

        async def unit(tx: Tx) -> SealedIntegration | None:
            return await table.find_active(tx, environment_id, integration_id)

        key = ("active integration", environment_id, integration_id)
        sealed = await self._store.recall(key, unit)
        return self._open(sealed) if sealed is not None else None

    async def by_row(self, row_id: int) -> Integration | None:
        """Return an integration by its row, one that is being deleted as well."""

        async def unit(tx: Tx) -> SealedIntegration | None:
            return await table.get(tx, row_id)

        sealed = await self._store.read(unit)
        return self._open(sealed) if sealed is not None else None

    async def list(self, environment_id: int) -> Sequence[Integration]:
        """Return an environment's active integrations: by provider, then oldest first."""

        async def unit(tx: Tx) -> list[SealedIntegration]:
            return await table.list_active(tx, environment_id)

        return [self._open(sealed) for sealed in await self._store.read(unit)]

    async def update(
        self, environment_id: int, integration_id: str, changes: IntegrationChanges
    ) -> Integration:
        """Change an integration; what is not mentioned stays, single credentials included.

        Raises:
            NotFound: There is no such integration.
            InvalidBody: The new id is taken, connections or functions hang on the old one, or
                credentials or inputs do not fit the provider.
        """

        async def unit(tx: Tx) -> SealedIntegration:
            sealed = await table.find_active(tx, environment_id, integration_id, lock=True)
            if sealed is None:
                raise NotFound(f'Integration "{integration_id}" does not exist')
            if _renames(sealed, changes):
                await _demand_renamable(tx, sealed)
            values = self._changed(self._open(sealed), sealed, changes)
            return await table.update_integration(tx, sealed.row_id, values)

        try:
            return self._open(await self._store.write(unit))
        except Conflict as error:
            raise _id_taken() from error

    def _changed(
        self, current: Integration, sealed: SealedIntegration, changes: IntegrationChanges
    ) -> dict[str, Any]:
        """Return the columns that change, by name."""
        values: dict[str, Any] = {
            name: value
            for name in ("integration_id", "display_name", "forward_webhooks")
            if (value := getattr(changes, name)) is not None
        }
        provider = self._provider(current.provider)
        secrets: dict[str, Mapping[str, Any]] = {}
        if changes.credentials is not None:
            secrets["credentials"] = _changed_credentials(
                provider, current.credentials or {}, changes.credentials
            )
        if changes.integration_config is not None:
            secrets["integration_config"] = resolve_integration_config(
                provider, changes.integration_config, current.integration_config
            )
        if changes.custom is not None:
            _refuse_custom(provider, changes.custom)
            secrets["custom"] = changes.custom
        for column, value in secrets.items():
            values[column] = self._seal(sealed.credential_set, column, value)
        values["settings"] = _settings(sealed.settings, changes)
        return values

    def _provider(self, name: str) -> Provider:
        provider = self._providers.find(name)
        if provider is None:
            raise InvalidBody(
                "Invalid provider",
                issues=[_issue("invalid_string", "Invalid provider", "provider")],
            )
        return provider

    def _seal(
        self, credential_set: str, column: str, value: Mapping[str, Any] | None
    ) -> bytes | None:
        if not value:
            return None
        context = contexts.integration_secret(credential_set, column)
        return self._vault.seal_json(dict(value), context=context)

    def _open(self, sealed: SealedIntegration) -> Integration:
        def open_column(column: str) -> Any:
            ciphertext = getattr(sealed, column)
            if ciphertext is None:
                return None
            context = contexts.integration_secret(sealed.credential_set, column)
            return self._vault.open_json(ciphertext, context=context)

        return Integration(
            row_id=sealed.row_id,
            environment_id=sealed.environment_id,
            integration_id=sealed.integration_id,
            provider=sealed.provider,
            display_name=sealed.display_name,
            state=IntegrationState(sealed.state),
            credentials=open_column("credentials"),
            integration_config=open_column("integration_config") or {},
            custom=open_column("custom") or {},
            override_hosts=tuple(sealed.settings.get("override_hosts", ())),
            on_refused_reconnect=sealed.settings.get("on_refused_reconnect", "auth_error"),
            function_concurrency=sealed.settings.get("function_concurrency", 0),
            functions_per_minute=sealed.settings.get("functions_per_minute", 0),
            forward_webhooks=sealed.forward_webhooks,
            created_at=sealed.created_at,
            updated_at=sealed.updated_at,
        )


def _new_credentials(
    provider: Provider, given: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    if given is None:
        if provider.auth_mode in _NEEDS_CREDENTIALS:
            raise InvalidBody("Missing credentials")
        return None
    credentials = _fitting(provider, given)
    if provider.auth_mode in _HAS_SCOPES and not credentials.get("scopes"):
        scopes = provider.definition.get("default_scopes")
        if isinstance(scopes, list) and scopes:
            credentials["scopes"] = ",".join(str(scope) for scope in scopes)
    return credentials


def _changed_credentials(
    provider: Provider, current: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    merged = {**current, **_fitting(provider, given)}
    if merged.get("webhook_secret") == "":  # how a client takes it away
        del merged["webhook_secret"]
    return merged


def _fitting(provider: Provider, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return credentials with their `type` and without what was not given."""
    if given.get("type", provider.auth_mode.value) != provider.auth_mode.value:
        raise InvalidBody("incompatible credentials auth type and provider auth")
    sent = {name: value for name, value in given.items() if value is not None}
    return {**sent, "type": provider.auth_mode.value}


def _refuse_custom(provider: Provider, custom: Mapping[str, str] | None) -> None:
    if custom and provider.integration_config:
        raise InvalidBody(f"{provider.display_name} takes integration_config instead of custom")


def _settings(
    current: Mapping[str, Any], said: NewIntegration | IntegrationChanges
) -> dict[str, Any]:
    given = {name: getattr(said, name) for name in _SETTINGS}
    if said.override_hosts is not None:
        given["override_hosts"] = list(said.override_hosts)
    return {**current, **{name: value for name, value in given.items() if value is not None}}


def _renames(sealed: SealedIntegration, changes: IntegrationChanges) -> bool:
    return changes.integration_id not in (None, sealed.integration_id)


async def _demand_renamable(tx: Tx, sealed: SealedIntegration) -> None:
    """Refuse to rename what functions are found by: their checks would silently be nobody's.

    Every connection counts that still has a cleanup before it.
    """
    if await table.has_connections(tx, sealed.row_id):
        raise InvalidBody("Cannot rename an integration that has connections")
    await deployment_rows.lock_environment(tx, sealed.environment_id)
    if await deployment_rows.has_active_functions(tx, sealed.environment_id, sealed.integration_id):
        raise InvalidBody(
            "Cannot rename an integration that functions are deployed for: "
            "create one under the new id, deploy the functions there, and delete this one"
        )


def _id_taken() -> InvalidBody:
    message = "Unique key already exists"
    return InvalidBody(message, issues=[_issue("invalid_string", message, "uniqueKey")])


def _issue(code: str, message: str, name: str) -> dict[str, Any]:
    return {"code": code, "message": message, "path": [name]}
