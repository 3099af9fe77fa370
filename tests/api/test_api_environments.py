"""Variables, API keys and settings of an environment over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from tests.api.conftest import PROD_KEY, Desk


async def test_variables_are_set_listed_and_removed(desk: Desk) -> None:
    """GET is a bare array; `null` removes; other environments see nothing of it."""
    assert (await desk.ask("GET", "/environment-variables")).json == []
    body = {"variables": {"B": "2", "A": "1"}}
    assert (await desk.ask("POST", "/environment-variables", body)).json == {"success": True}
    shown = (await desk.ask("GET", "/environment-variables")).json
    assert shown == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    await desk.ask("POST", "/environment-variables", {"variables": {"A": None}})
    shown = (await desk.ask("GET", "/environment-variables")).json
    assert shown == [{"name": "B", "value": "2"}]
    assert (await desk.ask("GET", "/environment-variables", key=PROD_KEY)).json == []


@pytest.mark.parametrize(
    "body", [{}, {"variables": []}, {"variables": {"1a": "x"}}, {"variables": {"A": 1}}]
)
async def test_wrong_variables_are_refused(desk: Desk, body: dict[str, Any]) -> None:
    """Names are identifiers, values are texts or null."""
    answer = await desk.ask("POST", "/environment-variables", body)
    assert (answer.status, answer.code) == (400, "invalid_body")


async def test_reading_and_writing_variables_are_two_scopes(desk: Desk) -> None:
    """A key that may read them may not set them."""
    key = await desk.key("environment:variables:read")
    assert (await desk.ask("GET", "/environment-variables", key=key)).status == 200
    body = {"variables": {"A": "1"}}
    assert (await desk.ask("POST", "/environment-variables", body, key=key)).status == 403


async def test_an_api_key_is_made_used_and_deleted(desk: Desk) -> None:
    """Its text is shown once; a taken name is 409; a deleted key opens nothing."""
    body = {"display_name": "ci", "scopes": ["environment:connections:list"]}
    made = (await desk.ask("POST", "/environment/api-keys", body)).json["data"]
    assert made["scopes"] == body["scopes"]
    assert (await desk.ask("GET", "/connections", key=made["secret"])).status == 200
    answer = await desk.ask("POST", "/environment/api-keys", body)
    assert (answer.status, answer.code) == (409, "conflict")
    listed = await desk.ask("GET", "/environment/api-keys")
    assert "ci" in [each["display_name"] for each in listed.json["data"]]
    assert made["secret"].encode() not in listed.body
    target = f"/environment/api-keys?id={made['id']}"
    assert (await desk.ask("DELETE", target)).json == {"success": True}
    assert (await desk.ask("GET", "/connections", key=made["secret"])).status == 401
    answer = await desk.ask("DELETE", "/environment/api-keys", {"id": made["id"]})
    assert (answer.status, answer.code) == (404, "not_found")
    assert (await desk.ask("DELETE", "/environment/api-keys")).status == 400


async def test_settings_are_changed_one_by_one_and_reset_by_null(desk: Desk) -> None:
    """What is not named stays; an address the server may not call is refused."""
    body = {"primary_url": "https://app.example/in", "on_auth_creation": False}
    shown = (await desk.ask("PATCH", "/environment/settings", body)).json["data"]
    assert shown["primary_url"] == "https://app.example/in"
    assert shown["on_auth_creation"] is False
    assert shown["on_auth_refresh_error"] is True
    shown = (await desk.ask("PATCH", "/environment/settings", {"primary_url": None})).json["data"]
    assert shown["primary_url"] is None
    assert shown["on_auth_creation"] is False
    body = {"secondary_url": "http://192.168.0.1/"}
    answer = await desk.ask("PATCH", "/environment/settings", body)
    assert (answer.status, answer.code) == (400, "invalid_body")
    assert (await desk.ask("GET", "/environment/settings")).json["data"] == shown


async def test_the_signing_key_is_rotated(desk: Desk) -> None:
    """The new key is answered, and another one each time."""
    first = await desk.ask("POST", "/environment/webhook-signing-key/rotate")
    second = await desk.ask("POST", "/environment/webhook-signing-key/rotate")
    keys = {each.json["data"]["webhook_signing_key"] for each in (first, second)}
    assert len(keys) == 2


async def test_environments_are_listed_by_name(desk: Desk) -> None:
    """dev and prod exist from the start."""
    answer = await desk.ask("GET", "/environments")
    assert [each["name"] for each in answer.json["data"]] == ["dev", "prod"]
