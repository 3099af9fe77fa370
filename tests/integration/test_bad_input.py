"""Bad input, from callers, projects and providers: a clear error, and nothing half-written."""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

import pytest
import pytest_asyncio
from tests.integration.server import IDLE, Answer, ServerProcess, served
from tests.lifecycle.house import SETUP

from carrick.testing.fake_provider import Account, FaultKind

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 100_000
JSON = {"Content-Type": "application/json"}
#: Asks who it is, and gives up on a silent provider after a second.
CHECK = """
@create_on_event(event="validate-connection", description="Same organisation only", timeout=1)
async def function(ctx: EventContext) -> None:
    me = await ctx.get("/api/me")
    await ctx.require_same_account(me.data["organization_id"])
    await ctx.update_metadata(organization=me.data["organization_id"])
"""
PATIENT_SETUP = SETUP.replace("waits=[0.01]", "waits=[0.01], timeout=1, attempts=3")
#: Believes that a webhook is gone only when the provider no longer knows it.
CLEANUP = """
@create_on_event(
    event="pre-connection-deletion", description="Remove it", waits=[0.01], timeout=1, attempts=3
)
async def function(ctx: EventContext) -> None:
    metadata = await ctx.get_metadata()
    held = await ctx.get("/webhooks")
    if metadata["webhook_id"] in [one["id"] for one in held.data["webhooks"]]:
        await ctx.delete("/webhooks/" + metadata["webhook_id"])
"""
MODEL = """
from pydantic import BaseModel
class Metadata(BaseModel):
    webhook_id: int
@create_on_event(
    event="post-connection-creation", description="Typed", metadata=Metadata, attempts=1
)
async def function(ctx: EventContext[Metadata]) -> None:
"""
#: What a provider may do instead of answering as it should.
WRONGS = ("html", "hang", "close", "error_body", "large")
#: Those that leave open what the provider would have said.
SILENT = ("hang", "close", "large")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """A server that accepts small bodies, with nothing deployed."""
    folder = tmp_path_factory.mktemp("bad-input")
    async with served(folder, max_body_bytes=str(LIMIT)) as running:
        yield running


@dataclass(frozen=True)
class Customer:
    """An account at the provider and the connection it is for."""

    server: ServerProcess
    name: str
    account: Account

    async def connect(self, **changes: Any) -> Answer:
        """Connect or reconnect the account."""
        return await self.server.connect(self.account, self.name, **changes)

    async def cleanups(self) -> list[dict[str, Any]]:
        """Return what is left to clean up."""
        return [one for one in await self.server.cleanups() if one["connection_id"] == self.name]

    async def gone(self) -> None:
        """Wait until nothing is left to clean up."""
        await self.server.until(
            lambda: self.server.call("GET", "/cleanups"),
            lambda answer: self.name not in answer.text,
        )

    async def log(self, action: str) -> str:
        """Return everything that the connection's operations of a kind say."""
        found = await self.server.operations(connection_id=self.name, action=action)
        return json.dumps(found, ensure_ascii=False)


@pytest_asyncio.fixture(loop_scope="module")
async def customer(
    server: ServerProcess, request: pytest.FixtureRequest
) -> AsyncIterator[Customer]:
    """A customer that only this test has."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name)
    yield Customer(server, name, server.provider.add_account(name))
    server.provider.recover()


def held(server: ServerProcess) -> list[str]:
    """Return the ids of the webhooks that the provider holds."""
    return [hook.id for hook in server.provider.webhooks]


# --- callers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "body", "status", "code"),
    [
        ("GET /connections/x?provider_config_key=NOPE", None, 400, "unknown_provider_config"),
        ("GET /connections/NOPE?provider_config_key=acme", None, 404, "not_found"),
        ("DELETE /connections/NOPE?provider_config_key=acme", None, 400, "unknown_connection"),
        ("GET /integrations/NOPE", None, 404, "not_found"),
        ("POST /dryruns", {"function": "NOPE", "connection_id": "x"}, 404, "unknown_function"),
        ("POST /operations/NOPE/retry", {}, 404, "not_found"),
        ("POST /cleanups/4711/retry", {}, 404, "not_found"),
        ("GET /NOPE", None, 404, "not_found"),
        ("PUT /connections", {}, 405, "method_not_allowed"),
    ],
)
async def test_what_is_unknown_is_named(
    server: ServerProcess, asked: str, body: Any, status: int, code: str
) -> None:
    """Unknown integrations, connections, functions and paths: an error with the name in it."""
    method, path = asked.split()

    answer = await server.call(method, path, body)

    assert (answer.status, answer.code) == (status, code), answer.text
    assert any(name in answer.message for name in ("NOPE", "PUT", "by that id")), answer.text


async def test_an_unknown_event_is_refused_where_it_is_declared(server: ServerProcess) -> None:
    """A function for an event that does not exist: file, line and the events that do."""
    source = SETUP.replace("post-connection-creation", "post-connection-cremation")
    await server.deploy(IDLE)

    answer = await server.deploy({"setup": source})

    assert_refused_at(answer, "acme/on_events/setup.py", "post-connection-creation")
    listed = (await server.call("GET", "/integrations/acme/functions")).json["data"]
    assert [one["name"] for one in listed] == ["idle"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"a": 1} x', b"\xff\xfe", b"[]", b"null", b"1" * 9999]
)
async def test_malformed_json_is_refused(server: ServerProcess, body: bytes) -> None:
    """Whatever is not a JSON object: 400, and a sentence about what it is instead."""
    answer = await server.call("POST", "/connections", data=body, headers=JSON)

    assert answer.status == 400, answer.text
    assert answer.code in ("invalid_json", "invalid_body")
    assert len(answer.message) < 500


async def test_deep_json_is_refused(server: ServerProcess) -> None:
    """Nesting that would exhaust the stack is bad input, not a fault of the server."""
    body = b'{"provider_config_key": ' + b"[" * 40_000 + b"]" * 40_000 + b"}"

    answer = await server.call("POST", "/connections", data=body, headers=JSON)

    assert answer.status == 400, answer.text


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "nonsense"])
async def test_another_content_type_is_refused_before_anybody_is_asked_who_he_is(
    server: ServerProcess, kind: str
) -> None:
    """415, with and without a key."""
    for signed in (True, False):
        answer = await server.call(
            "POST", "/connections", data=b"{}", headers={"Content-Type": kind}, signed=signed
        )
        assert (answer.status, answer.code) == (415, "invalid_content_type")


async def test_an_oversized_body_writes_nothing(server: ServerProcess, customer: Customer) -> None:
    """413 names the limit, whether the length is announced or not; no connection is made."""
    body = server.import_body(customer.account, customer.name, metadata={"padding": "x" * LIMIT})

    for answer in (
        await server.call("POST", "/connections", body),
        await server.call("POST", "/connections", data=in_pieces(body), headers=JSON),
    ):
        assert (answer.status, answer.code) == (413, "body_too_large")
        assert str(LIMIT) in answer.message
    assert (await server.get(customer.name)).status == 404


async def in_pieces_of(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 8192):
        yield content[start : start + 8192]


def in_pieces(body: dict[str, Any]) -> Any:
    """Return a body that is sent without saying how long it is."""
    return in_pieces_of(json.dumps(body).encode())


# --- metadata -------------------------------------------------------------------------------


async def test_metadata_that_does_not_fit_is_refused_when_it_is_written(
    server: ServerProcess, customer: Customer
) -> None:
    """A function that writes what its model does not allow fails, and nothing is stored."""
    await server.deploy(
        {"setup": MODEL + '    await ctx.update_metadata(webhook_id="no number")\n'}
    )
    await customer.connect(metadata={"webhook_id": 1})

    connection = await server.set_up(customer.name, "failed")

    assert connection["metadata"] == {"webhook_id": 1}
    assert "webhook_id" in await customer.log("post_connection_creation")


async def test_metadata_that_does_not_fit_is_refused_when_it_is_read(
    server: ServerProcess, customer: Customer
) -> None:
    """A function whose connection has other metadata fails, naming the field."""
    await server.deploy({"setup": MODEL + "    await ctx.get_metadata()\n"})
    await customer.connect(metadata={"webhook_id": "no number"})

    connection = await server.set_up(customer.name, "failed")

    assert connection["metadata"] == {"webhook_id": "no number"}
    log = await customer.log("post_connection_creation")
    assert "webhook_id" in log
    assert "ValidationError" in log


@pytest.mark.parametrize("metadata", ["text", [1], 7])
async def test_metadata_that_is_no_object_is_refused(
    server: ServerProcess, customer: Customer, metadata: Any
) -> None:
    """Callers write objects; what was there stays."""
    await server.deploy(IDLE)
    await customer.connect(metadata={"kept": True})
    body = {"connection_id": customer.name, "provider_config_key": "acme", "metadata": metadata}

    for method in ("POST", "PATCH"):
        answer = await server.call(method, "/connections/metadata", body)
        assert (answer.status, answer.code) == (400, "invalid_body"), answer.text
    assert (await server.get(customer.name)).json["metadata"] == {"kept": True}


# --- projects -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import no_such_package", "no_such_package"),
        ("def broken(:", "syntax"),
        ("raise RuntimeError('not today')", "not today"),
        ("import os; os._exit(3)", ""),
    ],
)
async def test_a_project_that_does_not_import_is_refused(
    server: ServerProcess, line: str, said: str
) -> None:
    """File and line are named, and what was deployed before stays deployed."""
    await server.deploy({"setup": SETUP})

    answer = await server.deploy({"setup": f"{line}\n{SETUP}"})

    assert_refused_at(answer, "acme/on_events/setup.py" if said else "", said)
    listed = (await server.call("GET", "/integrations/acme/functions")).json["data"]
    assert [one["name"] for one in listed] == ["setup"]


async def test_a_project_without_a_function_is_refused(server: ServerProcess) -> None:
    """Nothing is deployed by mistake: where functions lie is said instead."""
    answer = await server.deploy({})

    assert_refused_at(answer, "", "on_events")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off"])
async def test_a_bundle_that_is_none_is_refused(server: ServerProcess, content: bytes) -> None:
    """Bytes that are no project are refused in a sentence."""
    answer = await server.call(
        "POST", "/deployments", {"bundle": base64.b64encode(content).decode()}
    )

    assert answer.status == 400, answer.text
    assert answer.code in ("compilation_error", "invalid_body")


async def test_a_bundle_that_leaves_its_folder_is_refused(server: ServerProcess) -> None:
    """Paths that lead out of the project are refused, and no such file is made."""
    archived = io.BytesIO()
    with zipfile.ZipFile(archived, "w") as archive:
        archive.writestr("../../escaped.py", "")
    content = base64.b64encode(archived.getvalue()).decode()

    answer = await server.call("POST", "/deployments", {"bundle": content})

    assert answer.status == 400, answer.text
    assert not list(server.directory.parent.rglob("escaped.py"))


def assert_refused_at(answer: Answer, file: str, said: str) -> None:
    """Expect a deployment to be refused for a fault at a place."""
    assert (answer.status, answer.code) == (400, "compilation_error"), answer.text
    problems = answer.json["error"]["payload"]["problems"]
    assert problems
    assert any(
        (one.get("file") or "").endswith(file) and said.lower() in json.dumps(one).lower()
        for one in problems
    ), problems
    assert all(one["line"] for one in problems if file and one["file"])


# --- providers ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WRONGS)
async def test_a_provider_that_goes_wrong_in_a_validation(
    server: ServerProcess, customer: Customer, kind: str
) -> None:
    """Silence is asked again and decides nothing; nonsense refuses, and leaves no connection."""
    await server.deploy({"check": CHECK})
    server.provider.fail(cast("FaultKind", kind), path="/api/me")

    answer = await customer.connect()

    if kind in SILENT:
        assert answer.status == 201, answer.text
        assert "organization" in answer.json["metadata"]
    else:
        assert (answer.status, answer.code) == (400, "connection_validation_failed")
        assert answer.message == "The connection could not be validated."
        assert (await server.get(customer.name)).status == 404
        assert "check" in await customer.log("create_connection")
        assert (await customer.connect()).status == 201


@pytest.mark.parametrize("kind", ["large", "close", "hang"])
async def test_a_provider_that_stays_silent_does_not_break_a_connection(
    server: ServerProcess, customer: Customer, kind: str
) -> None:
    """503 when there is no verdict: the connection is as it was, on its credentials."""
    await server.deploy({"check": CHECK})
    assert (await customer.connect()).status == 201
    before = (await server.get(customer.name)).json
    server.provider.fail(cast("FaultKind", kind), path="/api/me")
    server.provider.fail(
        "status", path="/api/me", times=None, status=503, headers={"Retry-After": "60"}
    )

    answer = await customer.connect(metadata={"organization": "other"})

    assert (answer.status, answer.code) == (503, "connection_validation_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    after = (await server.get(customer.name)).json
    assert {**after, "last_fetched_at": 0} == {**before, "last_fetched_at": 0}


@pytest.mark.parametrize("kind", WRONGS)
async def test_a_provider_that_goes_wrong_in_a_setup(
    server: ServerProcess, customer: Customer, kind: str
) -> None:
    """A write without an answer is sent again under its key; a nonsensical answer is shown."""
    await server.deploy({"setup": PATIENT_SETUP})
    server.provider.fail(cast("FaultKind", kind), path="/webhooks", method="POST")
    before = len(server.provider.calls_to("POST", "/webhooks"))
    assert (await customer.connect()).status == 201

    connection = await server.set_up(customer.name, "done" if kind in SILENT else "failed")

    sent = server.provider.calls_to("POST", "/webhooks")[before:]
    assert len({call.idempotency_key for call in sent}) == 1
    log = await customer.log("post_connection_creation")
    if kind in SILENT:
        assert connection["metadata"]["webhook_id"] in [
            hook.id for hook in server.provider.webhooks
        ]
        assert "sent again" in log
    else:
        assert "POST /webhooks → 200" in log
        assert "answered from the journal" in log
        assert connection["metadata"] in (None, {})


@pytest.mark.parametrize("kind", WRONGS)
async def test_a_provider_that_goes_wrong_in_a_cleanup(
    server: ServerProcess, customer: Customer, kind: str
) -> None:
    """Cleanup is tried again until the webhook is gone; only then is the connection."""
    await server.deploy({"setup": PATIENT_SETUP, "clean-up": CLEANUP})
    assert (await customer.connect()).status == 201
    webhook_id = (await server.set_up(customer.name))["metadata"]["webhook_id"]
    # A read whose connection was closed is asked once more before anybody hears of it.
    times = 2 if kind == "close" else 1
    server.provider.fail(cast("FaultKind", kind), path="/webhooks", method="GET", times=times)

    answer = await server.delete(customer.name)

    assert answer.status == 200
    await customer.gone()
    assert webhook_id not in held(server)
    log = await customer.log("pre_connection_deletion")
    assert "attempt 2: done" in log or kind == "close"


@pytest.mark.parametrize("kind", WRONGS)
async def test_a_cleanup_that_never_gets_an_answer_is_parked(
    server: ServerProcess, customer: Customer, kind: str
) -> None:
    """It waits for a person, says what is wrong, and is done once the provider is well again."""
    await server.deploy(
        {"setup": PATIENT_SETUP, "clean-up": CLEANUP.replace("attempts=3", "attempts=1")}
    )
    assert (await customer.connect()).status == 201
    webhook_id = (await server.set_up(customer.name))["metadata"]["webhook_id"]
    server.provider.fail(cast("FaultKind", kind), path="/webhooks", method="GET", times=None)

    assert (await server.delete(customer.name)).json["success"]

    (cleanup,) = await customer.cleanups()
    assert (cleanup["state"], cleanup["connection_id"]) == ("parked", customer.name)
    assert cleanup["error_message"]
    assert webhook_id in held(server)
    server.provider.recover()
    assert (await server.call("POST", f"/cleanups/{cleanup['id']}/retry", {})).status == 200
    await customer.gone()
    assert webhook_id not in held(server)


@pytest.mark.parametrize("kind", ["html", "close", "error_body", "large"])
async def test_a_provider_that_goes_wrong_behind_the_proxy(
    server: ServerProcess, customer: Customer, kind: str
) -> None:
    """What a provider answers is passed on as it is; no answer is an error that says so."""
    await server.deploy(IDLE)
    await customer.connect()
    server.provider.fail(cast("FaultKind", kind), path="/api/me", times=None)
    headers = {"Provider-Config-Key": "acme", "Connection-Id": customer.name}

    answer = await server.call("GET", "/proxy/api/me", headers=headers)

    if kind == "close":
        assert (answer.status, answer.code) == (500, "provider_unreachable")
        assert "127.0.0.1" in answer.message
    else:
        assert answer.status == 200
        expected = {"html": "<!doctype html>", "error_body": '{"error"', "large": '{"padding"'}
        assert answer.text.startswith(expected[kind])
        assert (len(answer.text) > 20_000_000) is (kind == "large")
    server.provider.recover()
    assert (await server.call("GET", "/proxy/api/me", headers=headers)).status == 200
