"""Yes, no, and could not tell: the catalogue's own check of credentials."""

from __future__ import annotations

import base64
import json

import pytest
from tests.unit.proxy_wire import (
    CATALOGUE,
    Wire,
    answer,
    headers_of,
    provider,
    target,
)

from carrick.errors import (
    ConnectionTestFailed,
    ProviderTimeout,
    ProviderUnavailable,
)
from carrick.proxy import Proxy, paginate_config, verification_calls
from carrick.testing.clock import FakeChance, FakeClock


@pytest.fixture
def wire() -> Wire:
    """What the proxy sends through."""
    return Wire()


@pytest.fixture
def proxy(wire: Wire, clock: FakeClock, chance: FakeChance) -> Proxy:
    """A proxy with a still clock."""
    return Proxy(wire, clock, chance)


# --- verification ---------------------------------------------------------------------------

CHECKED = provider(
    proxy={
        "headers": {"x-api-key": "${apiKey}"},
        "verification": {"method": "GET", "endpoints": ["/me", "/users"]},
    }
)


async def test_the_first_yes_is_enough(proxy: Proxy, wire: Wire) -> None:
    """Endpoints are asked in order, with the credentials."""
    wire.replies = [answer(403), answer(204)]
    await proxy.verify(target(CHECKED))
    assert [request.url.rsplit("/", 1)[1] for request in wire.requests] == ["me", "users"]
    assert headers_of(wire.requests[0])["x-api-key"] == "k-123456"
    await proxy.verify(target(CHECKED))
    assert len(wire.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 302])
async def test_a_no_is_a_failed_test(proxy: Proxy, wire: Wire, status: int) -> None:
    """The provider did answer, and not with a yes."""
    wire.replies = [answer(status)]
    with pytest.raises(ConnectionTestFailed, match=f"Acme .* answered {status}"):
        await proxy.verify(target(CHECKED))
    assert len(wire.requests) == 2


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_a_provider_in_trouble_says_nothing(proxy: Proxy, wire: Wire, status: int) -> None:
    """That is no refusal, even if another endpoint refused."""
    wire.replies = [answer(status, {"retry-after": "9"}), answer(401)]
    with pytest.raises(ProviderUnavailable) as caught:
        await proxy.verify(target(CHECKED))
    assert caught.value.retry_after_s == 9


async def test_an_unreachable_provider_says_nothing(proxy: Proxy, wire: Wire) -> None:
    """Unless another endpoint says yes."""
    wire.replies = [ProviderTimeout(), answer(200)]
    await proxy.verify(target(CHECKED))
    wire.replies = [answer(401), ProviderTimeout()]
    with pytest.raises(ProviderTimeout):
        await proxy.verify(target(CHECKED))


async def test_without_a_check_everything_is_accepted(proxy: Proxy, wire: Wire) -> None:
    """And nothing is sent."""
    await proxy.verify(target(CATALOGUE.get("jupyterhub"), base_url="https://a.example"))
    assert wire.requests == []


async def test_a_check_may_have_its_own_address_headers_and_body(proxy: Proxy, wire: Wire) -> None:
    """They are the provider's templates, filled in, and need no permission."""
    rule = {
        "method": "POST",
        "base_url_override": "https://login.acme.example/${connectionConfig.tenant}",
        "endpoints": ["/check/${connectionConfig.tenant}"],
        "headers": {"authorization": "Key ${apiKey}", "x-api-key": "${base64(${apiKey})}"},
        "data": {"key": "${apiKey}", "deep": [{"n": 1, "t": "${connectionConfig.tenant}"}]},
    }
    of = provider(proxy={"headers": {"x-api-key": "${apiKey}"}, "verification": rule})
    await proxy.verify(target(of, tenant="a/b"))
    request = wire.requests[0]
    assert request.method == "POST"
    assert request.url == "https://login.acme.example/a%2Fb/check/a%2Fb"
    assert headers_of(request) == {
        "authorization": "Key k-123456",
        "x-api-key": base64.b64encode(b"k-123456").decode(),
        "content-type": "application/json",
    }
    assert json.loads(request.body or b"") == {"key": "k-123456", "deep": [{"n": 1, "t": "a/b"}]}


async def test_a_check_may_send_a_form(proxy: Proxy, wire: Wire) -> None:
    """Where its content type says so."""
    rule = {
        "method": "POST",
        "endpoints": ["/check"],
        "headers": {"Content-Type": "application/x-www-form-urlencoded"},
        "data": {"key": "${apiKey}"},
    }
    await proxy.verify(target(provider(proxy={"verification": rule})))
    assert wire.requests[0].body == b"key=k-123456"


def test_what_a_definition_says_is_told() -> None:
    """Checks and paging, for those who need them elsewhere."""
    assert [call.endpoint for call in verification_calls(CATALOGUE.get("stripe"))] == [
        "/v1/account"
    ]
    assert verification_calls(CATALOGUE.get("jupyterhub")) == []
    assert (paginate_config(CATALOGUE.get("github")) or {})["type"] == "link"
    assert paginate_config(CATALOGUE.get("jupyterhub")) is None
