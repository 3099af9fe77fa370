"""The fake provider must be believable: other tests take its word for what a provider received."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from carrick.testing import FakeClock
from carrick.testing.fake_provider import Account, FakeProvider, Fault


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    """A provider on a free port."""
    async with FakeProvider() as provider:
        yield provider


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A plain HTTP client."""
    async with aiohttp.ClientSession() as session:
        yield session


def bearer(account: Account) -> dict[str, str]:
    return {"Authorization": f"Bearer {account.access_token}"}


async def exchange(
    http: aiohttp.ClientSession, provider: FakeProvider, **fields: str
) -> tuple[int, dict[str, Any]]:
    form = {"client_id": provider.client_id, "client_secret": provider.client_secret, **fields}
    async with http.post(f"{provider.url}/oauth/token", data=form) as answer:
        return answer.status, await answer.json()


# --- credentials ----------------------------------------------------------------------------


async def test_every_kind_of_credential_leads_to_its_own_account(
    provider: FakeProvider, http: aiohttp.ClientSession
) -> None:
    """Bearer token, API key in each usual place, and Basic all identify the account they are of."""
    provider.add_account("org-a")
    account = provider.add_account("org-b")
    basic = base64.b64encode(f"{account.username}:{account.password}".encode()).decode()
    for headers in (
        bearer(account),
        {"Authorization": f"token {account.api_key}"},
        {"Authorization": f"Bearer {account.api_key}"},
        {"X-Api-Key": account.api_key},
        {"Authorization": f"Basic {basic}"},
    ):
        async with http.get(f"{provider.url}/api/me", headers=headers) as answer:
            assert answer.status == 200
            assert (await answer.json())["organization_id"] == account.organization_id


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer nobody"}, {"Authorization": "Basic %%%"}, {"X-Api-Key": "no"}],
)
async def test_unknown_credentials_answer_401(
    provider: FakeProvider, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    """A call without credentials that open anything is refused in JSON."""
    provider.add_account("org-a")
    async with http.get(f"{provider.url}/api/me", headers=headers) as answer:
        assert answer.status == 401
        assert (await answer.json())["error"] == "invalid_token"
    assert provider.calls[0].status == 401
    assert provider.calls[0].account is None


async def test_two_accounts_never_share_an_organisation(
    provider: FakeProvider, http: aiohttp.ClientSession
) -> None:
    """The Salesforce-shaped identity names the organisation of the token that asks."""
    seen = set()
    for account in (provider.add_account("org-a"), provider.add_account("org-b")):
        url = f"{provider.url}/services/oauth2/userinfo"
        async with http.get(url, headers=bearer(account)) as answer:
            body = await answer.json()
        assert body["organization_id"] == account.organization_id
        seen.add(body["organization_id"])
    assert len(seen) == 2


async def test_the_github_shaped_identity_is_a_number_of_its_own(
    provider: FakeProvider, http: aiohttp.ClientSession
) -> None:
    """A project fresh from `carrick init` can tell two accounts apart."""
    numbers = set()
    for account in (provider.add_account("org-a"), provider.add_account("org-b")):
        async with http.get(f"{provider.url}/user", headers=bearer(account)) as answer:
            numbers.add((await answer.json())["id"])
    assert len(numbers) == 2
    assert all(isinstance(number, int) for number in numbers)


# --- tokens ---------------------------------------------------------------------------------


async def test_a_refresh_gives_a_new_access_token_that_works(
    provider: FakeProvider, http: aiohttp.ClientSession
) -> None:
    """After expiry the old token answers 401 and a refreshed one 200."""
    account = provider.add_account("org-a")
    old = bearer(account)
    provider.expire(account)
    async with http.get(f"{provider.url}/api/me", headers=old) as answer:
        assert answer.status == 401
    status, body = await exchange(
        http, provider, grant_type="refresh_token", refresh_token=account.refresh_token
    )
    assert status == 200
    assert "refresh_token" not in body
    assert body["instance_url"] == provider.url
    headers = {"Authorization": f"Bearer {body['access_token']}"}
    async with http.get(f"{provider.url}/api/me", headers=headers) as answer:
        assert answer.status == 200


async def test_a_rotated_refresh_token_works_once(http: aiohttp.ClientSession) -> None:
    """With rotation on, the second use of a refresh token is an invalid grant."""
    async with FakeProvider(rotate_refresh_tokens=True) as provider:
        first = provider.add_account("org-a").refresh_token
        status, body = await exchange(
            http, provider, grant_type="refresh_token", refresh_token=first
        )
        assert status == 200
        assert body["refresh_token"] != first
        status, body = await exchange(
            http, provider, grant_type="refresh_token", refresh_token=first
        )
        assert (status, body["error"]) == (400, "invalid_grant")


async def test_a_token_ends_with_its_lifetime(http: aiohttp.ClientSession) -> None:
    """Access tokens stop working when the clock passes their end."""
    clock = FakeClock()
    async with FakeProvider(token_lifetime_s=60, clock=clock) as provider:
        account = provider.add_account("org-a")
        clock.move(59)
        async with http.get(f"{provider.url}/api/me", headers=bearer(account)) as answer:
            assert answer.status == 200
        clock.move(1)
        async with http.get(f"{provider.url}/api/me", headers=bearer(account)) as answer:
            assert answer.status == 401


async def test_revoking_an_account_ends_its_refresh_token_too(
    provider: FakeProvider, http: aiohttp.ClientSession
) -> None:
    """A customer who removed the app cannot be refreshed."""
    account = provider.add_account("org-a")
    provider.revoke(account)
    status, body = await exchange(
        http, provider, grant_type="refresh_token", refresh_token=account.refresh_token
    )
    assert (status, body["error"]) == (400, "invalid_grant")


async def test_the_revocation_endpoint_ends_a_grant(
    provider: FakeProvider, http: aiohttp.ClientSession
) -> None:
    """Revoking a refresh token takes the access token along; an unknown token is fine."""
    account = provider.add_account("org-a")
    for token in (account.refresh_token, "unknown"):
        async with http.post(f"{provider.url}/oauth/revoke", data={"token": token}) as answer:
            assert answer.status == 200
    async with http.get(f"{provider.url}/api/me", headers=bearer(account)) as answer:
        assert answer.status == 401


async def test_an_authorization_code_needs_its_verifier_and_works_once(
    provider: FakeProvider, http: aiohttp.ClientSession
) -> None:
    """The consent page hands out a code bound to redirect_uri and code challenge."""
    account = provider.add_account("org-a")
    verifier = "v" * 43
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
    query = {
        "client_id": provider.client_id,
        "redirect_uri": "http://app.example/callback",
        "state": "s1",
        "code_challenge": challenge.decode(),
        "login_hint": "org-a",
    }
    codes = []
    for _ in range(2):
        async with http.get(
            f"{provider.url}/oauth/authorize", params=query, allow_redirects=False
        ) as answer:
            assert answer.status == 302
            location = answer.headers["Location"]
        assert location.startswith("http://app.example/callback?state=s1&code=")
        codes.append(location.partition("code=")[2])
    fields = {
        "grant_type": "authorization_code",
        "redirect_uri": query["redirect_uri"],
    }
    wrong = await exchange(http, provider, **fields, code=codes[0], code_verifier="other")
    assert wrong[0] == 400
    status, body = await exchange(http, provider, **fields, code=codes[1], code_verifier=verifier)
    assert status == 200
    assert body["access_token"] == account.access_token
    again = await exchange(http, provider, **fields, code=codes[1], code_verifier=verifier)
    assert again[1]["error"] == "invalid_grant"


async def test_client_credentials_in_a_basic_header(
    provider: FakeProvider, http: aiohttp.ClientSession
) -> None:
    """An account's own client id and secret yield a token, sent in the header or in the body."""
    account = provider.add_account("org-a")
    basic = aiohttp.encode_basic_auth(account.username, account.password)
    body = {"grant_type": "client_credentials"}
    async with http.post(
        f"{provider.url}/oauth/token", json=body, headers={"Authorization": basic}
    ) as answer:
        assert answer.status == 200
    status, refused = await exchange(
        http, provider, grant_type="client_credentials", client_secret="wrong"
    )
    assert (status, refused["error"]) == (401, "invalid_client")


# --- webhooks -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/webhooks", "/services/apexrest/webhooks"])
async def test_a_webhook_lives_from_create_to_delete(
    provider: FakeProvider, http: aiohttp.ClientSession, path: str
) -> None:
    """Create, list, show and delete work, and a second delete finds nothing."""
    account = provider.add_account("org-a")
    url, headers = provider.url + path, bearer(account)
    body = {"url": "https://app.example/hook", "events": ["a", "b"]}
    async with http.post(url, json=body, headers=headers) as answer:
        assert answer.status == 201
        created = await answer.json()
    async with http.get(url, headers=headers) as answer:
        assert (await answer.json())["webhooks"] == [created]
    assert provider.webhooks_of(account)[0].events == ("a", "b")
    for expected in (204, 404):
        async with http.delete(f"{url}/{created['id']}", headers=headers) as answer:
            assert answer.status == expected
    assert provider.webhooks == []


async def test_an_account_cannot_touch_the_webhook_of_another(
    provider: FakeProvider, http: aiohttp.ClientSession
) -> None:
    """Another organisation's webhook looks as if it did not exist."""
    one, other = provider.add_account("org-a"), provider.add_account("org-b")
    body = {"url": "https://app.example/hook"}
    async with http.post(f"{provider.url}/webhooks", json=body, headers=bearer(one)) as answer:
        webhook = await answer.json()
    url = f"{provider.url}/webhooks/{webhook['id']}"
    async with http.delete(url, headers=bearer(other)) as answer:
        assert answer.status == 404
    assert len(provider.webhooks_of(one)) == 1


async def test_idempotency_keys_are_honoured_only_when_asked(
    http: aiohttp.ClientSession,
) -> None:
    """The same key makes one webhook with the option and two without it."""
    for honoured, expected in ((True, 1), (False, 2)):
        async with FakeProvider(honour_idempotency_keys=honoured) as provider:
            account = provider.add_account("org-a")
            headers = {**bearer(account), "Idempotency-Key": "k1"}
            ids = []
            for _ in range(2):
                async with http.post(
                    f"{provider.url}/webhooks", json={"url": "u"}, headers=headers
                ) as answer:
                    assert answer.status == 201
                    ids.append((await answer.json())["id"])
            assert len(set(ids)) == expected
            assert len(provider.webhooks) == expected
            assert [call.replayed for call in provider.calls] == [False, honoured]
            assert {call.idempotency_key for call in provider.calls} == {"k1"}


# --- records --------------------------------------------------------------------------------


async def test_calls_are_recorded_in_order_with_who_and_what(
    provider: FakeProvider, http: aiohttp.ClientSession
) -> None:
    """Method, path, query, account, status and body of each call can be read afterwards."""
    account = provider.add_account("org-a")
    await (await http.get(f"{provider.url}/api/me?x=1", headers=bearer(account))).read()
    await (await http.post(f"{provider.url}/nowhere", data=b"hello")).read()
    first, second = provider.calls
    assert (first.number, first.method, first.path, first.query) == (1, "GET", "/api/me", "x=1")
    assert (first.account, first.status) == ("org-a", 200)
    assert (second.account, second.status, second.body) == (None, 404, "hello")
    assert provider.calls_to("POST", "/nowhere") == [second]


async def test_the_sink_keeps_notifications_byte_for_byte(
    provider: FakeProvider, http: aiohttp.ClientSession
) -> None:
    """A signature can be checked against exactly what was received."""
    raw = b'{"b":1,  "a":"\xc3\xa9"}'
    headers = {"X-Signature": "s", "Content-Type": "application/json"}
    arrived = asyncio.create_task(provider.until(lambda: len(provider.notifications) == 1))
    await (await http.post(provider.notification_url, data=raw, headers=headers)).read()
    await arrived
    assert provider.notifications[0].body == raw
    assert provider.notifications[0].headers["X-Signature"] == "s"


# --- faults ---------------------------------------------------------------------------------


async def test_a_status_fault_lasts_for_its_number_of_calls(
    provider: FakeProvider, http: aiohttp.ClientSession
) -> None:
    """Two calls are throttled with Retry-After, the third is served."""
    account = provider.add_account("org-a")
    provider.fail(
        "status", path="/api/*", method="GET", times=2, status=429, headers={"Retry-After": "3"}
    )
    statuses = []
    for _ in range(3):
        async with http.get(f"{provider.url}/api/me", headers=bearer(account)) as answer:
            statuses.append((answer.status, answer.headers.get("Retry-After")))
    assert statuses == [(429, "3"), (429, "3"), (200, None)]
    assert [call.fault for call in provider.calls] == ["status", "status", None]


async def test_a_fault_leaves_other_paths_and_methods_alone(
    provider: FakeProvider, http: aiohttp.ClientSession
) -> None:
    """Only what a fault names goes wrong, and recovering ends it."""
    account = provider.add_account("org-a")
    provider.fail("status", path="/api/me", method="GET", times=None, status=503)
    for path, expected in (("/api/echo", 200), ("/api/me", 503), ("/api/me", 503)):
        async with http.get(provider.url + path, headers=bearer(account)) as answer:
            assert answer.status == expected
    provider.recover()
    async with http.get(f"{provider.url}/api/me", headers=bearer(account)) as answer:
        assert answer.status == 200


async def test_a_closed_socket_is_no_answer(
    provider: FakeProvider, http: aiohttp.ClientSession
) -> None:
    """The caller sees a broken connection and the record has no status."""
    provider.fail("close")
    with pytest.raises(aiohttp.ClientConnectionError):
        await http.post(f"{provider.url}/webhooks", json={})
    assert provider.calls[0].status is None


async def test_a_write_can_be_made_although_its_answer_is_lost(
    provider: FakeProvider, http: aiohttp.ClientSession
) -> None:
    """With `after`, the webhook exists and the caller does not know it."""
    account = provider.add_account("org-a")
    provider.fail("close", path="/webhooks", after=True)
    with pytest.raises(aiohttp.ClientConnectionError):
        await http.post(f"{provider.url}/webhooks", json={"url": "u"}, headers=bearer(account))
    assert len(provider.webhooks_of(account)) == 1


async def test_a_hanging_call_ends_when_the_provider_stops(http: aiohttp.ClientSession) -> None:
    """Stopping never waits for a call that was told to hang."""
    async with FakeProvider() as provider:
        provider.fail("hang")
        waiting = asyncio.create_task(http.get(f"{provider.url}/api/me"))
        await provider.until(lambda: len(provider.calls) == 1)
        assert not waiting.done()
    with pytest.raises(aiohttp.ClientConnectionError):
        await waiting


async def test_a_slow_call_is_served_when_its_time_has_come(http: aiohttp.ClientSession) -> None:
    """The answer waits for the clock and is then the right one."""
    clock = FakeClock()
    async with FakeProvider(clock=clock) as provider:
        account = provider.add_account("org-a")
        provider.fail("slow", delay_s=30)
        waiting = asyncio.create_task(http.get(f"{provider.url}/api/me", headers=bearer(account)))
        await clock.wait_for_sleepers()
        assert not waiting.done()
        clock.move(30)
        async with await waiting as answer:
            assert answer.status == 200


async def test_wrong_answers_look_like_the_real_ones(
    provider: FakeProvider, http: aiohttp.ClientSession
) -> None:
    """A web page, an error inside a 200, and a body of the size that was asked for."""
    provider.fail("html")
    provider.fail("error_body", body={"error": "quota"})
    provider.fail("large", size_bytes=3_000_000)
    async with http.get(f"{provider.url}/api/me") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/html"
    async with http.get(f"{provider.url}/api/me") as answer:
        assert (answer.status, await answer.json()) == (200, {"error": "quota"})
    async with http.get(f"{provider.url}/api/me") as answer:
        assert len(await answer.read()) > 3_000_000


def test_an_unknown_fault_is_refused() -> None:
    """A misspelt kind says which ones there are."""
    with pytest.raises(ValueError, match="kind is one of status, hang, close"):
        Fault("explode")  # type: ignore[arg-type]


# --- control from outside -------------------------------------------------------------------


async def test_another_process_can_switch_faults_and_read_the_record(
    provider: FakeProvider, http: aiohttp.ClientSession
) -> None:
    """Accounts, faults, calls and webhooks are all within reach under /__control__/."""
    control = f"{provider.url}/__control__"
    async with http.post(f"{control}/accounts", json={"name": "org-c"}) as answer:
        account = await answer.json()
    fault = {"kind": "status", "status": 403, "path": "/webhooks", "times": 1}
    async with http.post(f"{control}/faults", json=fault) as answer:
        assert answer.status == 201
    headers = {"Authorization": f"Bearer {account['access_token']}"}
    statuses = []
    for _ in range(2):
        async with http.post(
            f"{provider.url}/webhooks", json={"url": "u"}, headers=headers
        ) as answer:
            statuses.append(answer.status)
    assert statuses == [403, 201]
    async with http.get(f"{control}/calls") as answer:
        calls = (await answer.json())["calls"]
    assert [(call["path"], call["status"]) for call in calls] == [
        ("/webhooks", 403),
        ("/webhooks", 201),
    ]
    async with http.get(f"{control}/webhooks") as answer:
        assert [one["account"] for one in (await answer.json())["webhooks"]] == ["org-c"]
    async with http.post(f"{control}/accounts/org-c/expire") as answer:
        assert answer.status == 204
    async with http.get(f"{provider.url}/api/me", headers=headers) as answer:
        assert answer.status == 401


@pytest.mark.parametrize(
    "body", [{"kind": "explode"}, {"kind": "status", "colour": "red"}, {"status": 500}]
)
async def test_a_fault_that_makes_no_sense_is_refused(
    provider: FakeProvider, http: aiohttp.ClientSession, body: dict[str, Any]
) -> None:
    """The control endpoint says what is wrong instead of ignoring it."""
    async with http.post(f"{provider.url}/__control__/faults", json=body) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]


async def test_it_runs_as_a_process_of_its_own(http: aiohttp.ClientSession) -> None:
    """The first line on its output is JSON that says where it is and who has an account."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "carrick.testing.fake_provider", "--account", "org-x"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        facts = json.loads(await asyncio.wait_for(process.stdout.readline(), timeout=20))
        account = facts["accounts"][0]
        assert account["api_key"] == "org-x-key"
        headers = {"X-Api-Key": account["api_key"]}
        async with http.get(f"{facts['url']}/api/me", headers=headers) as answer:
            assert (await answer.json())["organization_id"] == account["organization_id"]
    finally:
        process.terminate()
        code = await process.wait()
    assert code == 0
