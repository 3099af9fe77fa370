"""The calls a runner may make, answered for one attempt of one run.

Everything a function can reach passes here: provider calls (journalled when they can change
something), metadata, checkpoints, locks, facts that need a declaration, and the log. A dry run
uses the same calls with its writes withheld.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlencode

from carrick.egress import Egress
from carrick.environments import Variables
from carrick.errors import CarrickError, NotDeclared, UnknownHostCall, WriteStopped
from carrick.journal import Answer, Recorder, Replay, Send, WriteKey
from carrick.journal.journal import OutcomeUnknown
from carrick.model.clock import Clock
from carrick.model.event import FunctionRef
from carrick.model.faults import Point
from carrick.model.http import OutboundAnswer, OutboundRequest
from carrick.operations import Operations, Scrubber
from carrick.proxy import BeforeResend, Proxy, ProxyCall, Target, paginate_config
from carrick.runtime.state import RunState
from carrick.runtime.subjects import Subject
from carrick.store.unit import Store
from carrick.vault import Vault

_READS = frozenset({"GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT"})
#: Log lines and calls kept in memory for a dry run's report.
_MAX_SHOWN = 1000

Mode = Literal["live", "withhold"]


@dataclass(frozen=True)
class CallServices:
    """What the calls are answered with."""

    store: Store
    vault: Vault
    clock: Clock
    proxy: Proxy
    egress: Egress
    variables: Variables
    operations: Operations


@dataclass(frozen=True)
class CallRecord:
    """One outward call, for a dry run's report."""

    method: str
    endpoint: str
    status: int | None
    withheld: bool
    body: Any = None


@dataclass
class RunCalls:
    """The calls of one attempt."""

    services: CallServices
    function: FunctionRef
    subject: Subject
    recorder: Recorder
    operation_id: str
    scrubber: Scrubber
    connection_row_id: int | None
    deadline: float
    mode: Mode = "live"
    records: list[CallRecord] = field(default_factory=list)
    logged: list[dict[str, Any]] = field(default_factory=list)
    stopped_at: OutcomeUnknown | None = None
    state: RunState = field(init=False)

    def __post_init__(self) -> None:
        self.state = RunState(
            self.services.store,
            self.services.vault,
            self.subject,
            function=self.function.name,
            run_id=self.recorder.run_id,
            connection_row_id=self.connection_row_id,
            is_live=self.mode == "live",
        )

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """Answer one call of the runner.

        Raises:
            CarrickError: What went wrong, in words the function's author can use.
        """
        handler = _HANDLERS.get(method)
        if handler is None:
            raise UnknownHostCall(f"There is no call named {method!r}.")
        return await handler(self, params)

    # --- outward calls ----------------------------------------------------------------------

    async def _request(self, params: dict[str, Any]) -> dict[str, Any]:
        method = str(params["method"]).upper()
        if method in _READS:
            answer = await self._send(params, {})
            self._note_call(method, params["endpoint"], answer.status)
            return _told(answer.status, answer.headers, answer.body)
        if self.mode == "withhold":
            self._note_call(method, params["endpoint"], None, withheld=True, params=params)
            return {
                "status": 200,
                "headers": {},
                "body": b"",
                "withheld": f"{method} {params['endpoint']}",
            }
        return await self._write(method, params)

    async def _write(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        endpoint = str(params["endpoint"])
        name = self.recorder.name(method, endpoint, params.get("params"), params.get("body"))
        name = replace(name, endpoint=self.scrubber.scrub_text(endpoint))  # as it may be kept
        try:
            step = await self.recorder.begin(name)
        except OutcomeUnknown as unknown:
            raise self._stopped(unknown) from unknown
        if isinstance(step, Replay):
            self._note("info", f"{method} {endpoint}: answered from the journal, not sent again")
            return _told(step.answer.status, step.answer.headers, step.answer.body)
        if step.resent:
            await self._tell_resent(name)
        answer = await self._send_write(name, step, params)
        self._note_call(method, endpoint, answer.status)
        return _told(answer.status, answer.headers, answer.body)

    async def _send_write(self, name: WriteKey, step: Send, params: dict[str, Any]) -> Answer:
        faults = self.recorder.journal.faults
        resent = step.resent

        async def once_more() -> None:  # a retry that the function has asked for
            nonlocal resent
            resent = True
            if self.recorder.park_unknown:
                raise self._stopped(OutcomeUnknown(name.method, name.endpoint))
            await self._tell_resent(name)

        await faults.reached(Point.BEFORE_SEND)
        try:
            extra = {"Idempotency-Key": name.idempotency_key}
            sent = await self._send(params, extra, before_resend=once_more)
        except CarrickError as error:
            if not error.sent:  # refused on our side, or never left: its outcome is known
                await self.recorder.unsent(name, resent=resent)
            raise
        await faults.reached(Point.AFTER_ANSWER)
        answer = Answer(sent.status, sent.headers, sent.body)
        return await self.recorder.finish(name, answer, resent=resent)

    def _stopped(self, unknown: OutcomeUnknown) -> WriteStopped:
        self.stopped_at = unknown
        return WriteStopped(f"{unknown} was sent before and its outcome is unknown.")

    async def _tell_resent(self, name: WriteKey) -> None:
        """Say on the operation that a write is sent twice: durably, before that is done."""
        self._note(
            "warn",
            f"{name.method} {name.endpoint}: the outcome of an earlier send is unknown, sent again "
            "with the same Idempotency-Key",
            outcome_unknown=True,
        )
        await self.services.operations.flush()

    async def _send(
        self,
        params: dict[str, Any],
        extra: Mapping[str, str],
        *,
        before_resend: BeforeResend | None = None,
    ) -> OutboundAnswer:
        headers = {**extra, **{str(k): str(v) for k, v in (params.get("headers") or {}).items()}}
        if extra and any(name.lower() == "idempotency-key" for name in params.get("headers") or {}):
            headers = {str(k): str(v) for k, v in params["headers"].items()}
        content_type = params.get("content_type")
        if content_type and not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = str(content_type)
        if params.get("kind") == "fetch":
            return await self._fetch(params, headers)
        call = ProxyCall(
            method=str(params["method"]).upper(),
            endpoint=str(params["endpoint"]),
            headers=headers,
            params=params.get("params"),
            body=params.get("body"),
            retries=int(params.get("retries") or 0),
            retry_on=tuple(params.get("retry_on") or ()),
            base_url_override=params.get("base_url_override"),
        )
        return await self.services.proxy.call(
            call,
            await self._target(),
            before_send=self.subject.demand_now,
            before_resend=before_resend,
            deadline=self.deadline,
        )

    async def _fetch(self, params: dict[str, Any], headers: dict[str, str]) -> OutboundAnswer:
        url = str(params["endpoint"])
        query = params.get("params")
        if query:
            url += ("&" if "?" in url else "?") + urlencode(query, doseq=True)
        await self.subject.demand_now()
        left = max(1.0, self.deadline - self.services.clock.monotonic())
        request = OutboundRequest(str(params["method"]).upper(), url, headers, params.get("body"))
        return await self.services.egress.send(request, timeout_s=left, follow=5)

    async def _target(self) -> Target:
        metadata, _ = await self.subject.metadata()
        return Target(
            provider=self.subject.place.provider,
            integration=self.subject.place.integration,
            connection_config=await self.subject.connection_config(),
            metadata=metadata,
            credentials=self._credentials,
        )

    async def _credentials(self) -> Any:
        credentials = await self.subject.credentials()
        self.scrubber.add(credentials.secrets())
        # Runs share processes: another's last words may hold what was handed to this one.
        self.services.operations.scrubber.add(credentials.secrets())
        return credentials

    async def _paginate_config(self, _params: dict[str, Any]) -> Any:
        return paginate_config(self.subject.place.provider)

    # --- metadata and identity --------------------------------------------------------------

    async def _get_metadata(self, _params: dict[str, Any]) -> dict[str, Any]:
        metadata, version = await self.subject.metadata()
        return {"metadata": metadata, "version": version}

    async def _set_metadata(self, params: dict[str, Any]) -> dict[str, Any]:
        metadata, version = await self.subject.write_metadata(
            params["metadata"], merge=False, version=params.get("version")
        )
        return {"metadata": metadata, "version": version}

    async def _update_metadata(self, params: dict[str, Any]) -> dict[str, Any]:
        metadata, version = await self.subject.write_metadata(
            params["changes"], merge=True, version=params.get("version")
        )
        return {"metadata": metadata, "version": version}

    async def _require_same_account(self, params: dict[str, Any]) -> dict[str, bool]:
        same, known = await self.subject.same_account(str(params["account_id"]))
        return {"same": same, "known": known}

    # --- what has to be declared ------------------------------------------------------------

    def _demand_credentials(self, name: str) -> None:
        if not self.function.declaration.credentials:
            raise NotDeclared(
                f"ctx.{name}() gives the function secrets: declare credentials=True in "
                "create_on_event(...) to use it."
            )

    async def _get_connection(self, _params: dict[str, Any]) -> dict[str, Any]:
        self._demand_credentials("get_connection")
        credentials = await self._credentials()
        shown = {"type": credentials.auth_mode.value, **credentials.values}
        return {**await self.subject.describe(), "credentials": shown}

    async def _get_token(self, _params: dict[str, Any]) -> Any:
        self._demand_credentials("get_token")
        credentials = await self._credentials()
        values = credentials.values
        return values.get("access_token") or values.get("token") or dict(values)

    async def _get_integration(self, _params: dict[str, Any]) -> dict[str, Any]:
        integration = self.subject.place.integration
        return {
            "integration_id": integration.integration_id,
            "provider": integration.provider,
            "display_name": integration.display_name or self.subject.place.provider.display_name,
        }

    async def _get_webhook_url(self, _params: dict[str, Any]) -> str | None:
        return None  # no provider of the catalogue routes inbound webhooks through Carrick yet

    async def _get_environment_variables(self, params: dict[str, Any]) -> dict[str, str]:
        declared = set(self.function.declaration.variables)
        if not declared:
            raise NotDeclared(
                "ctx.get_environment_variables() gives the function secrets: declare "
                'variables=["NAME", ...] in create_on_event(...) to use it.'
            )
        environment_id = self.subject.place.environment.row_id
        found = dict(await self.services.variables.list(environment_id))
        wanted = set(params.get("names") or declared) & declared
        self.scrubber.add(value for name, value in found.items() if name in declared)
        return {name: found[name] for name in sorted(wanted) if name in found}

    # --- the log ----------------------------------------------------------------------------

    async def _log(self, params: dict[str, Any]) -> None:
        fields = params.get("fields") or {}
        self._note(str(params.get("level") or "info"), str(params["message"]), **fields)

    def _note(self, level: str, message: str, **fields: Any) -> None:
        message = self.scrubber.scrub_text(message)
        fields = self.scrubber.scrub(fields)
        if len(self.logged) < _MAX_SHOWN:
            self.logged.append({"level": level, "message": message, "fields": fields})
        self.services.operations.note(self.operation_id, level, message, **fields)

    def _note_call(
        self,
        method: str,
        endpoint: str,
        status: int | None,
        *,
        withheld: bool = False,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        endpoint = self.scrubber.scrub_text(endpoint)
        body = params.get("body") if params else None
        shown = body.decode("utf-8", errors="replace")[:2000] if isinstance(body, bytes) else None
        if len(self.records) < _MAX_SHOWN:
            shown = self.scrubber.scrub(shown)
            self.records.append(CallRecord(method, endpoint, status, withheld, shown))
        if not withheld:
            self.services.operations.note(
                self.operation_id,
                "info",
                f"{method} {endpoint} → {status}",
                "http",
                method=method,
                endpoint=endpoint,
                status=status,
            )


def _told(status: int, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    return {"status": status, "headers": dict(headers), "body": body, "withheld": None}


_Handler = Callable[[RunCalls, dict[str, Any]], Awaitable[Any]]


def _by_state(handler: Callable[[RunState, dict[str, Any]], Awaitable[Any]]) -> _Handler:
    return lambda calls, params: handler(calls.state, params)


_HANDLERS: dict[str, _Handler] = {
    "request": RunCalls._request,
    "paginate_config": RunCalls._paginate_config,
    "get_metadata": RunCalls._get_metadata,
    "set_metadata": RunCalls._set_metadata,
    "update_metadata": RunCalls._update_metadata,
    "require_same_account": RunCalls._require_same_account,
    "get_connection": RunCalls._get_connection,
    "get_token": RunCalls._get_token,
    "get_integration": RunCalls._get_integration,
    "get_webhook_url": RunCalls._get_webhook_url,
    "get_environment_variables": RunCalls._get_environment_variables,
    "get_checkpoint": _by_state(RunState.get_checkpoint),
    "save_checkpoint": _by_state(RunState.save_checkpoint),
    "clear_checkpoint": _by_state(RunState.clear_checkpoint),
    "acquire_lock": _by_state(RunState.acquire_lock),
    "release_lock": _by_state(RunState.release_lock),
    "log": RunCalls._log,
}
