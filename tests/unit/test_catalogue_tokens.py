"""What the built-in entries make of signing in: each vendor's own way, as its documents say."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from carrick.auth import ModeContext, Obtained, authorization_url, exchange, mode_for
from carrick.model.auth import AuthMode, Credentials
from carrick.model.environment import Integration, IntegrationState
from carrick.model.http import OutboundAnswer, OutboundRequest
from carrick.providers import Catalogue, interpolate, load_catalogue
from carrick.providers.facts import fact_steps, facts_of, token_values

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
BASIC = "Basic " + base64.b64encode(b"the-client:the-secret").decode()


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    """The built-in providers."""
    return load_catalogue()


def context(catalogue: Catalogue, name: str, **config: str) -> ModeContext:
    client = {"client_id": "the-client", "client_secret": "the-secret"}
    integration = Integration(1, 1, name, name, None, IntegrationState.ACTIVE, credentials=client)
    return ModeContext(catalogue.get(name), integration, config, NOW, render=interpolate)


def asked(ctx: ModeContext) -> OutboundRequest:
    steps = exchange(ctx, "the-code", "https://c.example/cb", "verifier")
    return next(steps)


def obtained(ctx: ModeContext, answer: Mapping[str, Any]) -> Obtained:
    steps = exchange(ctx, "the-code", "https://c.example/cb", "verifier")
    next(steps)
    with pytest.raises(StopIteration) as end:
        steps.send(OutboundAnswer(200, {}, json.dumps(answer).encode()))
    found: Obtained = end.value.value
    return found


def fields(request: OutboundRequest) -> dict[str, Any]:
    if "json" in request.headers.get("Content-Type", ""):
        parsed: dict[str, Any] = json.loads(request.body or b"{}")
        return parsed
    return dict(parse_qsl((request.body or b"").decode() or urlsplit(request.url).query))


NO_PKCE = """slack microsoft microsoft-teams outlook one-drive sharepoint-online pipedrive
gong-oauth linear monday figma stripe-app linkedin"""


def test_pkce_is_on_unless_the_vendor_cannot(catalogue: Catalogue) -> None:
    """And where it is off, neither the page nor the token endpoint hears of it."""
    off = {one.name for one in catalogue.all() if one.definition.get("disable_pkce")}
    assert off >= set(NO_PKCE.split())
    for name in ("slack", "google-mail"):
        ctx = context(catalogue, name)
        page = authorization_url(ctx, "s", "https://c.example/cb", "v", scopes="a,b", params={})
        assert ("code_challenge" in page) == (name not in off)
        assert ("code_verifier" in fields(asked(ctx))) == (name not in off)


IN_A_HEADER = """notion airtable quickbooks xero docusign figma zoom pipedrive gong-oauth deel ramp
bitbucket front snowflake calendly"""


@pytest.mark.parametrize(
    ("name", "header"),
    [
        *((each, BASIC) for each in IN_A_HEADER.split()),
        # The secret key is the user name, and the password is empty.
        ("stripe-app", "Basic " + base64.b64encode(b"the-secret:").decode()),
        ("github", None),
        ("hubspot", None),
    ],
)
def test_the_client_names_itself_the_vendors_way(
    catalogue: Catalogue, name: str, header: str | None
) -> None:
    """In a header, or in the parameters and then nowhere else."""
    request = asked(context(catalogue, name, snowflake_account_url="https://a.example"))
    headers = {each.lower(): text for each, text in request.headers.items()}
    assert headers.get("authorization") == header
    assert ("client_secret" in fields(request)) == (header is None)
    assert fields(request)["code"] == "the-code"


def test_token_requests_have_the_vendors_form(catalogue: Catalogue) -> None:
    """JSON for Notion, a query for Gong, a form for the others."""
    assert asked(context(catalogue, "notion")).headers["Content-Type"] == "application/json"
    gong = asked(context(catalogue, "gong-oauth"))
    assert gong.body is None
    assert fields(gong)["client_id"] == "the-client"


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ({}, "https://accounts.zoho.com/oauth/v2/token"),
        ({"extension": "eu"}, "https://accounts.zoho.eu/oauth/v2/token"),
        (
            {"extension": "eu", "accounts-server": "https://accounts.zoho.in"},
            "https://accounts.zoho.in/oauth/v2/token",
        ),
    ],
)
def test_zoho_is_asked_where_the_account_is(
    catalogue: Catalogue, config: dict[str, str], url: str
) -> None:
    """What Zoho says when the user signs in counts before what anybody chose."""
    assert asked(context(catalogue, "zoho-crm", **config)).url == url


def test_slack_has_a_bots_token_or_a_users(catalogue: Catalogue) -> None:
    """A bot's stands at the top; with user scopes alone it is the user's."""
    ctx = context(catalogue, "slack")
    team = {"team": {"id": "T1", "name": "Acme"}}
    bot = obtained(ctx, {"ok": True, "access_token": "xoxb", "bot_user_id": "U1", **team})
    assert bot.credentials.values["access_token"] == "xoxb"
    assert bot.connection_config == {"team.id": "T1", "team.name": "Acme", "bot_user_id": "U1"}
    user = {"id": "U2", "access_token": "xoxe", "refresh_token": "r", "expires_in": 43200}
    both = obtained(ctx, {"ok": True, "authed_user": user, **team})
    assert both.credentials.values["access_token"] == "xoxe"
    assert both.credentials.values["refresh_token"] == "r"
    assert both.credentials.expires_at is not None


def test_figma_refreshes_at_another_address(catalogue: Catalogue) -> None:
    """Its answer has no refresh token, and the old one stays."""
    ctx = context(catalogue, "figma")
    old = Credentials(AuthMode.OAUTH2, {"access_token": "a", "refresh_token": "r"}, NOW)
    steps = mode_for(AuthMode.OAUTH2).refresh(ctx, old)
    assert steps is not None
    request = next(steps)
    assert request.url == "https://api.figma.com/v1/oauth/refresh"
    assert fields(request)["refresh_token"] == "r"
    with pytest.raises(StopIteration) as end:
        steps.send(OutboundAnswer(200, {}, b'{"access_token": "b", "expires_in": 9}'))
    assert end.value.value.credentials.values["refresh_token"] == "r"


def test_facts_that_come_with_the_token(catalogue: Catalogue) -> None:
    """A Calendly organisation, a Zoho data centre, a Microsoft tenant."""

    def first(name: str, raw: Mapping[str, Any]) -> dict[str, str]:
        return facts_of(fact_steps(catalogue.get(name))[0], token_values({**raw, "raw": raw}))

    organisation = {"organization": "https://api.calendly.com/organizations/AAAA-1"}
    assert first("calendly", organisation) == {"organizationId": "AAAA-1"}
    assert first("zoho-crm", {"api_domain": "https://www.zohoapis.com.au"}) == {
        "extension": "com.au"
    }
    assert first("zoho-crm", {"api_domain": "https://evil.example/.zohoapis.eu/x"}) == {}
    claims = base64.urlsafe_b64encode(b'{"tid":"8eaef023"}').decode().rstrip("=")
    assert first("microsoft-teams", {"access_token": f"h.{claims}.s"}) == {"tenantId": "8eaef023"}
    assert first("microsoft-teams", {"access_token": "opaque"}) == {}


def test_of_several_sites_the_right_one_is_chosen(catalogue: Catalogue) -> None:
    """By the subdomain that was asked for, else the one of before, else the first."""
    from carrick.providers.facts import chosen

    step = fact_steps(catalogue.get("jira"))[0]
    sites = [{"id": str(n), "url": f"https://s{n}.atlassian.net"} for n in range(3)]

    def pick(config: Mapping[str, str], previous: Mapping[str, str]) -> Any:
        found = chosen(step.choice, sites, {"connectionConfig": config, "previous": previous})
        return found and found["id"]

    assert pick({}, {}) == "0"
    assert pick({}, {"cloudId": "2"}) == "2"
    assert pick({}, {"cloudId": "gone"}) == "0"
    assert pick({"subdomain": "s1"}, {"cloudId": "2"}) == "1"
    assert pick({"subdomain": "other"}, {"cloudId": "2"}) is None
