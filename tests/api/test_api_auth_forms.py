"""The routes of modes that are made of a form: their bodies, the order of checks, their codes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml
from tests.api.conftest import Desk, Opener
from tests.lifecycle.mode_stage import CALLBACK, entry_of
from tests.lifecycle.modes import CASES

from carrick.testing.fake_provider import FakeProvider

_ROWS = {case.key: case for case in CASES}


@pytest.fixture
async def modes(open_desk: Opener, tmp_path: Path, provider: FakeProvider) -> AsyncIterator[Desk]:
    """A server with an integration of each mode, and one of AWS that lacks its keys."""
    entries = {key: entry_of(case, provider.url) for key, case in _ROWS.items()}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(entries))
    async with open_desk(providers_file=tmp_path / "p.yaml") as desk:
        for key in ("of-jwt-ec", "of-two-step", "of-bill", "of-signature", "of-aws-sigv4"):
            await desk.add(key, key, **_ROWS[key].integration(provider, CALLBACK))
        config = dict(_ROWS["of-aws-sigv4"].integration(provider, CALLBACK)["integration_config"])
        await desk.add("no-region", "of-aws-sigv4", integration_config=without(config, "region"))
        await desk.add("no-keys", "of-aws-sigv4", integration_config=without(config, "aws"))
        yield desk


def without(config: dict[str, str], word: str) -> dict[str, str]:
    """Leave out the fields that have a word in their names."""
    blank = {name: "" for name in config if word in name}
    return {name: text for name, text in config.items() if name not in blank}


async def ask(desk: Desk, target: str, body: Any, *, token: str | None = None, **query: str) -> Any:
    query["connect_session_token"] = token or await desk.session()
    return await desk.ask("POST", f"{target}?{urlencode(query)}", body, key=None)


LOGIN = {"type": "TWO_STEP", "username": "nobody", "password": "hunter2-secret"}
BILL = {"username": "u", "password": "p", "organization_id": "o", "dev_key": "d"}
ROLE = {"role_arn": "arn:aws:iam::123456789012:role/nobody"}


@pytest.mark.parametrize(
    ("target", "body", "status", "code"),
    [
        ("/auth/jwt/of-jwt-ec", {"type": "JWT"}, 400, "invalid_body"),
        ("/auth/jwt/of-jwt-ec", [], 400, "invalid_body"),
        ("/auth/jwt/nope", {"type": "JWT"}, 404, "unknown_provider_config"),
        ("/auth/jwt/of-two-step", {"type": "JWT"}, 400, "invalid_auth_mode"),
        (
            "/auth/jwt/of-jwt-ec",
            {"type": "JWT", "privateKey": "no key", "issuer": "i"},
            400,
            "invalid_signing_key",
        ),
        ("/auth/two-step/of-two-step", LOGIN, 400, "two_step_credentials_fetch_error"),
        ("/auth/two-step/of-two-step", {**LOGIN, "more": "x"}, 400, "invalid_body"),
        ("/auth/two-step/of-two-step", {**LOGIN, "assertionOption": 1}, 400, "invalid_body"),
        ("/auth/bill/of-bill", BILL, 400, "connection_test_failed"),
        ("/auth/bill/of-bill", {**BILL, "type": "BILL"}, 400, "invalid_body"),
        ("/auth/bill/of-bill", {**BILL, "dev_key": ""}, 400, "invalid_body"),
        (
            "/auth/signature/of-signature",
            {"type": "SIGNATURE", "username": "nobody", "password": "p"},
            400,
            "connection_test_failed",
        ),
        ("/auth/signature/of-signature", {"username": "u", "password": "p"}, 400, "invalid_body"),
        ("/auth/aws-sigv4/of-aws-sigv4", ROLE, 502, "aws_sigv4_sts_request_failed"),
        ("/auth/aws-sigv4/no-region", ROLE, 400, "missing_aws_sigv4_region"),
        ("/auth/aws-sigv4/no-keys", ROLE, 400, "missing_aws_sigv4_config"),
        ("/auth/aws-sigv4/of-aws-sigv4", {**ROLE, "region": "A/b"}, 400, "invalid_body"),
        ("/auth/aws-sigv4/of-aws-sigv4", {**ROLE, "more": "x"}, 400, "invalid_body"),
        ("/auth/aws-sigv4/of-aws-sigv4", {"role_arn": ""}, 400, "invalid_body"),
    ],
)
async def test_what_is_refused(modes: Desk, target: str, body: Any, status: int, code: str) -> None:
    """Each in its documented words, without the secrets that were sent, and nothing is left."""
    answer = await ask(modes, target, body)
    assert (answer.status, answer.code) == (status, code), answer.body
    assert b"hunter2-secret" not in answer.body
    assert (await modes.ask("GET", "/connections")).json["connections"] == []


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"kind": "html"}, 400, "invalid_two_step_credentials"),
        ({"kind": "error_body"}, 400, "two_step_credentials_fetch_error"),
        ({"kind": "status", "status": 500}, 502, "provider_unavailable"),
        ({"kind": "close"}, 502, "provider_unreachable"),
    ],
)
async def test_logins_that_answer_badly(
    modes: Desk, fault: dict[str, Any], status: int, code: str
) -> None:
    """The user's fault, the provider's fault and the network's are told apart."""
    account = modes.provider.add_account("a")
    modes.provider.fail(path="/two-step/token", **fault)
    form = {"type": "TWO_STEP", "username": account.username, "password": account.password}
    answer = await ask(modes, "/auth/two-step/of-two-step", form)
    assert (answer.status, answer.code) == (status, code), answer.body


async def test_a_session_and_its_integrations_are_asked_first(modes: Desk) -> None:
    """No session, an id with a session, an integration it does not allow: nobody is called."""
    target = "/auth/bill/of-bill"
    answer = await modes.ask("POST", target, BILL, key=None)
    assert (answer.status, answer.code) == (401, "missing_public_key")
    answer = await ask(modes, target, BILL, connection_id="mine")
    assert (answer.status, answer.code) == (400, "invalid_query_params")
    token = await modes.session(allowed_integrations=["acme"])
    answer = await ask(modes, target, BILL, token=token)
    assert (answer.status, answer.code) == (400, "integration_not_allowed")
    assert modes.provider.calls == []


async def test_an_external_id_is_the_connections_for_good(modes: Desk) -> None:
    """A role that trusts the first id is assumed again with it on every reconnect."""
    account = modes.provider.add_account("a")
    form = {"role_arn": modes.provider.role_of(account), "region": "us-east-1"}
    made = await ask(modes, "/auth/aws-sigv4/of-aws-sigv4", form)
    assert made.status == 200, made.body
    connection_id = made.json["connectionId"]
    body = {"connection_id": connection_id, "integration_id": "of-aws-sigv4"}
    session = await modes.ask("POST", "/connect/sessions/reconnect", {**body, "tags": {}})
    token = session.json["data"]["token"]
    again = await ask(
        modes, "/auth/aws-sigv4/of-aws-sigv4", {**form, "region": "eu-west-1"}, token=token
    )
    assert again.json == made.json
    shown = await modes.ask("GET", f"/connections/{connection_id}?provider_config_key=of-aws-sigv4")
    assert shown.json["credentials"]["region"] == "us-east-1"
    assert shown.json["connection_config"]["external_id"]
