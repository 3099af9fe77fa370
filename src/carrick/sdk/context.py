"""The context that an event function receives: everything it can know and do."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, cast

from carrick.model.event import Effect, Event, Occasion
from carrick.sdk.calls import Calls
from carrick.sdk.errors import ActionError, CarrickUsageError, HostError, IncompleteDryRun
from carrick.sdk.host import Facts, Host, Previous
from carrick.sdk.lock import LockRequest, Sleep
from carrick.sdk.metadata import MetadataView
from carrick.sdk.placeholder import Placeholder
from carrick.sdk.plain import to_json, to_loose, to_plain
from carrick.sdk.types import M

if TYPE_CHECKING:
    from asyncio import Lock

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]

MAX_CHECKPOINT_BYTES = 16 * 1024
#: Characters of one log message.
MAX_MESSAGE = 10_000
#: How often a metadata write starts over because somebody else wrote meanwhile.
_TRIES = 10
_NAMESPACE = uuid.UUID("7d0a2b54-5a0e-5e0e-9f5c-5f8a8b1c9a10")


class EventContext(Calls, Generic[M]):
    """What a function sees of the connection it runs for, and what it can do to it.

    `EventContext[Metadata]` reads and writes metadata as the declared model, a bare `EventContext`
    as plain dicts.
    """

    def __init__(
        self,
        host: Host,
        facts: Facts,
        *,
        metadata: type[M] | None = None,
        sleep: Sleep | None = None,
    ) -> None:
        """Build it.

        Args:
            host: Who answers its calls.
            facts: What the run knows from the start.
            metadata: The declared model.
            sleep: How it waits for a lock; `asyncio.sleep` by default.
        """
        super().__init__(host)
        self._facts = facts
        self._view = MetadataView[M](metadata)
        self._sleep = sleep
        self._uuids = 0
        self._writing: Lock | None = None

    # --- facts ------------------------------------------------------------------------------

    @property
    def connection_id(self) -> str:
        """The connection's public id."""
        return self._facts.connection_id

    @property
    def integration_id(self) -> str:
        """The integration the connection belongs to."""
        return self._facts.integration_id

    @property
    def provider(self) -> str:
        """The provider's name in the catalogue."""
        return self._facts.provider

    @property
    def environment(self) -> str:
        """The environment's name, such as `dev` or `prod`."""
        return self._facts.environment

    @property
    def event(self) -> Event:
        """The event that is being handled."""
        return Event(self._facts.event)

    @property
    def operation(self) -> Occasion:
        """Why it happens: creation, reconnect, import or deletion."""
        return Occasion(self._facts.operation)

    @property
    def run_id(self) -> str:
        """The run's id, the same over all attempts."""
        return self._facts.run_id

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._facts.attempt

    @property
    def dry_run(self) -> bool:
        """Whether this is a dry run."""
        return self._facts.dry_run

    @property
    def previous(self) -> Previous | None:
        """On a reconnect: metadata, connection_config and tags as they were."""
        return cast("Previous | None", self._facts.previous)

    @property
    def effects(self) -> tuple[Effect, ...]:
        """In a cleanup: writes that a setup which never finished made, or may have made."""
        return tuple(Effect(**effect) for effect in self._facts.effects)

    def now(self) -> datetime:
        """Return the run's first start: the same moment on every attempt."""
        return datetime.fromisoformat(self._facts.started_at)

    def uuid(self) -> str:
        """Return a UUID; the n-th call gives the same one on every attempt."""
        self._uuids += 1
        return str(uuid.uuid5(_NAMESPACE, f"{self._facts.run_id}:{self._uuids}"))

    # --- metadata ---------------------------------------------------------------------------

    async def get_metadata(self) -> M:
        """Return the connection's metadata as the declared model.

        Raises:
            pydantic.ValidationError: It does not fit the model.
        """
        return self._view.read((await self._call("get_metadata", {}))["metadata"])

    async def set_metadata(self, value: M | dict[str, Any] | None = None, /, **fields: Any) -> None:
        """Replace the metadata by a dict, or what the model knows of it by a model instance.

        Raises:
            pydantic.ValidationError: It does not fit the declared model.
        """
        await self._write("set_metadata", "metadata", value, fields)

    async def update_metadata(self, value: M | dict[str, Any] | None = None, /, **fields: Any) -> M:
        """Merge a dict, the set fields of a model instance, or keywords into the metadata.

        Raises:
            pydantic.ValidationError: The merged result does not fit the declared model.
        """
        return self._view.read(await self._write("update_metadata", "changes", value, fields))

    async def _write(
        self, method: str, name: str, value: Any, fields: dict[str, Any]
    ) -> dict[str, Any]:
        from asyncio import Lock  # late: whoever only imports function files should not load it

        self._writing = self._writing or Lock()
        async with self._writing:  # what a function writes at once must not get in its own way
            return await self._written(method, name, value, fields)

    async def _written(
        self, method: str, name: str, value: Any, fields: dict[str, Any]
    ) -> dict[str, Any]:
        form = self._view.merge if method == "update_metadata" else self._view.replace
        for _ in range(_TRIES):
            current = await self._call("get_metadata", {})
            change = form(current["metadata"], value, fields)
            params = {name: change, "version": current["version"]}
            try:
                await self._call(method, params)
            except HostError as error:
                if error.code != "metadata_changed":
                    raise
            else:
                stored: dict[str, Any] = current["metadata"]
                return {**stored, **change} if name == "changes" else change
        raise HostError("metadata_changed", "The metadata keeps being changed by others.")

    # --- identity and connection ------------------------------------------------------------

    async def require_same_account(
        self, account_id: str | int, *, message: str | None = None
    ) -> None:
        """Refuse if the connection belongs to another account; the first call records it.

        Args:
            account_id: What identifies the account at the provider, and never changes.
            message: What the person who is connecting is told.

        Raises:
            ActionError: It is another account.
        """
        if isinstance(account_id, Placeholder):
            raise IncompleteDryRun(f"the account is {account_id}, known only after a real write")
        if isinstance(account_id, bool) or not isinstance(account_id, str | int):
            kind = type(account_id).__name__
            raise CarrickUsageError(f"An account id is a string or a number, not {kind}.")
        if account_id == "":
            raise CarrickUsageError("The account id is empty: check what the provider answered.")
        answer = await self._call("require_same_account", {"account_id": str(account_id)})
        if not answer["same"]:
            raise ActionError(
                message
                or "This is not the account that was connected before. "
                "Sign in with the same account, or create a new connection."
            )

    async def get_connection(self) -> dict[str, Any]:
        """Return the connection with its credentials; needs `credentials=True`."""
        self._demand_credentials("get_connection")
        return cast("dict[str, Any]", await self._call("get_connection", {}))

    async def get_token(self) -> Any:
        """Return the token that calls are made with; needs `credentials=True`."""
        self._demand_credentials("get_token")
        return await self._call("get_token", {})

    async def get_integration(self) -> dict[str, Any]:
        """Return the integration, without its secrets."""
        return cast("dict[str, Any]", await self._call("get_integration", {}))

    async def get_webhook_url(self) -> str | None:
        """Return the address at which the provider's webhooks reach this integration."""
        return cast("str | None", await self._call("get_webhook_url", {}))

    async def get_environment_variables(self) -> dict[str, str]:
        """Return the environment variables that the declaration names, as far as they are set."""
        names = list(self._facts.variables)
        if not names:
            raise CarrickUsageError(
                "ctx.get_environment_variables() gives only what is declared: name them in "
                'create_on_event(..., variables=["NAME"]).'
            )
        return cast(
            "dict[str, str]", await self._call("get_environment_variables", {"names": names})
        )

    def _demand_credentials(self, name: str) -> None:
        if not self._facts.credentials:
            raise CarrickUsageError(
                f"ctx.{name}() hands out secrets: declare it with "
                "create_on_event(..., credentials=True)."
            )

    # --- state ------------------------------------------------------------------------------

    async def get_checkpoint(self) -> Any:
        """Return what an earlier attempt saved; `None` when it saved nothing."""
        return await self._call("get_checkpoint", {})

    async def save_checkpoint(self, value: Any) -> None:
        """Keep JSON data of at most 16 KiB for the next attempt; success clears it."""
        size = len(to_json(value, "The checkpoint").encode())
        if size > MAX_CHECKPOINT_BYTES:
            raise CarrickUsageError(
                f"A checkpoint has at most {MAX_CHECKPOINT_BYTES} bytes of JSON, this one {size}."
            )
        await self._call("save_checkpoint", {"value": to_plain(value, "The checkpoint")})

    async def clear_checkpoint(self) -> None:
        """Forget what was saved."""
        await self._call("clear_checkpoint", {})

    def lock(self, key: str, ttl: float = 30.0, *, wait: float | None = None) -> LockRequest:
        """Ask for a lock that all runs of the integration share.

        `async with ctx.lock("customers")` waits for it (30 s unless `wait` says otherwise) and
        gives it back; `lock = await ctx.lock("customers")` tries, and `if lock:` says whether it
        worked.

        Args:
            key: What is locked.
            ttl: Seconds after which the lock is free again even if nobody gave it back.
            wait: Seconds to wait for it.
        """
        return LockRequest(self._call, self._sleep, key, ttl, wait)

    # --- the log ----------------------------------------------------------------------------

    async def log(self, message: object, level: LogLevel = "info", **fields: Any) -> None:
        """Write a line to the operation's log; known secrets are scrubbed from it."""
        text = str(message)
        if len(text) > MAX_MESSAGE:
            text = f"{text[:MAX_MESSAGE]}…"
        params = {"level": str(level), "message": text, "fields": to_loose(fields)}
        await self._call("log", params)
