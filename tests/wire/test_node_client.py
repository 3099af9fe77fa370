"""`@nangohq/node` from npm against a server of ours: every method of its that exists here."""

from __future__ import annotations

import json
import textwrap
import uuid
from collections.abc import Mapping
from typing import Any

import pytest
from tests.integration.server import ServerProcess
from tests.lifecycle.house import VALIDATE
from tests.wire.accounts import (
    END_USER,
    add_account,
    connected,
    connected_by_oauth,
    integrate,
    notified,
)
from tests.wire.clients import ClientError, Front, NodeClient, node_client

from carrick.testing.fake_provider import Account

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: The client pastes ids into paths as they are.
IDS = ["a/b", "a@b.co", '{"x":1}', "metadata", "with space", "a,b;c:d=e+f~g[h]|$'k\"l_m-n"]


def ids(listed: Mapping[str, Any]) -> list[str]:
    return [each["connection_id"] for each in listed["connections"]]


# --- providers and integrations -------------------------------------------------------------


async def test_providers_are_listed_and_described(node: NodeClient) -> None:
    """`listProviders`, `getProvider` and `getProviderTemplates` read the catalogue."""
    names = [each["name"] for each in (await node.call("listProviders"))["data"]]
    assert {"github", "salesforce", "api-key"} <= set(names)
    found = await node.call("listProviders", {"search": "salesforce"})
    assert all("salesforce" in each["name"] for each in found["data"])
    provider = (await node.call("getProvider", {"provider": "api-key"}))["data"]
    assert provider["auth_mode"] == "API_KEY"
    assert await node.call("getProviderTemplates", {"provider": "github"}) == {"data": []}

    with pytest.raises(ClientError) as caught:
        await node.call("getProvider", {"provider": "nobody"})
    assert (caught.value.name, caught.value.status) == ("AxiosError", 404)
    assert caught.value.code == "not_found"


async def test_an_integration_lives_its_whole_life(node: NodeClient, front: Front) -> None:
    """`createIntegration`, `listIntegrations`, `getIntegration`, `updateIntegration`, `delete…`."""
    key = f"github-{uuid.uuid4().hex[:8]}"
    credentials = {"type": "OAUTH2", "client_id": "cid", "client_secret": "sec", "scopes": "a,b"}
    created = await node.call(
        "createIntegration", {"provider": "github", "unique_key": key, "credentials": credentials}
    )
    assert created["data"]["unique_key"] == key
    assert created["data"]["logo"] == f"{front.url}/images/template-logos/github.svg"

    assert key in [each["unique_key"] for each in (await node.call("listIntegrations"))["configs"]]
    which = {"uniqueKey": key}
    plain = (await node.call("getIntegration", which))["data"]
    assert not {"credentials", "webhook_url"} & set(plain)
    # Of several, the client sends the last one only.
    shown = await node.call("getIntegration", which, {"include": ["webhook", "credentials"]})
    assert shown["data"]["credentials"] == {**credentials, "webhook_secret": None}
    with_webhook = await node.call("getIntegration", which, {"include": ["webhook"]})
    assert "webhook_url" in with_webhook["data"]

    changed = await node.call("updateIntegration", which, {"display_name": "Our GitHub"})
    assert changed["data"]["display_name"] == "Our GitHub"
    deleted = await node.call("deleteIntegration", key)
    assert (deleted["status"], deleted["data"]["success"]) == (200, True)
    with pytest.raises(ClientError) as caught:
        await node.call("getIntegration", which)
    assert (caught.value.status, caught.value.code) == (404, "not_found")
    assert caught.value.data["error"]["message"] == f'Integration "{key}" does not exist'


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"provider": "nobody", "unique_key": "new"}, ["provider"]),
        ({"provider": "api-key", "unique_key": "acme"}, ["uniqueKey"]),
        ({"provider": "api-key"}, ["unique_key"]),
        ({"provider": "api-key", "unique_key": "new", "colour": "red"}, []),
    ],
)
async def test_an_integration_that_cannot_be_is_refused(
    node: NodeClient, body: dict[str, str], path: list[str]
) -> None:
    """`createIntegration` throws axios's error with the documented body."""
    with pytest.raises(ClientError) as caught:
        await node.call("createIntegration", body)
    assert (caught.value.name, caught.value.status) == ("AxiosError", 400)
    assert caught.value.code == "invalid_body"
    assert [each["path"] for each in caught.value.data["error"]["errors"]] == [path]


async def test_deployed_functions_are_listed(node: NodeClient, server: ServerProcess) -> None:
    """`listFunctions`, `getFunction`, its code and `getScriptsConfig` show them."""
    key = await integrate(server)
    answer = await server.deploy({"same-organisation": VALIDATE}, integration_id=key)
    assert answer.status == 200, answer.text
    which = {"uniqueKey": key, "name": "same-organisation"}

    listed = await node.call("listFunctions", {"uniqueKey": key}, {"type": "on-event"})
    assert listed["pagination"] == {"total": 1, "page": 0, "limit": 20}
    function = (await node.call("getFunction", which))["data"]
    assert function == listed["data"][0]
    assert function["event"] == "validate-connection"
    groups = await node.call("getScriptsConfig")
    [group] = [each for each in groups if each["providerConfigKey"] == key]
    assert [each["name"] for each in group["on-events"]] == ["same-organisation"]
    assert await node.call("getScriptsConfig", "openai") == {"data": []}

    with pytest.raises(ClientError) as caught:
        await node.call("getFunction", {"uniqueKey": key, "name": "nobody"})
    assert (caught.value.status, caught.value.code) == (404, "not_found")
    code = await node.call("getFunctionCode", which)
    assert code["type"] == "on-event"
    assert code["code"].endswith(textwrap.dedent(VALIDATE))
    with pytest.raises(ClientError) as caught:
        await node.call("deleteFunction", which, {"type": "action"})
    assert (caught.value.status, caught.value.code) == (404, "not_found")


# --- connections ----------------------------------------------------------------------------


@pytest.mark.parametrize("connection_id", IDS)
async def test_a_connection_is_found_whatever_its_id_looks_like(
    node: NodeClient, server: ServerProcess, connection_id: str
) -> None:
    """Every method that takes a connection's id works with ids that are no path segments."""
    key, account = await connected(server, connection_id)
    which = (key, connection_id)

    connection = await node.call("getConnection", *which)
    assert connection["connection_id"] == connection_id
    assert connection["credentials"] == {"type": "API_KEY", "apiKey": account.api_key}
    assert await node.call("getToken", *which) == connection["credentials"]
    found = await node.call(
        "listConnections", {"connectionId": connection_id, "integrationId": key}
    )
    assert ids(found) == [connection_id]

    assert (await node.call("setMetadata", *which, {"a": 1, "b": 2}))["status"] == 201
    merged = await node.call("updateMetadata", *which, {"b": 3})
    assert (merged["status"], merged["data"]["metadata"]) == (200, {"b": 3})
    assert await node.call("getMetadata", *which) == {"a": 1, "b": 3}

    if connection_id != "metadata":  # `PATCH /connections/metadata` is `updateMetadata`
        patched = {"connectionId": connection_id, "provider_config_key": key}
        changed = await node.call("patchConnection", patched, {"tags": {"Plan": "Pro"}})
        assert changed == {"success": True}
        assert (await node.call("getConnection", *which))["tags"] == {"plan": "Pro"}
    echo = await node.call(
        "get", {"endpoint": "/api/echo", "providerConfigKey": key, "connectionId": connection_id}
    )
    assert echo["data"]["account"] == account.name

    deleted = await node.call("deleteConnection", *which)
    assert (deleted["status"], deleted["data"]["success"]) == (200, True)
    with pytest.raises(ClientError) as caught:
        await node.call("getConnection", *which)
    assert (caught.value.status, caught.value.code) == (404, "not_found")


async def test_connections_are_listed_in_both_forms(
    node: NodeClient, server: ServerProcess
) -> None:
    """`listConnections` finds by the same things in its object and its positional form."""
    user, organization = f"u-{uuid.uuid4().hex[:8]}", f"o-{uuid.uuid4().hex[:8]}"
    one, _ = await connected(server, f"{user}-one", end_user={**END_USER, "id": user})
    tags = {"ProjectId": user, "end_user_id": user, "organization_id": organization}
    two, _ = await connected(server, f"{user}-two", tags=tags)
    both = [f"{user}-two", f"{user}-one"]

    async def found(*args: Any) -> list[str]:
        return ids(await node.call("listConnections", *args))

    assert await found(None, user) == both
    assert await found(None, None, {"endUserId": user}) == [f"{user}-one"]
    assert await found(f"{user}-two") == [f"{user}-two"]
    assert await found(None, user, {"limit": 1}) == both[:1]
    assert await found(None, user, {"limit": 1, "page": 1}) == both[1:]
    assert await found(None, user, {"endUserOrganizationId": "nobody"}) == []

    assert await found({"integrationId": one}) == [f"{user}-one"]
    assert await found({"integrationId": [one, two]}) == both
    assert await found({"integrationId": [one, two], "limit": 1, "page": 1}) == both[1:]
    assert await found({"userId": user}) == [f"{user}-one"]
    tagged = {"displayName": "Ann Lee", "email": "ann@example.com"}
    assert await found({"integrationId": [one, two], "tags": tagged}) == [f"{user}-one"]
    assert await found({"tags": {"projectId": user}}) == [f"{user}-two"]
    assert await found({"tags": {"projectId": "another"}}) == []
    waited = await node.call("waitForConnection", one, user)
    assert waited["connection_id"] == f"{user}-one"
    assert "credentials" not in waited


async def test_tokens_are_fresh_and_refresh_tokens_are_asked_for(
    node: NodeClient, server: ServerProcess
) -> None:
    """`getToken` and `getRawTokenResponse` know OAuth 2, and force a refresh when told to."""
    key, account = await connected_by_oauth(server)
    first = account.access_token
    assert await node.call("getToken", key, "one") == first
    assert (await node.call("getRawTokenResponse", key, "one"))["access_token"] == first
    plain = await node.call("getConnection", key, "one")
    assert account.refresh_token not in json.dumps(plain)
    told = await node.call("getConnection", key, "one", False, True)
    assert told["credentials"]["refresh_token"] == account.refresh_token

    assert await node.call("getToken", key, "one", True) == account.access_token != first
    again = await node.call("getConnection", key, "one", True)
    assert again["credentials"]["raw"]["access_token"] == account.access_token
    assert again["credentials"]["expires_at"].endswith("Z")
    assert (await node.call("getRawTokenResponse", key, "one"))["token_type"] == "Bearer"


async def test_an_expired_token_that_cannot_be_refreshed_is_told_as_it_is(
    node: NodeClient, server: ServerProcess
) -> None:
    """Without a refresh token there is nothing to try, and that is no error."""
    key, account = await connected_by_oauth(
        server, refresh_token=None, expires_at="2020-01-01T00:00:00.000Z"
    )
    assert await node.call("getToken", key, "one", True) == account.access_token


async def test_a_refused_refresh_is_told_with_the_connection(
    node: NodeClient, server: ServerProcess
) -> None:
    """`getToken` throws with the provider's reason and the connection without credentials."""
    key, account = await connected_by_oauth(server)
    server.provider.revoke(account)
    with pytest.raises(ClientError) as caught:
        await node.call("getToken", key, "one", True)
    assert (caught.value.name, caught.value.status) == ("AxiosError", 400)
    assert caught.value.code == "invalid_credentials"
    shown = caught.value.data["error"]["payload"]["connection"]
    assert (shown["connection_id"], shown["credentials"]) == ("one", {})
    assert [each["type"] for each in shown["errors"]] == ["auth"]


async def test_what_is_not_there_is_told_in_the_documented_way(
    node: NodeClient, server: ServerProcess
) -> None:
    """A connection or an integration that is not there has its own status for each method."""
    key = await integrate(server)
    one = {"endpoint": "/x", "providerConfigKey": key, "connectionId": "nobody"}
    missing: list[tuple[str, list[Any], int, str]] = [
        ("getConnection", [key, "nobody"], 404, "not_found"),
        ("getConnection", ["nothing", "nobody"], 400, "unknown_provider_config"),
        ("setMetadata", [key, "nobody", {"a": 1}], 404, "unknown_connection"),
        ("updateMetadata", [key, "nobody", {"a": 1}], 404, "unknown_connection"),
        ("deleteConnection", [key, "nobody"], 400, "unknown_connection"),
        ("patchConnection", [_which(key), {"tags": {}}], 404, "not_found"),
        ("patchConnection", [_which("nothing"), {}], 400, "unknown_provider_config"),
        ("get", [one], 400, "server_error"),
        ("get", [{**one, "providerConfigKey": "nothing"}], 404, "unknown_provider_config"),
    ]
    for method, args, status, code in missing:
        with pytest.raises(ClientError) as caught:
            await node.call(method, *args)
        assert (method, caught.value.status, caught.value.code) == (method, status, code)


def _which(integration_id: str) -> dict[str, str]:
    return {"connectionId": "nobody", "provider_config_key": integration_id}


# --- connect sessions -----------------------------------------------------------------------


async def test_a_connect_session_makes_a_connection(
    node: NodeClient, server: ServerProcess, front: Front
) -> None:
    """`createConnectSession` and `createReconnectSession` give tokens that connect an account."""
    key = await integrate(server)
    account = add_account(server)
    permitted = await node.call(
        "createConnectSession",
        {
            "end_user": {**END_USER, "tags": {"plan": "pro"}},
            "organization": {"id": "o1", "display_name": "Org"},
            "allowed_integrations": [key],
            "tags": {"Project": "p1"},
        },
    )
    token = permitted["data"]["token"]
    assert token.startswith("nango_connect_session_")
    assert permitted["data"]["expires_at"].endswith("Z")
    assert permitted["data"]["connect_link"].startswith(f"{front.url}/connect/?session_token=")

    connection_id = (await _connect(server, key, token, account))["connectionId"]
    connection = await node.call("getConnection", key, connection_id)
    assert connection["tags"] == {
        "end_user_id": "u1",
        "end_user_email": "ann@example.com",
        "end_user_display_name": "Ann Lee",
        "organization_id": "o1",
        "organization_display_name": "Org",
        "plan": "pro",
        "project": "p1",
    }
    permitted = await node.call(
        "createReconnectSession", {"connection_id": connection_id, "integration_id": key}
    )
    again = await _connect(server, key, permitted["data"]["token"], account)
    assert again == {"connectionId": connection_id, "providerConfigKey": key}


async def test_a_session_for_what_is_not_there_is_refused(
    node: NodeClient, server: ServerProcess
) -> None:
    """Both session methods throw with the documented body."""
    with pytest.raises(ClientError) as caught:
        await node.call(
            "createConnectSession", {"end_user": END_USER, "allowed_integrations": ["nobody"]}
        )
    assert (caught.value.name, caught.value.status) == ("AxiosError", 400)
    problem = {
        "code": "custom",
        "message": "Integration does not exist",
        "path": ["allowed_integrations", "0"],
    }
    assert caught.value.data["error"]["errors"] == [problem]
    with pytest.raises(ClientError) as caught:
        await node.call(
            "createReconnectSession", {"connection_id": "nobody", "integration_id": "acme"}
        )
    assert (caught.value.status, caught.value.code) == (400, "invalid_body")


async def _connect(
    server: ServerProcess, integration_id: str, token: str, account: Account
) -> dict[str, str]:
    answer = await server.call(
        "POST",
        f"/api-auth/api-key/{integration_id}?connect_session_token={token}"
        f"&params[base_url]={server.provider.url}",
        {"apiKey": account.api_key},
        signed=False,
    )
    assert answer.status == 200, answer.text
    return dict(answer.json)


# --- the proxy ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "REPORT"])
async def test_the_proxy_passes_every_method_on(
    node: NodeClient, server: ServerProcess, method: str
) -> None:
    """`proxy` takes method, path, parameters, prefixed headers and body to the provider."""
    key, account = await connected(server)
    data = None if method == "GET" else {"name": "Zoë"}
    call = {
        "method": method,
        "endpoint": "/api/echo",
        "providerConfigKey": key,
        "connectionId": "one",
        "params": {"q": "a b&c", "page": 2},
        "headers": {"X-Custom": "yes"},
        "retries": 2,
        "retryOn": [409],
        **({"data": data} if data is not None else {}),
    }
    answer = await node.call("proxy", call)
    seen = answer["data"]
    assert (answer["status"], seen["method"], seen["account"]) == (200, method, account.name)
    assert seen["query"] == [["q", "a b&c"], ["page", "2"]]
    assert seen["headers"]["x-custom"] == "yes"
    assert not [name for name in seen["headers"] if name.startswith(("nango-", "retr"))]
    assert server.secret_key not in json.dumps(seen)
    assert seen["body"] == (
        "" if data is None else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    )


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
async def test_the_proxy_has_a_method_for_each_verb(
    node: NodeClient, server: ServerProcess, method: str
) -> None:
    """`get`, `post`, `put`, `patch` and `delete` are `proxy` with that verb."""
    key, _ = await connected(server)
    call = {"endpoint": "api/echo?a=1", "providerConfigKey": key, "connectionId": "one"}
    seen = (await node.call(method, call))["data"]
    assert (seen["method"], seen["query"]) == (method.upper(), [["a", "1"]])


async def test_a_provider_s_error_comes_back_as_it_is(
    node: NodeClient, server: ServerProcess
) -> None:
    """What the provider refuses is axios's error with its status and its body."""
    key, _ = await connected(server)
    server.provider.fail("status", path="/api/echo", status=418, times=1)
    call = {"endpoint": "/api/echo", "providerConfigKey": key, "connectionId": "one"}
    with pytest.raises(ClientError) as caught:
        await node.call("get", call)
    assert (caught.value.name, caught.value.status) == ("AxiosError", 418)
    with pytest.raises(ClientError) as caught:
        await node.call("get", {**call, "endpoint": "/nowhere"})
    assert (caught.value.status, caught.value.data) == (404, {"error": "Not Found"})


# --- environment, keys, notifications -------------------------------------------------------


async def test_environment_variables_are_listed(node: NodeClient, server: ServerProcess) -> None:
    """`getEnvironmentVariables` returns names and values."""
    variables: dict[str, str | None] = {"WIRE_A": "1", "WIRE_B": "ü"}
    await server.call("POST", "/environment-variables", {"variables": variables})
    assert await node.call("getEnvironmentVariables") == [
        {"name": "WIRE_A", "value": "1"},
        {"name": "WIRE_B", "value": "ü"},
    ]
    nothing = dict.fromkeys(variables)
    await server.call("POST", "/environment-variables", {"variables": nothing})
    assert await node.call("getEnvironmentVariables") == []


@pytest.mark.parametrize(
    ("secret_key", "code"),
    [
        ("not-a-key", "invalid_secret_key_format"),
        ("00000000-0000-4000-8000-000000000000", "unknown_account"),
    ],
)
async def test_a_wrong_key_is_refused(host: str, secret_key: str, code: str) -> None:
    """Every method throws a 401 with the documented code."""
    async with node_client(host, secret_key) as stranger:
        with pytest.raises(ClientError) as caught:
            await stranger.call("listConnections")
    assert (caught.value.name, caught.value.status) == ("AxiosError", 401)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("triggerAction", ["acme", "one", "anything"]),
        ("listRecords", [{"providerConfigKey": "acme", "connectionId": "one", "model": "Thing"}]),
        ("triggerSync", ["acme", ["anything"], "one"]),
    ],
)
async def test_what_is_not_offered_is_told_plainly(
    node: NodeClient, method: str, args: list[Any]
) -> None:
    """Methods for what Carrick does not do throw with an error in the usual envelope."""
    with pytest.raises(ClientError) as caught:
        await node.call(method, *args)
    assert (caught.value.name, caught.value.status) == ("AxiosError", 501)
    assert "does not offer" in caught.value.data["error"]["message"]


async def test_the_client_verifies_a_notification_that_was_sent(
    host: str, server: ServerProcess
) -> None:
    """`verifyIncomingWebhookRequest` accepts the bytes sent, and nothing but them."""
    rotated = await server.call("POST", "/environment/webhook-signing-key/rotate", {})
    assert rotated.status == 200, rotated.text
    signing_key = rotated.json["data"]["webhook_signing_key"]
    key, _ = await connected(server, tags={"city": "Zürich 🏔"})
    sent = await notified(server, key)
    body = sent.body.decode()
    assert "Zürich 🏔" in body

    options = {"webhookSigningKey": signing_key}
    async with node_client(host, server.secret_key, **options) as client:
        headers = dict(sent.headers)
        assert await client.call("verifyIncomingWebhookRequest", body, headers) is True
        signature = headers["X-Nango-Signature"]
        assert await client.call("verifyWebhookSignature", signature, sent.json()) is True
        forged = body.replace("Zürich", "Zurich")
        assert await client.call("verifyIncomingWebhookRequest", forged, headers) is False
    async with node_client(host, server.secret_key) as client:
        assert await client.call("verifyIncomingWebhookRequest", body, headers) is False
