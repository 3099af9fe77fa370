"""Operations, cleanups, deployments and dry runs over HTTP."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from tests.api.conftest import Desk
from tests.lifecycle.house import CLEANUP, SETUP, packed

REFUSING = """
@create_on_event(event="pre-connection-deletion", description="Never")
async def function(ctx: EventContext) -> None:
    raise ActionError("not today")
"""


def bundle(functions: dict[str, str]) -> str:
    """Return a packed project of `acme`, base64."""
    return base64.b64encode(packed({"acme": functions}).content).decode()


async def deploy(desk: Desk, functions: dict[str, str], **more: Any) -> Any:
    """Deploy a project."""
    return await desk.ask("POST", "/deployments", {"bundle": bundle(functions), **more})


async def test_a_project_is_previewed_deployed_and_rolled_back(desk: Desk) -> None:
    """The whole road of a deployment, with the shapes the client reads."""
    first = bundle({"setup": SETUP, "cleanup": CLEANUP})
    answer = await desk.ask("POST", "/deployments/preview", {"bundle": first, "scope": None})
    assert answer.status == 200, answer.body
    preview = answer.json["data"]
    assert {each["name"] for each in preview["added"]} == {"setup", "cleanup"}
    assert (await desk.ask("GET", "/deployments")).json == {"data": [], "next_cursor": None}
    answer = await desk.ask("POST", "/deployments", {"bundle": first})
    assert (answer.json["data"]["number"], answer.json["data"]["is_new"]) == (1, True)
    again = (await desk.ask("POST", "/deployments", {"bundle": first})).json["data"]
    assert (again["number"], again["is_new"]) == (1, False)

    answer = await deploy(desk, {"setup": SETUP})
    assert (answer.status, answer.code) == (409, "removal_not_confirmed")
    assert [each["name"] for each in answer.json["error"]["payload"]["removed"]] == ["cleanup"]
    answer = await deploy(desk, {"setup": SETUP}, allow_removals=True)
    assert answer.json["data"]["number"] == 2
    listed = (await desk.ask("GET", "/deployments?limit=1")).json
    assert [each["number"] for each in listed["data"]] == [2]
    rest = (await desk.ask("GET", f"/deployments?cursor={listed['next_cursor']}")).json
    assert [each["number"] for each in rest["data"]] == [1]

    answer = await desk.ask("POST", "/deployments/1/activate", {})
    assert answer.json["data"]["state"] == "active"
    shown = (await desk.ask("GET", "/integrations/acme/functions?search=CLEAN")).json
    assert shown["pagination"]["total"] == 1
    assert shown["data"][0]["event"] == "pre-connection-deletion"
    assert shown["data"][0]["last_deployed"].endswith("Z")
    groups = (await desk.ask("GET", "/scripts/config")).json
    assert groups[0]["providerConfigKey"] == "acme"
    assert {each["name"] for each in groups[0]["on-events"]} == {"setup", "cleanup"}
    code = await desk.ask("GET", "/integrations/acme/functions/cleanup/code")
    assert code.json["type"] == "on-event"
    assert set(code.json) == {"type", "code"}
    assert code.json["code"].endswith(CLEANUP)
    for target in ("cleanup/code?type=sync", "nobody/code"):
        answer = await desk.ask("GET", f"/integrations/acme/functions/{target}")
        assert (answer.status, answer.code) == (404, "not_found")
    key = await desk.key("environment:functions:list")
    answer = await desk.ask("GET", "/integrations/acme/functions/cleanup/code", key=key)
    assert answer.status == 403
    answer = await desk.ask("DELETE", "/integrations/acme/functions/setup?type=on-event")
    assert (answer.status, answer.code) == (400, "function_managed_by_deploy")
    answer = await desk.ask("POST", "/deployments/9/activate", {})
    assert (answer.status, answer.code) == (404, "not_found")


async def test_a_project_that_does_not_compile_says_where(desk: Desk) -> None:
    """400 `compilation_error` with file and line; what is no project at all is named too."""
    answer = await deploy(desk, {"setup": "def broken(:\n"})
    assert (answer.status, answer.code) == (400, "compilation_error")
    problem = answer.json["error"]["payload"]["problems"][0]
    assert problem["file"] == "acme/on_events/setup.py"
    assert problem["line"] >= 1
    for text, code in (
        ("***", "invalid_body"),
        (base64.b64encode(b"no zip").decode(), "compilation_error"),
    ):
        answer = await desk.ask("POST", "/deployments", {"bundle": text})
        assert (answer.status, answer.code) == (400, code)


async def test_a_state_that_no_operation_has_is_refused(desk: Desk) -> None:
    """An empty list would say that nothing happened."""
    assert (await desk.ask("GET", "/operations?state=success,failed")).status == 200
    answer = await desk.ask("GET", "/operations?state=nonsense")
    assert (answer.status, answer.code) == (400, "invalid_query_params")


async def test_a_dry_run_shows_the_writes_it_did_not_make(desk: Desk) -> None:
    """The report has the calls, withheld ones marked; nothing reached the provider."""
    await deploy(desk, {"cleanup": CLEANUP})
    await desk.connected(metadata={"webhook_id": "w1"})
    body = {"function": "cleanup", "connection_id": "one"}
    answer = await desk.ask("POST", "/dryruns", body)
    assert answer.status == 200, answer.body
    report = answer.json["data"]
    assert report["outcome"] == "succeeded"
    assert report["incomplete"] is False
    assert report["calls"][0]["withheld"] is True
    assert desk.provider.calls_to("DELETE", "/webhooks/w1") == []
    answer = await desk.ask("POST", "/dryruns", {**body, "function": "nope"})
    assert (answer.status, answer.code) == (404, "unknown_function")
    answer = await desk.ask("POST", "/dryruns", {**body, "connection_id": "nobody"})
    assert answer.status == 404
    key = await desk.key("environment:deploy")
    assert (await desk.ask("POST", "/dryruns", body, key=key)).status == 403


async def test_a_parked_cleanup_is_listed_and_forced(desk: Desk) -> None:
    """DELETE says `parked`; the connection is gone for callers; force lets it go for good."""
    await deploy(desk, {"cleanup": REFUSING})
    await desk.connected()
    target = "/connections/one?provider_config_key=acme"
    answer = await desk.ask("DELETE", target)
    assert answer.json == {"success": True, "cleanup": "parked"}
    assert (await desk.ask("DELETE", target)).json["cleanup"] == "parked"
    assert (await desk.ask("GET", target)).status == 404
    listed = (await desk.ask("GET", "/cleanups")).json
    cleanup = listed["data"][0]
    assert (cleanup["state"], cleanup["function"]) == ("parked", "cleanup")
    assert cleanup["connection_id"] == "one"
    answer = await desk.ask("POST", f"/cleanups/{cleanup['id']}/force", {"reason": ""})
    assert (answer.status, answer.code) == (400, "invalid_body")
    answer = await desk.ask("POST", f"/cleanups/{cleanup['id']}/force", {"reason": "seen to"})
    assert answer.json == {"data": {"success": True}}
    assert (await desk.ask("GET", "/cleanups")).json == {"data": [], "next_cursor": None}
    answer = await desk.ask("POST", f"/cleanups/{cleanup['id']}/retry")
    assert (answer.status, answer.code) == (404, "not_found")
    answer = await desk.ask("POST", "/cleanups/x/retry")
    assert (answer.status, answer.code) == (400, "invalid_uri_params")


async def test_parked_cleanups_are_told_from_others_shown_and_retried_together(
    desk: Desk,
) -> None:
    """`state=parked` leaves out the rest; one is shown by its id; `retry` takes them all."""
    await deploy(desk, {"cleanup": REFUSING})
    for name in ("one", "two"):
        await desk.connected(name)
        await desk.ask("DELETE", f"/connections/{name}?provider_config_key=acme")
    listed = (await desk.ask("GET", "/cleanups?state=parked")).json["data"]
    assert [one["connection_id"] for one in listed] == ["one", "two"]
    shown = (await desk.ask("GET", f"/cleanups/{listed[1]['id']}")).json["data"]
    assert shown == listed[1]
    assert shown["error_message"]
    operation = await desk.ask("GET", f"/operations/{shown['operation_id']}")
    assert "attempt 1" in json.dumps(operation.json["data"]["messages"])
    assert (await desk.ask("GET", "/cleanups/999999")).status == 404
    assert (await desk.ask("GET", "/cleanups?state=odd")).status == 400
    key = await desk.key("environment:connections:list")
    assert (await desk.ask("POST", "/cleanups/retry", {}, key=key)).status == 403

    answer = await desk.ask("POST", "/cleanups/retry", {"integration_id": "nope"})
    assert answer.json == {"data": {"retried": 0}}
    answer = await desk.ask("POST", "/cleanups/retry")
    assert answer.json == {"data": {"retried": 2}}


async def test_operations_are_listed_filtered_and_read(desk: Desk) -> None:
    """Pages go by cursor; one operation comes with its messages and without secrets."""
    shown = await desk.connected("one")
    await desk.connected("two")
    page = (await desk.ask("GET", "/operations?limit=1")).json
    assert len(page["data"]) == 1
    rest = (await desk.ask("GET", f"/operations?cursor={page['next_cursor']}")).json
    assert page["data"][0]["id"] not in [each["id"] for each in rest["data"]]
    found = (await desk.ask("GET", "/operations?connection_id=one&state=success,failed")).json
    assert {each["connection_id"] for each in found["data"]} == {"one"}
    operation_id = found["data"][0]["id"]
    answer = await desk.ask("GET", f"/operations/{operation_id}")
    assert answer.json["data"]["type"] == "auth"
    assert isinstance(answer.json["data"]["messages"], list)
    assert shown["credentials"]["apiKey"].encode() not in answer.body
    answer = await desk.ask("GET", "/operations/1790000000000_Ab3dEf9h")
    assert (answer.status, answer.code) == (404, "not_found")
    answer = await desk.ask("POST", f"/operations/{operation_id}/retry", {})
    assert answer.status in (400, 404)
    for cursor in ("x", "99999999999999999999_Ab3dEf9h", "17_%2525"):
        answer = await desk.ask("GET", f"/operations?cursor={cursor}")
        assert (answer.status, answer.code) == (400, "invalid_query_params")
    key = await desk.key("environment:connections:list")
    assert (await desk.ask("GET", "/operations", key=key)).status == 403


@pytest.mark.parametrize("target", ["/health", "/ready", "/live"])
async def test_a_server_that_is_up_says_so(desk: Desk, target: str) -> None:
    """All three answer 200 with nothing deployed at all."""
    answer = await desk.ask("GET", target, key=None)
    assert (answer.status, answer.json) == (200, {"result": "ok"})
