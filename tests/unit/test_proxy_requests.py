"""What an authenticated call looks like when it leaves."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from tests.unit.proxy_wire import (
    CATALOGUE,
    Wire,
    headers_of,
    integration,
    provider,
    sent,
    target,
)

from carrick.errors import (
    BaseUrlOverrideNotAllowed,
    InvalidConnectionConfig,
    InvalidPath,
    MissingConnectionConfig,
)
from carrick.proxy import Proxy, ProxyCall
from carrick.testing.clock import FakeChance, FakeClock


@pytest.fixture
def wire() -> Wire:
    """What the proxy sends through."""
    return Wire()


@pytest.fixture
def proxy(wire: Wire, clock: FakeClock, chance: FakeChance) -> Proxy:
    """A proxy with a still clock."""
    return Proxy(wire, clock, chance)


# --- address --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("/users", "https://api.acme.example/v2/users"),
        ("users/1", "https://api.acme.example/v2/users/1"),
        ("//evil.com/x", "https://api.acme.example/v2/evil.com/x"),
        ("", "https://api.acme.example/v2"),
        ("?a=b", "https://api.acme.example/v2?a=b"),
        ("/u?a=b&c=%20d", "https://api.acme.example/v2/u?a=b&c=%20d"),
        ("/a b/ü", "https://api.acme.example/v2/a%20b/%C3%BC"),
        ("/x#frag", "https://api.acme.example/v2/x"),
        ("@evil.com/", "https://api.acme.example/v2/@evil.com/"),
        (".evil.com/", "https://api.acme.example/v2/.evil.com/"),
        ("\\evil.com", "https://api.acme.example/v2/%5Cevil.com"),
        ("https://api.acme.example/v2/users", "https://api.acme.example/v2/users"),
        ("HTTPS://API.acme.example/other", "HTTPS://API.acme.example/other"),
    ],
)
async def test_the_endpoint_is_put_behind_the_base_url_once(
    proxy: Proxy, wire: Wire, endpoint: str, url: str
) -> None:
    """However it is written, the host stays the provider's."""
    assert (await sent(proxy, wire, target(), endpoint=endpoint)).url == url


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://api.acme.example.evil.com/v2/users",
        "https://evil.com/",
        "http://api.acme.example/v2",
        "https://api.acme.example:8443/v2",
        "https://api.acme.example@evil.com/",
        "https://evil.com\\@api.acme.example/",
        "https://api.acme.example\\.evil.com/",
        "https:///evil.com",
        "https://evil.com?https://api.acme.example/v2",
    ],
)
async def test_credentials_go_to_no_other_server(proxy: Proxy, wire: Wire, endpoint: str) -> None:
    """Another host, scheme or port is refused before anything is sent."""
    with pytest.raises(BaseUrlOverrideNotAllowed):
        await proxy.call(ProxyCall("GET", endpoint), target())
    with pytest.raises(BaseUrlOverrideNotAllowed):
        await proxy.call(ProxyCall("GET", "/x", base_url_override=endpoint), target())
    assert wire.requests == []


@pytest.mark.parametrize(
    ("entry", "url", "allowed"),
    [
        ("files.example", "https://files.example/x", True),
        ("files.example", "http://files.example/x", False),
        ("files.example", "https://files.example:8443/x", False),
        ("files.example:8443", "https://files.example:8443/x", True),
        ("https://files.example", "https://files.example/x", True),
        ("http://files.example", "http://files.example/x", True),
        ("http://files.example", "https://files.example/x", False),
        ("127.0.0.1:9000", "http://127.0.0.1:9000/x", True),
        ("127.0.0.1:9000", "http://127.0.0.1:9001/x", False),
        ("*.files.example", "https://eu.files.example/x", True),
        ("*.files.example", "https://files.example/x", False),
        ("*.files.example", "https://evilfiles.example/x", False),
        ("", "https://files.example/x", False),
    ],
)
async def test_the_developer_may_name_further_hosts(
    proxy: Proxy, wire: Wire, entry: str, url: str, allowed: bool
) -> None:
    """`override_hosts` of the integration, by host and where wanted by scheme and port."""
    to = target(developer=integration(override_hosts=(entry,)))
    base, path = url.rsplit("/", 1)
    if allowed:
        assert (await sent(proxy, wire, to, endpoint=url)).url == url
        assert (await sent(proxy, wire, to, endpoint=path, base_url_override=base)).url == url
        return
    with pytest.raises(BaseUrlOverrideNotAllowed, match="override_hosts"):
        await proxy.call(ProxyCall("GET", url), to)


async def test_a_providers_further_hosts_are_its_own(proxy: Proxy, wire: Wire) -> None:
    """Dropbox keeps its content on another host."""
    url = "https://content.dropboxapi.com/2/files/download"
    request = await sent(proxy, wire, target(CATALOGUE.get("dropbox")), endpoint=url)
    assert headers_of(request)["authorization"] == "Bearer at-1"


async def test_an_empty_override_is_none(proxy: Proxy, wire: Wire) -> None:
    """The official client always sends the header."""
    assert (await sent(proxy, wire, target(), base_url_override="")).url.startswith(
        "https://api.acme.example/v2/"
    )


async def test_the_address_may_come_with_the_connection(proxy: Proxy, wire: Wire) -> None:
    """Salesforce lives where its token says, also on loopback."""
    to = target(CATALOGUE.get("salesforce"), instance_url="http://127.0.0.1:9000/")
    request = await sent(proxy, wire, to, endpoint="/services/oauth2/userinfo")
    assert request.url == "http://127.0.0.1:9000/services/oauth2/userinfo"
    assert headers_of(request)["authorization"] == "Bearer at-1"


async def test_a_missing_address_is_named(proxy: Proxy) -> None:
    """What is missing is said by the name it is set under."""
    with pytest.raises(MissingConnectionConfig, match=r"connection_config\.instance_url"):
        await proxy.call(ProxyCall("GET", "/x"), target(CATALOGUE.get("salesforce")))


async def test_a_value_that_breaks_the_address_is_refused_at_the_last_moment(
    proxy: Proxy,
) -> None:
    """Even if it was stored before the rule existed."""
    to = target(CATALOGUE.get("zendesk"), subdomain="evil.com/")
    with pytest.raises(InvalidConnectionConfig):
        await proxy.call(ProxyCall("GET", "/x"), to)


async def test_the_second_base_url_serves_when_the_first_cannot(proxy: Proxy, wire: Wire) -> None:
    """Intercom's default region needs no value."""
    intercom = CATALOGUE.get("intercom")
    assert (await sent(proxy, wire, target(intercom))).url == "https://api.intercom.io/x"
    url = (await sent(proxy, wire, target(intercom, region="eu"))).url
    assert url == "https://api.eu.intercom.io/x"


async def test_control_characters_in_an_endpoint_are_refused(proxy: Proxy) -> None:
    """Nothing can end the request line."""
    with pytest.raises(InvalidPath):
        await proxy.call(ProxyCall("GET", "/x\r\nHost: evil"), target())


async def test_without_credentials_any_server_may_be_called(proxy: Proxy, wire: Wire) -> None:
    """There is nothing to leak; `egress` still judges the address."""
    to = target(CATALOGUE.get("unauthenticated"))
    assert (
        await sent(proxy, wire, to, endpoint="https://a.example/x")
    ).url == "https://a.example/x"
    leaky = provider(auth_mode="NONE", credentials={}, proxy={"headers": {"x": "${developerKey}"}})
    with pytest.raises(BaseUrlOverrideNotAllowed):
        await proxy.call(ProxyCall("GET", "https://a.example/x"), target(leaky))


# --- query ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "query"),
    [
        ({"b": "x y", "c": [1, 2], "d": None, "e": True}, "a=1&b=x%20y&c=1&c=2&e=true"),
        ("b=x%20y&c=", "a=1&b=x%20y&c="),
        ("?b=1", "a=1&b=1"),
        (None, "a=1"),
        ({}, "a=1"),
        ({"page[size]": 5}, "a=1&page%5Bsize%5D=5"),
    ],
)
async def test_params_join_the_endpoints_own_query(
    proxy: Proxy, wire: Wire, params: Any, query: str
) -> None:
    """Given as a map or as text."""
    request = await sent(proxy, wire, target(), endpoint="/x?a=1", params=params)
    assert request.url == f"https://api.acme.example/v2/x?{query}"


async def test_the_providers_query_is_added(proxy: Proxy, wire: Wire) -> None:
    """Filled in, and left out where a value is missing."""
    of = provider(proxy={"query": {"key": "${apiKey}", "v": 3, "site": "${connectionConfig.site}"}})
    request = await sent(proxy, wire, target(of), params={"v": "4"})
    assert request.url == "https://api.acme.example/v2/x?v=4&key=k-123456"
    request = await sent(proxy, wire, target(of, site="a&b"), endpoint="/x?key=mine&q=1")
    assert request.url == "https://api.acme.example/v2/x?q=1&key=k-123456&v=3&site=a%26b"


# --- headers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "config", "header"),
    [
        ("github", {}, "Bearer at-1"),
        ("oauth2-client-credentials", {"base_url": "https://a.example"}, "Bearer cc-1"),
        ("basic", {"base_url": "https://a"}, f"Basic {base64.b64encode(b'u:p').decode()}"),
        ("api-key", {"base_url": "https://a"}, "Bearer k-123456"),
        ("jupyterhub", {"base_url": "https://a"}, "token k-123456"),
        ("none", {"base_url": "https://a"}, None),
    ],
)
async def test_each_mode_has_its_authorization(
    proxy: Proxy, wire: Wire, name: str, config: dict[str, Any], header: str | None
) -> None:
    """By the mode itself, or by the provider's template."""
    request = await sent(proxy, wire, target(CATALOGUE.get(name), **config))
    assert headers_of(request).get("authorization") == header


async def test_callers_cannot_replace_credentials(proxy: Proxy, wire: Wire) -> None:
    """Whatever the case of the name; other headers of the provider are defaults."""
    of = provider(
        proxy={
            "headers": {
                "x-api-key": "${apiKey}",
                "User-Agent": "acme-sdk",
                "accept": "application/json",
                "authorization": "Bearer ${apiKey}",
                "cookie": "a=b",
            }
        }
    )
    mine = {
        "X-API-Key": "no",
        "user-agent": "no",
        "AUTHORIZATION": "no",
        "Cookie": "no",
        "Accept": "text/csv",
        "X-Other": "yes",
    }
    assert headers_of(await sent(proxy, wire, target(of), headers=mine)) == {
        "x-api-key": "k-123456",
        "user-agent": "acme-sdk",
        "authorization": "Bearer k-123456",
        "cookie": "a=b",
        "accept": "text/csv",
        "x-other": "yes",
    }


async def test_callers_may_set_what_nobody_else_sets(proxy: Proxy, wire: Wire) -> None:
    """A provider that takes its key elsewhere leaves `Authorization` free."""
    headers = {"Authorization": "Custom", "Cookie": "c", "User-Agent": "u"}
    request = await sent(proxy, wire, target(), headers=headers)
    assert headers_of(request) == {
        "x-api-key": "k-123456",
        "authorization": "Custom",
        "cookie": "c",
        "user-agent": "u",
    }


async def test_headers_that_cannot_be_filled_are_left_out(proxy: Proxy, wire: Wire) -> None:
    """No provider is ever shown a placeholder."""
    of = provider(
        proxy={
            "headers": {
                "x-tenant": "${connectionConfig.tenant}",
                "x-team": "${metadata.team}",
                "x-app": "${appName}",
                "x-id": "${random}",
                "x-day": "${now:YYYY-MM-DD}",
            }
        }
    )
    to = target(of, developer=integration(custom={"appName": "carrick"}), metadata={"team": 7})
    headers = headers_of(await sent(proxy, wire, to))
    assert len(headers.pop("x-id")) == 36
    assert headers == {"x-team": "7", "x-app": "carrick", "x-day": "2026-01-05"}


# --- body -----------------------------------------------------------------------------------


async def test_a_body_is_sent_as_it_is(proxy: Proxy, wire: Wire) -> None:
    """Bytes in, bytes out, with the caller's type."""
    request = await sent(
        proxy, wire, target(), method="post", body=b"\x00\xff", headers={"content-type": "x/y"}
    )
    assert (request.method, request.body) == ("POST", b"\x00\xff")
    assert headers_of(request)["content-type"] == "x/y"


async def test_a_provider_may_want_its_key_in_the_body(proxy: Proxy, wire: Wire) -> None:
    """JSON and form bodies get it; the caller cannot replace it; other bodies are left alone."""
    of = provider(proxy={"body": {"key": "${apiKey}", "tenant": "${connectionConfig.t}"}})
    request = await sent(proxy, wire, target(of), method="POST", body=b'{"a": 1, "key": "no"}')
    assert json.loads(request.body or b"") == {"a": 1, "key": "k-123456"}
    request = await sent(proxy, wire, target(of), method="POST")
    assert json.loads(request.body or b"") == {"key": "k-123456"}
    assert headers_of(request)["content-type"] == "application/json"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    request = await sent(proxy, wire, target(of), method="POST", body=b"a=1", headers=form)
    assert request.body == b"a=1&key=k-123456"
    for body in (b"[1]", b"\xff"):
        assert (await sent(proxy, wire, target(of), method="PUT", body=body)).body == body
    assert (await sent(proxy, wire, target(of))).body is None
    assert set(wire.follows) == {0}
