"""Intent before the send, result after it (DESIGN.md §2.4).

A write is named by its run, method, endpoint and params before credentials are added, a hash of
its body, and how many identical writes came before it in this attempt. What succeeded is answered
from the journal on a retry; what has an unknown outcome is sent again under the same
`Idempotency-Key`, unless the function declared `on_unknown="park"`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from carrick.model.event import Effect
from carrick.model.faults import NO_FAULTS, Faults, Point
from carrick.model.http import NOBODY_KNOWS
from carrick.store import journal as entries
from carrick.store.journal import Entry, EntryState
from carrick.store.unit import Store, Tx
from carrick.vault import Vault, contexts

#: Name space of idempotency keys: any fixed UUID, it only has to stay the same.
_NAMESPACE = uuid.UUID("6f0a6a52-5a0e-4c55-9c3e-2f6f3c1d9b57")
#: Bytes of an answer's body that are kept.
MAX_RECORDED = 256 * 1024

Demand = Callable[[Tx], Awaitable[None]]


@dataclass(frozen=True)
class Answer:
    """A provider's answer as the journal keeps it."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class WriteKey:
    """The name of one write within a run."""

    run_id: str
    method: str
    endpoint: str
    key: str

    @property
    def idempotency_key(self) -> str:
        """The same UUID for every send of this write."""
        return str(uuid.uuid5(_NAMESPACE, self.key))

    @property
    def context(self) -> str:
        """What the sealed answer is bound to."""
        return contexts.journal_answer(self.run_id, self.key)


@dataclass(frozen=True)
class Replay:
    """The write succeeded before; this is what the provider answered then."""

    answer: Answer


@dataclass(frozen=True)
class Send:
    """The write has to be sent; `resent` when an earlier send has an unknown outcome."""

    resent: bool


class OutcomeUnknown(Exception):
    """An earlier send has an unknown outcome and the function said to stop there."""

    def __init__(self, method: str, endpoint: str) -> None:
        super().__init__(f"{method} {endpoint}")
        self.method = method
        self.endpoint = endpoint


@dataclass
class Recorder:
    """The journal of one attempt of one run."""

    journal: Journal
    run_id: str
    function: str
    connection_row_id: int | None
    demand: Demand
    park_unknown: bool = False
    _seen: Counter[str] = field(default_factory=Counter)
    _digests: dict[str, str] = field(default_factory=dict)

    def name(
        self, method: str, endpoint: str, params: Any = None, body: bytes | None = None
    ) -> WriteKey:
        """Name the next write of this attempt."""
        digest = hashlib.sha256(
            json.dumps(
                [
                    self.run_id,
                    method.upper(),
                    endpoint,
                    params or {},
                    hashlib.sha256(body or b"").hexdigest(),
                ],
                sort_keys=True,
                default=str,
            ).encode()
        ).hexdigest()
        self._seen[digest] += 1
        key = hashlib.sha256(f"{digest}:{self._seen[digest]}".encode()).hexdigest()
        self._digests[key] = digest
        return WriteKey(self.run_id, method.upper(), endpoint, key)

    def forget(self, name: WriteKey) -> None:
        """Take back a name whose write was not made, so that the next one does not count it."""
        self._seen[self._digests[name.key]] -= 1

    async def begin(self, name: WriteKey) -> Replay | Send:
        """Write the intent, or find out that it is not needed.

        Raises:
            OutcomeUnknown: An earlier send may have happened and the function wants to stop.
            ResultLost: The run was taken over.
        """

        async def unit(tx: Tx) -> Entry | None:
            await self.demand(tx)
            found = await entries.find(tx, name.run_id, name.key)
            if found is None:
                await self._add(tx, name, EntryState.SENDING)
            elif found.state is EntryState.SENDING and self.park_unknown:
                raise OutcomeUnknown(name.method, name.endpoint)
            elif found.state is not EntryState.SUCCEEDED:
                await entries.change(
                    tx,
                    name.run_id,
                    name.key,
                    state=EntryState.SENDING.value,
                    sends=found.sends + 1,
                )
            await self.journal.faults.reached(Point.BEFORE_INTENT)
            return found

        found = await self.journal.store.write(unit)
        if found is not None and found.state is EntryState.SUCCEEDED:
            return Replay(self.journal.open(name.context, found.answer))
        return Send(resent=found is not None and found.state is EntryState.SENDING)

    async def _add(self, tx: Tx, name: WriteKey, state: EntryState) -> None:
        await entries.add(
            tx,
            run_id=name.run_id,
            connection_row_id=self.connection_row_id,
            function=self.function,
            key=name.key,
            idempotency_key=name.idempotency_key,
            method=name.method,
            endpoint=name.endpoint,
            state=state.value,
        )

    async def finish(self, name: WriteKey, answer: Answer, *, resent: bool) -> Answer:
        """Record what the provider answered and return what the function is told.

        A DELETE that was sent again and finds nothing left has done its work: 204. Any other
        answer but a success, to a write that was sent again, says nothing about the earlier send:
        what that one did stays unknown. Nor does a gateway know that got no answer itself.
        """
        gone = resent and name.method == "DELETE" and answer.status in (404, 410)
        told = Answer(204, {}, b"") if gone else answer
        succeeded = 200 <= told.status < 300
        is_unknown = resent or told.status in NOBODY_KNOWS
        otherwise = EntryState.SENDING if is_unknown else EntryState.ANSWERED
        state = EntryState.SUCCEEDED if succeeded else otherwise
        sealed = self.journal.seal(name.context, told)

        async def unit(tx: Tx) -> None:
            await self.demand(tx)
            await entries.change(
                tx, name.run_id, name.key, state=state.value, status=told.status, answer=sealed
            )
            await self.journal.faults.reached(Point.BEFORE_RECORD)

        await self.journal.store.write(unit)
        await self.journal.faults.reached(Point.AFTER_RECORD)
        return told

    async def unsent(self, name: WriteKey, *, resent: bool) -> None:
        """Record that the write certainly never left, unless an earlier send of it may have."""
        if resent:
            return

        async def unit(tx: Tx) -> None:
            await self.demand(tx)
            await entries.change(tx, name.run_id, name.key, state=EntryState.UNSENT.value)

        await self.journal.store.write(unit)

    async def done_before_in(self, tx: Tx, name: WriteKey) -> bool:
        """Say whether this run made that metadata write before; note it if not.

        Metadata lies in our own store, so the entry and the write share one transaction and the
        outcome is never unknown.
        """
        if await entries.find(tx, name.run_id, name.key) is not None:
            return True
        await self._add(tx, name, EntryState.SUCCEEDED)
        return False


class Journal:
    """All runs' journals."""

    def __init__(self, store: Store, vault: Vault, faults: Faults = NO_FAULTS) -> None:
        self.store = store
        self.faults = faults
        self._vault = vault

    def seal(self, context: str, answer: Answer) -> bytes:
        """Encrypt an answer; a long body is cut and says so in a header."""
        body, headers = answer.body, dict(answer.headers)
        if len(body) > MAX_RECORDED:
            body = body[:MAX_RECORDED]
            headers["carrick-truncated"] = "true"
        value = {
            "status": answer.status,
            "headers": headers,
            "body": base64.b64encode(body).decode(),
        }
        return self._vault.seal_json(value, context=context)

    def open(self, context: str, sealed: bytes | None) -> Answer:
        """Decrypt an answer."""
        if sealed is None:
            return Answer(204, {}, b"")
        value = self._vault.open_json(sealed, context=context)
        return Answer(value["status"], value["headers"], base64.b64decode(value["body"]))

    async def effects_in(self, tx: Tx, run_ids: Sequence[str]) -> list[Effect]:
        """Return what failed setups made or may have made, for their cleanup to see."""
        found = []
        for entry in await entries.effects(tx, run_ids):
            unknown = entry.state is EntryState.SENDING
            data = None
            if not unknown and entry.answer is not None:
                answer = self.open(contexts.journal_answer(entry.run_id, entry.key), entry.answer)
                data = _data(answer.body)
            found.append(
                Effect(
                    function=entry.function,
                    method=entry.method,
                    endpoint=entry.endpoint,
                    state="unknown" if unknown else "succeeded",
                    status=entry.status,
                    data=data,
                )
            )
        return found


def _data(body: bytes) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", errors="replace")
