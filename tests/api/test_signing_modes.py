"""Connecting by OAuth 1.0a, with a consent page and without: a server checks every signature."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.api.browser import Browser, count, went_wrong
from tests.api.conftest import Desk, Opener

from carrick.testing.fake_provider import Account, FakeProvider


def definitions(url: str) -> dict[str, Any]:
    """Return providers that sign, all of them the fake one."""
    legs = {
        "request_url": f"{url}/oauth1/request_token",
        "authorization_url": f"{url}/oauth1/authorize",
        "authorization_params": {"name": "Carrick", "expiration": "never"},
        "token_url": f"{url}/oauth1/access_token",
        "token_response_metadata": ["user_id"],
    }
    proxy = {"base_url": url, "verification": {"method": "GET", "endpoints": ["/api/me?a=b%20c"]}}
    three = {"display_name": "Three legs", "auth_mode": "OAUTH1", **legs, "proxy": proxy}
    account = {"type": "string", "title": "Account", "description": "Its id."}
    return {
        "three": three,
        "three-get": {
            **three,
            "request_http_method": "GET",
            "request_params": {"scope": "a b", "perms": "r/w"},
            "token_http_method": "GET",
        },
        "three-form": {**three, "request_params": {"scope": "a b"}},
        "three-plain": {**three, "signature_method": "PLAINTEXT"},
        "three-rsa": {**three, "signature_method": "RSA-SHA1"},
        "netsuite": {
            "display_name": "Token",
            "auth_mode": "TBA",
            "connection_config": {"accountId": account},
            "proxy": proxy,
        },
    }


@pytest.fixture
async def signing(open_desk: Opener, provider: FakeProvider, tmp_path: Path) -> AsyncIterator[Desk]:
    """A server whose catalogue has providers that sign."""
    path = tmp_path / "providers.json"
    path.write_text(json.dumps(definitions(provider.url)))
    async with open_desk(providers_file=path) as desk:
        for key in ("three", "three-get", "three-form", "three-plain"):
            await desk.add(key, key, credentials=client(desk, "OAUTH1"))
        await desk.add("netsuite", "netsuite", credentials=client(desk, "TBA"))
        yield desk


def client(desk: Desk, kind: str) -> dict[str, str]:
    """Return an integration's credentials."""
    provider = desk.provider
    return {
        "type": kind,
        "client_id": provider.client_id,
        "client_secret": provider.client_secret,
        "scopes": "read,write",
    }


@pytest.fixture
async def browser(signing: Desk) -> AsyncIterator[Browser]:
    """Somebody with a popup."""
    with signing.app.services.popups.waiting() as waiting:
        yield Browser(signing, waiting)


async def connected(browser: Browser, key: str, account: Account, token: str | None = None) -> str:
    """Connect through the consent page and return the connection's id."""
    answer = await browser.begin(token or await browser.desk.session(), key)
    assert answer.status == 302, answer.body
    page = await browser.come_back(await browser.consent(answer.headers["location"], account))
    assert page.status == 200, page.body
    assert browser.frame is not None
    return str(browser.frame["connection_id"])


async def called(desk: Desk, key: str, connection_id: str, method: str, path: str, **more: Any):
    """Call the provider through the proxy."""
    headers = {
        "provider-config-key": key,
        "connection-id": connection_id,
        **more.pop("headers", {}),
    }
    return await desk.ask(method, f"/proxy{path}", headers=headers, **more)


# --- OAUTH1 ---------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["three", "three-get", "three-form", "three-plain"])
async def test_three_legs_make_a_connection(browser: Browser, key: str) -> None:
    """Request token, consent, access token, and a check that is signed: by each method."""
    desk = browser.desk
    desk.provider.add_account("org-a")
    account = desk.provider.add_account("org-b")
    connection_id = await connected(browser, key, account)
    target = f"/connections/{connection_id}?provider_config_key={key}"
    shown = (await desk.ask("GET", target)).json
    assert shown["credentials"]["type"] == "OAUTH1"
    assert shown["credentials"]["oauth_token"] == shown["credentials"]["raw"]["oauth_token"]
    assert shown["credentials"]["oauth_token_secret"]
    assert shown["connection_config"] == {"user_id": account.user_id}
    sent = [call for call in desk.provider.calls if call.path == "/api/me"]
    assert [call.account for call in sent] == ["org-b"]


async def test_a_private_key_signs(browser: Browser) -> None:
    """RSA-SHA1: the integration's client secret is the key, and its public half verifies."""
    desk = browser.desk
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    desk.provider.verify_with(public.decode())
    given = {**client(desk, "OAUTH1"), "client_secret": pem.decode()}
    await desk.add("three-rsa", "three-rsa", credentials=given)
    await connected(browser, "three-rsa", desk.provider.add_account("org-a"))


async def test_a_secret_that_is_no_private_key_is_told(browser: Browser) -> None:
    """RSA-SHA1 with a plain secret cannot begin, and the socket hears why."""
    desk = browser.desk
    await desk.add("three-rsa", "three-rsa", credentials=client(desk, "OAUTH1"))
    page = await browser.begin(await desk.session(), "three-rsa")
    message = await went_wrong(browser, page, "provider_config_err", "three-rsa")
    assert "PEM" in message


async def test_the_consent_page_gets_token_scopes_and_parameters(browser: Browser) -> None:
    """Our state travels in the callback's address, which is signed; not at the consent page."""
    answer = await browser.begin(
        await browser.desk.session(), "three", **{"authorization_params[expiration]": "undefined"}
    )
    query = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
    assert query.keys() == {"oauth_token", "scope", "name"}
    assert query["scope"] == "read write"


@pytest.mark.parametrize(
    ("method", "path", "body", "kind"),
    [
        ("GET", "/api/echo?q=a%20b&empty=&x=%C3%A9&plus=1%2B1", None, ""),
        ("POST", "/api/echo?q=1", b'{"a": 1}', "application/json"),
        ("POST", "/api/echo?q=1", b"f=1&g=a+b&h=%26", "application/x-www-form-urlencoded"),
        ("POST", "/api/echo", b"f=1&f=2", "application/x-www-form-urlencoded; charset=utf-8"),
        ("DELETE", "/api/echo/", None, ""),
    ],
)
async def test_every_call_is_signed_as_it_is_sent(
    browser: Browser, method: str, path: str, body: bytes | None, kind: str
) -> None:
    """Query and form fields are part of the signature, other bodies are not."""
    desk = browser.desk
    connection_id = await connected(browser, "three", desk.provider.add_account("org-a"))
    headers = {"nango-proxy-content-type": kind, "content-type": kind} if kind else {}
    path = path.rstrip("/")
    answer = await called(desk, "three", connection_id, method, path, raw=body, headers=headers)
    assert answer.status == 200, answer.body
    assert answer.json["account"] == "org-a"
    assert answer.json["headers"]["authorization"].startswith("OAuth oauth_consumer_key=")
    assert answer.json["body"] == (body or b"").decode()


async def test_a_retry_is_signed_anew(browser: Browser) -> None:
    """A provider counts a nonce once, so the second try of a call has another."""
    desk = browser.desk
    connection_id = await connected(browser, "three", desk.provider.add_account("org-a"))
    desk.provider.fail("status", path="/api/echo", status=503, headers={"retry-after": "0"})
    headers = {"retries": "1"}
    answer = await called(desk, "three", connection_id, "GET", "/api/echo", headers=headers)
    assert answer.status == 200, answer.body
    tries = desk.provider.calls_to("GET", "/api/echo")
    assert len({call.headers["Authorization"] for call in tries}) == 2


async def test_a_caller_cannot_replace_the_signature(browser: Browser) -> None:
    """The caller's own Authorization header is dropped."""
    desk = browser.desk
    connection_id = await connected(browser, "three", desk.provider.add_account("org-a"))
    headers = {"nango-proxy-authorization": "OAuth mine"}
    answer = await called(desk, "three", connection_id, "GET", "/api/echo", headers=headers)
    assert answer.json["headers"]["authorization"].startswith("OAuth oauth_consumer_key=")


async def test_tokens_can_be_imported(browser: Browser) -> None:
    """An import signs from then on; `raw` is what was submitted."""
    desk = browser.desk
    token, secret = desk.provider.issue_signing_token(desk.provider.add_account("org-a"))
    credentials = {"type": "OAUTH1", "oauth_token": token, "oauth_token_secret": secret}
    body = {"provider_config_key": "three", "connection_id": "one", "credentials": credentials}
    answer = await desk.ask("POST", "/connections", body)
    assert answer.status == 201, answer.body
    raw = {"oauth_token": token, "oauth_token_secret": secret}
    assert answer.json["credentials"] == {**credentials, "raw": raw}
    assert (await called(desk, "three", "one", "GET", "/api/me")).status == 200


async def test_a_user_with_a_client_of_their_own(browser: Browser) -> None:
    """The override signs the legs and every later call, and is kept with the credentials."""
    desk = browser.desk
    given = {**client(desk, "OAUTH1"), "client_id": "another"}
    await desk.add("other", "three", credentials=given)
    desk.provider.add_account("org-a")
    override = {
        "credentials[oauth_client_id_override]": desk.provider.client_id,
        "credentials[oauth_client_secret_override]": desk.provider.client_secret,
    }
    answer = await browser.begin(await desk.session(), "other", **override)
    page = await browser.come_back(await browser.consent(answer.headers["location"]))
    assert page.status == 200, page.body
    assert browser.frame is not None
    connection_id = browser.frame["connection_id"]
    assert (await called(desk, "other", connection_id, "GET", "/api/me")).status == 200


async def test_a_request_token_that_is_refused_is_told(browser: Browser) -> None:
    """`token_err` before anybody is sent anywhere, without the client's secret in it."""
    desk = browser.desk
    given = {**client(desk, "OAUTH1"), "client_secret": "not-the-secret"}
    await desk.add("wrong", "three", credentials=given)
    page = await browser.begin(await desk.session(), "wrong")
    message = await went_wrong(browser, page, "token_err", "wrong")
    assert "signature_invalid" in message
    assert "not-the-secret" not in message


@pytest.mark.parametrize(
    ("changes", "error_type"),
    [
        ({"oauth_verifier": None}, "callback_err"),
        ({"oauth_token": None}, "callback_err"),
        ({"oauth_token": "another"}, "token_err"),
        ({"oauth_verifier": "wrong"}, "token_err"),
        ({"oauth_token": None, "oauth_verifier": None, "denied": "t"}, "callback_err"),
    ],
)
async def test_what_comes_back_wrong_connects_nothing(
    browser: Browser, changes: dict[str, str | None], error_type: str
) -> None:
    """No verifier, another request token, a wrong verifier, a user who said no."""
    desk = browser.desk
    desk.provider.add_account("org-a")
    answer = await browser.begin(await desk.session(), "three")
    query = {**dict(parse_qsl(await browser.consent(answer.headers["location"]))), **changes}
    left = {name: text for name, text in query.items() if text is not None}
    page = await browser.come_back(urlencode(left))
    await went_wrong(browser, page, error_type, "three")


async def test_a_form_is_no_way_in(browser: Browser) -> None:
    """OAUTH1 needs consent, so the routes for forms refuse it."""
    token = await browser.desk.session()
    answer = await browser.desk.ask(
        "POST",
        f"/api-auth/api-key/three?connect_session_token={token}",
        {"apiKey": "k"},
        key=None,
    )
    assert (answer.status, answer.code) == (400, "invalid_auth_mode")


# --- TBA ------------------------------------------------------------------------------------


async def typed_in(
    desk: Desk, token: tuple[str, str], account_id: str | None = "1234567-sb1", **more: str
) -> Any:
    """Connect with a token that was typed into a form."""
    params = f"&params[accountId]={quote(account_id)}" if account_id else ""
    target = f"/auth/tba/netsuite?connect_session_token={await desk.session()}{params}"
    body = {"token_id": token[0], "token_secret": token[1], **more}
    return await desk.ask("POST", target, body, key=None)


async def test_a_typed_in_token_signs_for_its_account(signing: Desk) -> None:
    """The realm is the account as NetSuite writes it in signatures."""
    account = signing.provider.add_account("org-a")
    token = signing.provider.issue_signing_token(account, realm="1234567_SB1")
    answer = await typed_in(signing, token)
    assert answer.status == 200, answer.body
    connection_id = answer.json["connectionId"]
    sent = await called(signing, "netsuite", connection_id, "POST", "/api/echo?a=b", raw=b"{}")
    assert sent.status == 200, sent.body
    header = sent.json["headers"]["authorization"]
    assert 'realm="1234567_SB1"' in header
    assert 'oauth_signature_method="HMAC-SHA256"' in header
    target = f"/connections/{connection_id}?provider_config_key=netsuite"
    shown = (await signing.ask("GET", target)).json["credentials"]
    assert shown == {
        "type": "TBA",
        "token_id": token[0],
        "token_secret": token[1],
        "config_override": {},
    }


async def test_a_token_that_does_not_work_is_refused(signing: Desk) -> None:
    """400 `connection_test_failed`, never a 200 with an error in it; nothing is left."""
    account = signing.provider.add_account("org-a")
    token = signing.provider.issue_signing_token(account, realm="ANOTHER")
    answer = await typed_in(signing, token)
    assert (answer.status, answer.code) == (400, "connection_test_failed")
    assert await count(signing) == 0


async def test_a_token_with_a_client_of_its_own(signing: Desk) -> None:
    """The override is used for signing and shown as `config_override`."""
    provider = signing.provider
    token = provider.issue_signing_token(provider.add_account("org-a"), realm="1")
    wrong = {"oauth_client_id_override": "x", "oauth_client_secret_override": "y"}
    assert (await typed_in(signing, token, "1", **wrong)).code == "connection_test_failed"
    right = {
        "oauth_client_id_override": provider.client_id,
        "oauth_client_secret_override": provider.client_secret,
    }
    answer = await typed_in(signing, token, "1", **right)
    assert answer.status == 200, answer.body
    target = f"/connections/{answer.json['connectionId']}?provider_config_key=netsuite"
    shown = (await signing.ask("GET", target)).json["credentials"]["config_override"]
    assert shown == {"client_id": provider.client_id, "client_secret": provider.client_secret}


async def test_a_form_that_lacks_something_is_refused(signing: Desk) -> None:
    """No account, no secret, a field nobody knows."""
    answer = await typed_in(signing, ("a", "b"), None)
    assert (answer.status, answer.code) == (400, "invalid_connection_config")
    assert (await typed_in(signing, ("a", ""))).code == "invalid_body"
    assert (await typed_in(signing, ("a", "b"), other="c")).code == "invalid_body"


async def test_an_import_needs_the_account(signing: Desk) -> None:
    """`connection_config.accountId` is required; with it the token is tested and stored."""
    account = signing.provider.add_account("org-a")
    token = signing.provider.issue_signing_token(account, realm="1")
    body: dict[str, Any] = {
        "provider_config_key": "netsuite",
        "connection_id": "one",
        "credentials": {"type": "TBA", "token_id": token[0], "token_secret": token[1]},
    }
    answer = await signing.ask("POST", "/connections", body)
    assert answer.status == 400
    assert "accountId" in answer.json["error"]["message"]
    answer = await signing.ask(
        "POST", "/connections", {**body, "connection_config": {"accountId": "1"}}
    )
    assert answer.status == 201, answer.body
    signing.provider.revoke(account)
    answer = await signing.ask(
        "POST", "/connections", {**body, "connection_config": {"accountId": "1"}}
    )
    assert answer.code == "connection_test_failed"
    assert await count(signing) == 1
