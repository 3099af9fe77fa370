"""Secrets stay where they belong (DESIGN.md §6): planted everywhere, looked for in every byte.

Functions that print, log and raise what they were given, providers that quote what they were sent,
and callers that put secrets in wrong places: the server may tell none of it to anybody, except
through the few answers whose purpose it is.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from tests.integration.server import IDLE, Answer, ServerProcess, deployment, served
from tests.lifecycle.modes import CASES, providers_file

from carrick.testing.fake_provider import Account, FakeProvider

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLIENT_SECRET = "planted-client-secret-7c1f0d5e"
VARIABLE = "planted-variable-55e0c9aa"
HMAC_KEY = "planted-hmac-key-1b7d2f60"

#: Tells its secrets in every way there is, then ends as the connection's name asks.
INDISCRETION = """
import base64
import os
import sys


async def tell(ctx: EventContext) -> None:
    token = (await ctx.get_token())["apiKey"]
    whole = await ctx.get_connection()
    variables = await ctx.get_environment_variables()
    print("printed", token, variables)
    print("printed to stderr", whole["credentials"], file=sys.stderr)
    sys.stdout.write("in two parts: " + token[:9])
    sys.stdout.write(token[9:] + "\\n")
    await ctx.log("logged " + token, level="warning", token=token, whole=whole, deep=[[token]])
    await ctx.log("Basic " + base64.b64encode(("x:" + token + ":y").encode()).decode())
    await ctx.save_checkpoint({"token": token, "variables": variables})
    await ctx.post("/api/echo?key=" + token, data={"token": token}, headers={"X-Told": token})
    name = ctx.connection_id
    secrets = token + " and " + variables["PLANTED"]
    if name.endswith("action"):
        raise ActionError({"message": "no: " + secrets, "payload": [secrets]})
    if name.endswith("defect"):
        try:
            raise KeyError(secrets)
        except KeyError as error:
            raise RuntimeError("broken: " + secrets) from error
    if name.endswith("provider"):
        await ctx.get("/api/me")
    if name.endswith("exit"):
        os.write(2, secrets.encode())
        os._exit(3)
    if name.endswith("repr"):
        raise ValueError(repr(whole), variables)
"""
FUNCTION = """
@create_on_event(
    event="{event}", description="Tells", credentials=True, variables=["PLANTED"], {more}
)
async def function(ctx: EventContext) -> None:
    await tell(ctx)
"""
#: Tells whatever credentials it is given, line by line too, and refuses with them.
TELLS_ALL = """
@create_on_event(event="validate-connection", description="Tells all", credentials=True, timeout=5)
async def function(ctx: EventContext) -> None:
    whole = await ctx.get_connection()
    print("printed", whole["credentials"])
    told = []
    for value in whole["credentials"].values():
        print(value)
        await ctx.log(f"logged {value}", value=value)
        told.append(str(value))
    if not ctx.connection_id.endswith("calm"):
        raise ActionError({"message": " ".join(told)[:2000]})
"""
#: Ways to end, each the last word of a connection's name.
WAYS = ("action", "defect", "provider", "exit", "repr")


def function(event: str, more: str = "attempts=1") -> str:
    return INDISCRETION + FUNCTION.format(event=event, more=more)


class Life:
    """A server that everything was tried on, and every secret that was in play."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.provider = server.provider
        self.secrets: dict[str, str] = {
            "encryption key": server.encryption_key,
            "API key of the environment": server.secret_key,
            "client secret": CLIENT_SECRET,
            "environment variable": VARIABLE,
            "hmac key": HMAC_KEY,
        }
        #: Answers whose purpose is to hand out a secret.
        self.meant: list[Answer] = []
        #: What lay in the data directory while the server was running.
        self.files: dict[str, bytes] = {}

    def account(self, name: str) -> Account:
        """Open an account whose secrets are looked for."""
        return self.known(self.provider.add_account(name))

    def known(self, account: Account) -> Account:
        """Look for an account's present secrets, too."""
        for kind in ("api_key", "access_token", "refresh_token", "password"):
            secret = getattr(account, kind)
            self.secrets[f"{kind} of {account.name}: {secret[:12]}"] = secret
        return account

    def mean(self, answer: Answer) -> Answer:
        """Say that an answer is there to hand out a secret."""
        self.meant.append(answer)
        return answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def life(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Life]:
    """A whole life, with everything going wrong that could give a secret away."""
    directory = tmp_path_factory.mktemp("secrets")
    async with (
        FakeProvider(client_secret=CLIENT_SECRET) as provider,
        served(
            directory,
            provider,
            log_level="debug",
            providers_file=str(providers_file(directory / "providers.yaml", provider.url)),
        ) as server,
    ):
        lived = Life(server)
        variables = {"variables": {"PLANTED": VARIABLE}}
        await server.call("POST", "/environment-variables", variables)
        await server.call("PATCH", "/environment/settings", {"hmac_key": HMAC_KEY})
        await refuse_and_break(lived)
        await set_up_and_clean_up(lived)
        await dry_run(lived)
        await refresh_and_quote(lived)
        await connect_from_a_browser(lived)
        await connect_by_forms(lived)
        await ask_wrongly(lived)
        await look_at_everything(lived)
        lived.files = contents(server.data_dir)
        await server.terminate()
        yield lived


async def refuse_and_break(lived: Life) -> None:
    """Validations that tell, on creation and on reconnect."""
    server, good = lived.server, lived.account("good")
    await deploy(server, {"check": function("validate-connection", "timeout=5")})
    for way in ("action", "defect", "provider", "repr"):  # a lost process would be tried for 45 s
        lived.provider.fail("status", path="/api/me", status=403, body=quoted(good), times=1)
        answer = await server.connect(good, f"validate-{way}")
        assert answer.status == 400, answer.text
    await server.connect(good, "calm")
    lived.provider.recover()
    for way in ("action", "defect"):
        await deploy(server, IDLE)
        await server.connect(good, f"reconnect-{way}")
        await deploy(server, {"check": function("validate-connection", "timeout=5")})
        answer = await server.connect(lived.account(f"again-{way}"), f"reconnect-{way}")
        assert answer.status == 400, answer.text


async def set_up_and_clean_up(lived: Life) -> None:
    """Setups and cleanups that tell and then fail for good."""
    server = lived.server
    await deploy(
        server,
        {
            "setup": function("post-connection-creation", 'attempts=1, on_unknown="park"'),
            "clean-up": function("pre-connection-deletion"),
        },
    )
    for way in WAYS:
        account, name = lived.account(f"of-{way}"), f"life-{way}"
        lived.provider.fail("status", path="/api/me", status=500, body=quoted(account), times=2)
        assert (await server.connect(account, name)).status == 201
        found = await server.until(
            lambda name=name: get(lived, name),  # type: ignore[misc]
            lambda answer: answer.json["setup"] != "pending",
        )
        assert found.json["setup"] == "failed", found.text
        assert (await server.delete(name)).json["success"]
        lived.provider.recover()
    assert {one["state"] for one in await server.cleanups()} == {"parked"}


async def dry_run(lived: Life) -> None:
    """Dry runs answer with everything a function said."""
    server, account = lived.server, lived.account("dry")
    for way in ("action", "defect", "calm"):
        await deploy(server, IDLE)
        assert (await server.connect(account, f"dry-{way}")).status == 201
        await deploy(server, {"setup": function("post-connection-creation")})
        body = {"function": "setup", "connection_id": f"dry-{way}"}
        assert (await server.call("POST", "/dryruns", body)).status == 200
        assert (await server.call("POST", "/dryruns", {**body, "live": True})).status == 200


async def refresh_and_quote(lived: Life) -> None:
    """Token endpoints that quote what they were sent, with a status or with 200."""
    server, provider = lived.server, lived.provider
    await server.integrate(
        "oauth",
        provider="oauth2",
        credentials={
            "type": "OAUTH2",
            "client_id": provider.client_id,
            "client_secret": CLIENT_SECRET,
        },
        integration_config={
            "token_url": f"{provider.url}/oauth/token",
            "base_url": provider.url,
        },
    )
    for number, kind in enumerate(("status", "error_body", "html", "large", "close")):
        account, name = lived.account(f"oauth-{kind}"), f"oauth-{kind}"
        tokens = {"access_token": account.access_token, "refresh_token": account.refresh_token}
        body = {
            "provider_config_key": "oauth",
            "connection_id": name,
            "credentials": {"type": "OAUTH2", **tokens, "expires_at": "2020-01-01T00:00:00Z"},
        }
        assert (await server.call("POST", "/connections", body)).status == 201
        said = {
            "error": f"{account.refresh_token} of {provider.client_id}",
            "error_description": f"You sent {quote(account.refresh_token)} with {CLIENT_SECRET}",
        }
        provider.fail(kind, path="/oauth/token", status=400 + number, body=said)  # type: ignore[arg-type]
        path = f"/connections/{name}?provider_config_key=oauth"
        assert (await server.call("GET", path)).status in (400, 424)
        headers = {"Provider-Config-Key": "oauth", "Connection-Id": name}
        await server.call("GET", "/proxy/api/me", headers=headers)
        provider.recover()
        forced = await server.call("GET", f"{path}&force_refresh=true")
        assert lived.mean(forced).status == 200, forced.text
        lived.known(account)
        assert (await server.call("GET", "/proxy/api/me", headers=headers)).status == 200


async def connect_from_a_browser(lived: Life) -> None:
    """A session token travels in addresses; addresses are what servers like to log."""
    server, account = lived.server, lived.account("browser")
    await deploy(server, {"check": function("validate-connection", "timeout=5")})
    made = lived.mean(await server.call("POST", "/connect/sessions", {"end_user": {"id": "u"}}))
    token = made.json["data"]["token"]
    lived.secrets["session token"] = token
    query = f"connect_session_token={token}&params[base_url]={quote(lived.provider.url, safe='')}"
    for path, body in (
        ("/api-auth/api-key/acme", {"apiKey": account.api_key}),
        ("/api-auth/api-key/nope", {"apiKey": account.api_key}),
        ("/api-auth/basic/acme", {"username": "u", "password": account.password}),
        ("/api-auth/api-key/acme", {"apiKey": account.api_key, "unknown": account.api_key}),
    ):
        await server.call("POST", f"{path}?{query}", body, signed=False)
    await server.call("GET", f"/connect/session?{query}", signed=False)


async def connect_by_forms(lived: Life) -> None:
    """Every mode that makes its credentials of a form, with a function that tells them all."""
    server, provider = lived.server, lived.provider
    cases = [case for case in CASES if case.form is not None and case.fields]
    for case in cases:
        given = dict(case.integration(provider, server.url))
        if credentials := given.pop("credentials", None):
            given["credentials"] = {"type": case.auth_mode.value, **credentials}
        await server.integrate(case.key, provider=case.key, **given)
    await deploy_for(server, [case.key for case in cases], TELLS_ALL)
    stage: Any = lived  # what a row asks of its stage is the provider
    for case in cases:
        assert case.form is not None
        account = lived.account(f"form-{case.key}")
        form = dict(case.form(stage, account))
        for name, text in form.items():
            if name in ("privateKey", "client_private_key", "token_secret"):
                lived.secrets[f"{name} of {account.name}"] = max(text.splitlines(), key=len)
        session = await server.call("POST", "/connect/sessions", {"end_user": {"id": "u"}})
        token = lived.mean(session).json["data"]["token"]
        lived.secrets[f"session token of {account.name}"] = token
        params = "".join(f"&params[{name}]={text}" for name, text in case.config(account).items())
        target = f"{case.path}/{case.key}?connect_session_token={token}{params}"
        answer = await server.call("POST", target, form, signed=False)
        assert (answer.status, answer.json["error"]["code"]) == (
            400,
            "connection_validation_failed",
        ), answer.text
        lived.known(account)
        for kind in ("status", "html"):
            path = "/sts" if "aws" in case.key else "/two-step/*"
            provider.fail(kind, path=path, status=401, body=quoted(account))  # type: ignore[arg-type]
            await server.call("POST", target, form, signed=False)
            provider.recover()
        if case.path in ("/auth/jwt", "/auth/two-step"):
            wrong = {**form, "unknown": account.password, "username": [account.password]}
            assert (await server.call("POST", target, wrong, signed=False)).status == 400
    lived.secrets["AWS secret"] = provider.aws_keys[1]
    for number, secret in enumerate(provider.aws_session_secrets):
        lived.secrets[f"AWS session {number}"] = secret


async def ask_wrongly(lived: Life) -> None:
    """Requests that fail, with secrets in them."""
    server, account = lived.server, lived.account("wrong")
    key = server.secret_key
    whole = server.import_body(account)
    for credentials in (
        {"type": "API_KEY", "apiKey": [account.api_key]},
        {"type": "API_KEY", "apiKey": account.api_key, "unknown": account.api_key},
        {"type": account.api_key, "apiKey": account.api_key},
        {"type": "API_KEY", "apiKey": account.api_key * 60},
        {"type": "BASIC", "username": "u", "password": account.password},
    ):
        answer = await server.call("POST", "/connections", {**whole, "credentials": credentials})
        assert answer.status == 400, answer.text
    cut = json.dumps(whole).encode()[:-2]
    await server.call(
        "POST", "/connections", data=cut, headers={"Content-Type": "application/json"}
    )
    await server.call("POST", "/connections", data=cut, headers={"Content-Type": "text/plain"})
    for header in (key, f"Basic {key}", f"Bearer {key} {key}", f"Bearer {key[:-1]}x"):
        await server.call("GET", "/connections", headers={"Authorization": header})
    await server.call("GET", f"/connections?secret_key={key}&apiKey={account.api_key}")
    config = {"type": "OAUTH2", "client_id": "c", "client_secret": [CLIENT_SECRET]}
    await server.call(
        "POST",
        "/integrations",
        {"provider": "oauth2", "unique_key": "x", "credentials": config},
    )


async def look_at_everything(lived: Life) -> None:
    """Everything that tells what happened."""
    server = lived.server
    await server.operations()
    await server.cleanups()
    for path in (
        "/connections",
        "/integrations",
        "/integrations/oauth",
        "/integrations/acme/functions",
        "/deployments",
        "/environments",
        "/metrics",
        "/health",
    ):
        await server.call("GET", path)
    lived.mean(await server.call("GET", "/environment/settings"))
    lived.mean(await server.call("GET", "/environment-variables"))
    lived.mean(await server.call("GET", "/integrations/oauth?include=credentials"))


async def deploy(server: ServerProcess, functions: Mapping[str, str]) -> None:
    answer = await server.deploy(functions)
    assert answer.status == 200, answer.text


async def deploy_for(server: ServerProcess, integrations: list[str], function: str) -> None:
    """Deploy one function for many integrations, in one project."""
    project = deployment({name: {"tell": function} for name in integrations})
    answer = await server.call("POST", "/deployments", project)
    assert answer.status == 200, answer.text


async def get(lived: Life, connection_id: str) -> Answer:
    """Ask for a connection with its credentials, which is what that answer is for."""
    return lived.mean(await lived.server.get(connection_id))


def quoted(account: Account) -> dict[str, str]:
    """Return what a talkative provider answers."""
    basic = base64.b64encode(f"{account.username}:{account.password}".encode()).decode()
    return {
        "you sent": f"Authorization: Bearer {account.api_key}",
        "or": f"Basic {basic}",
        "and": f"{account.refresh_token} {quote(account.access_token)} {CLIENT_SECRET}",
    }


def contents(data_dir: Path) -> dict[str, bytes]:
    """Return every file of a data directory except the one for keys."""
    return {
        str(path.relative_to(data_dir)): path.read_bytes()
        for path in data_dir.rglob("*")
        if path.is_file() and path.name != "keys.toml"
    }


def traces(lived: Life, content: bytes) -> list[str]:
    """Return the names of the secrets that are in some bytes, in any of the usual spellings."""
    return [
        name
        for name, secret in lived.secrets.items()
        if any(spelling in content for spelling in spellings(secret))
    ]


def spellings(secret: str) -> Iterator[bytes]:
    plain = secret.encode()
    yield plain
    yield quote(secret, safe="").encode()
    yield plain.hex().encode()
    for shift in range(3):  # base64 of a text that has the secret somewhere inside
        yield base64.b64encode(b"x" * shift + plain)[4 if shift else 0 : -4]


async def test_secrets_were_really_in_play(life: Life) -> None:
    """What the other tests look for was there: the provider received it, and functions ran."""
    sent = b"".join(str(call.to_json()).encode() for call in life.provider.calls)
    meant = b"".join(answer.text.encode() for answer in life.meant)
    names = traces(life, sent + meant)
    for expected in ("api_key of good", "api_key of dry", "access_token of oauth-status"):
        assert any(name.startswith(expected) for name in names), (expected, names)
    assert "environment variable" in names
    assert "client secret" in names
    for expected in ("password of form-of-two-step", "access_token of form-of-bill"):
        assert any(name.startswith(expected) for name in names), (expected, names)
    assert any(name.startswith("AWS session") for name in life.secrets)


async def test_no_secret_lies_readable_in_the_data_directory(life: Life) -> None:
    """Database, write-ahead log, bundles: only the key file may hold keys."""
    assert {"carrick.db", "carrick.db-wal"} <= life.files.keys()
    for files in (life.files, contents(life.server.data_dir)):
        found = {path: traces(life, content) for path, content in files.items()}
        assert {path: names for path, names in found.items() if names} == {}


async def test_no_secret_is_logged(life: Life) -> None:
    """Not even at level debug."""
    log = life.server.log
    assert b'"event"' in log
    lines = [line for line in log.splitlines() if traces(life, line)]
    assert lines == []


async def test_no_secret_is_in_an_answer_that_is_not_for_secrets(life: Life) -> None:
    """Errors, operations, cleanups and dry runs quote functions and providers without them."""
    told = [
        (request.partition("?")[0], traces(life, answer.text.encode()), answer.text[:2000])
        for request, answer in life.server.answers
        if answer not in life.meant
        and not request.startswith("GET /proxy/")  # the provider's own words
        and (request, answer.status) != ("POST /connections", 201)  # shows what was imported
    ]
    assert [one for one in told if one[1]] == []


async def test_no_secret_is_in_a_notification(life: Life) -> None:
    """The app is told what went wrong in words that hold no secret."""
    assert any(news.json()["type"] == "lifecycle" for news in life.provider.notifications)
    told = [news.body.decode() for news in life.provider.notifications if traces(life, news.body)]
    assert told == []


async def test_what_a_function_says_is_still_told(life: Life) -> None:
    """Secrets are taken out of log lines; the lines stay."""
    operations = [
        answer.json["data"]
        for request, answer in life.server.answers
        if request.startswith("GET /operations/")
    ]
    lines = {line["message"] for one in operations for line in one["messages"]}
    for expected in ("logged [secret]", "in two parts: [secret]", "printed [secret] "):
        assert any(line.startswith(expected) for line in lines), (expected, sorted(lines)[:40])
