"""The life of a connection against a server that is nobody's mock: JupyterHub from PyPI."""

from __future__ import annotations

from typing import Any

import pytest
from tests.real.actors import Carrick, Hub

pytestmark = pytest.mark.real


async def connect(
    carrick: Carrick, hub: Hub, api_key: str, connection_id: str | None = None
) -> tuple[int, Any]:
    """Connect as an end user's browser does: session token and API key, no secret key."""
    session = await carrick.open_session(connection_id)
    return await carrick.call(
        "POST",
        f"/api-auth/api-key/jupyterhub?connect_session_token={session}&params[base_url]={hub.url}",
        {"apiKey": api_key},
        with_key=False,
    )


async def test_a_connection_lives_its_whole_life_at_a_real_server(
    carrick: Carrick, hub: Hub
) -> None:
    """Connect, set up, reconnect, be refused as somebody else, come back, clean up."""
    before = await hub.tokens("alice")
    status, body = await connect(carrick, hub, await hub.issue_token("alice"))
    assert status == 200, body
    connection_id = body["connectionId"]

    connection = await carrick.until_set_up(connection_id)
    assert connection["setup"] == "done"
    token_id = connection["metadata"]["token_id"]
    assert (await hub.tokens("alice"))[token_id] == f"carrick {connection_id}"

    status, body = await connect(carrick, hub, await hub.issue_token("alice"), connection_id)
    assert (status, body.get("connectionId")) == (200, connection_id), body

    bobs_tokens = await hub.tokens("bob")
    stranger = await hub.issue_token("bob")
    status, body = await connect(carrick, hub, stranger, connection_id)
    assert (status, body["error"]["code"]) == (400, "connection_validation_failed")
    status, body = await carrick.get(connection_id)
    assert status == 424
    assert stranger not in str(body)
    assert len(await hub.tokens("bob")) == len(bobs_tokens) + 1, "only the test's own token"

    newest = await hub.issue_token("alice")
    status, body = await connect(carrick, hub, newest, connection_id)
    assert status == 200, body
    status, body = await carrick.get(connection_id)
    assert (status, body["credentials"]["apiKey"]) == (200, newest)
    assert body["metadata"]["token_id"] == token_id

    status, body = await carrick.delete(connection_id)
    assert (status, body["success"]) == (200, True)
    left = {i: note for i, note in (await hub.tokens("alice")).items() if i not in before}
    assert set(left.values()) == {"made by the test"}
    assert (await carrick.get(connection_id))[0] == 404


async def test_an_import_is_set_up_and_cleaned_up_like_any_connection(
    carrick: Carrick, hub: Hub
) -> None:
    """`POST /connections` goes through the same journey, and a delete takes the token away."""
    status, body = await carrick.call(
        "POST",
        "/connections",
        {
            "provider_config_key": "jupyterhub",
            "connection_id": "imported",
            "connection_config": {"base_url": hub.url},
            "credentials": {"type": "API_KEY", "apiKey": await hub.issue_token("bob")},
        },
    )
    assert status == 201, body
    token_id = (await carrick.until_set_up("imported"))["metadata"]["token_id"]
    assert token_id in await hub.tokens("bob")
    assert (await carrick.delete("imported"))[0] == 200
    assert token_id not in await hub.tokens("bob")


async def test_a_token_the_hub_does_not_know_leaves_nothing_behind(
    carrick: Carrick, hub: Hub
) -> None:
    """The hub answers 403, the connect is refused, and there is no new connection."""
    before = await carrick.call("GET", "/connections")
    status, body = await connect(carrick, hub, "0123456789abcdef0123456789abcdef")
    assert status == 400
    assert body["error"]["code"] in ("connection_validation_failed", "connection_test_failed")
    assert await carrick.call("GET", "/connections") == before


async def test_cleanup_does_not_mind_that_the_token_is_gone(carrick: Carrick, hub: Hub) -> None:
    """Somebody removed the token at the hub; deleting the connection still ends well."""
    status, body = await connect(carrick, hub, await hub.issue_token("alice"))
    assert status == 200, body
    connection_id = body["connectionId"]
    token_id = (await carrick.until_set_up(connection_id))["metadata"]["token_id"]
    await hub.remove_token("alice", token_id)
    status, body = await carrick.delete(connection_id)
    assert (status, body["success"]) == (200, True)
    assert (await carrick.get(connection_id))[0] == 404
