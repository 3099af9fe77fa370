"""Every auth mode through the one journey: creation, reconnect, refusals, import, refresh, calls.

The rows are in `tests/lifecycle/modes.py`; what happens to them is the same for all (DESIGN §2.2).
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.api.asking import Asking
from tests.lifecycle.mode_stage import ModeCase, Stage
from tests.lifecycle.modes import CASES, furnish, providers_file

from carrick.app import running
from carrick.errors import CredentialsExhausted
from carrick.lifecycle.rooms import Timing
from carrick.model.connection import ConnectionState, EndUser, ErrorCause
from carrick.settings import Settings
from carrick.testing.fake_provider import Account, FakeProvider

pytestmark = pytest.mark.asyncio(loop_scope="module")
SECRET_KEY = "3c2f8a56-0f3e-4c55-9d0e-2b1f6a7c8d90"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One server and one provider for all rows; each test opens accounts of its own."""
    folder = tmp_path_factory.mktemp("modes")
    async with FakeProvider() as provider:
        settings = Settings(
            data_dir=folder / "data",
            egress_allow=("127.0.0.0/8",),
            providers_file=providers_file(folder / "providers.yaml", provider.url),
            secret_keys={"dev": SECRET_KEY},
            public_url="https://carrick.example",
        )
        async with running(settings, timing=Timing(stop_s=0.5), migrate_first=True) as app:
            environment = await app.rooms.environments.by_name("dev")
            assert environment is not None
            stage = Stage(app, Asking(app.api, SECRET_KEY), environment, provider)
            await furnish(stage)
            yield stage


@pytest.fixture(params=CASES, ids=lambda case: case.key)
def case(request: pytest.FixtureRequest) -> ModeCase:
    """Each row in turn."""
    found: ModeCase = request.param
    return found


@pytest.fixture
def account(stage: Stage) -> Account:
    """An account at the provider that no other test knows."""
    return new_account(stage)


def new_account(stage: Stage) -> Account:
    return stage.provider.add_account(f"org-{stage.provider.account_count}")


async def test_creation(stage: Stage, case: ModeCase, account: Account) -> None:
    """The browser's way makes a connection whose calls the provider accepts as this account's."""
    made = await stage.connected(case, account)
    assert (made.state, made.account_id) == (ConnectionState.ACTIVE, account.organization_id)
    assert made.tags == {"end_user_id": "u1", "team": "x"}
    assert made.end_user == EndUser("u1")
    assert await stage.whose(case, made.connection_id) == account.organization_id
    shown = (await stage.read(case, made.connection_id)).json["credentials"]
    expected = case.fields | {"type"} if case.fields else frozenset()
    assert set(shown) == expected


async def test_an_accepted_reconnect(stage: Stage, case: ModeCase, account: Account) -> None:
    """The same account again: same connection, next generation; what it does not bring stays."""
    made = await stage.connected(case, account)
    told = {"connection_id": made.connection_id, "provider_config_key": case.key}
    await stage.ask("POST", "/connections/metadata", {**told, "metadata": {"plan": "pro"}})
    arrived = await stage.connect(case, account, made.connection_id)
    assert arrived.connection_id == made.connection_id, arrived
    again = await stage.find(case, made.connection_id)
    assert (again.row_id, again.generation) == (made.row_id, made.generation + 1)
    assert again.metadata == {"plan": "pro"}
    assert (again.tags, again.end_user) == (made.tags, made.end_user)
    assert await stage.whose(case, made.connection_id) == account.organization_id


async def test_a_reconnect_that_a_function_refuses(
    stage: Stage, case: ModeCase, account: Account
) -> None:
    """Another account cannot win: the connection is marked, and keeps its own credentials."""
    made = await stage.connected(case, account)
    before = await stage.app.rooms.fresh.stored(made.row_id)
    arrived = await stage.connect(case, new_account(stage), made.connection_id)
    assert arrived.code == "connection_validation_failed", arrived
    marked = await stage.find(case, made.connection_id)
    assert (marked.state, marked.error_cause) == (ConnectionState.AUTH_ERROR, ErrorCause.REFUSED)
    assert await stage.app.rooms.fresh.stored(made.row_id) == before
    with pytest.raises(CredentialsExhausted):
        await stage.app.rooms.fresh.get(made.row_id, force=True)
    assert (await stage.connect(case, account, made.connection_id)).connection_id is not None
    assert await stage.whose(case, made.connection_id) == account.organization_id


async def test_a_reconnect_that_fails_verification(
    stage: Stage, case: ModeCase, account: Account
) -> None:
    """Credentials the provider's own check refuses change nothing about the connection."""
    made = await stage.connected(case, account)
    before = await stage.app.rooms.fresh.stored(made.row_id)
    stage.provider.fail("status", path=case.check(account), status=401)
    arrived = await stage.connect(case, account, made.connection_id)
    assert (arrived.code, arrived.status) == (case.untested, 400), arrived
    assert "did not accept these credentials" in arrived.message
    assert await stage.find(case, made.connection_id) == made
    assert await stage.app.rooms.fresh.stored(made.row_id) == before


async def test_import(stage: Stage, case: ModeCase, account: Account) -> None:
    """An import goes through the same checks; modes the contract does not import are refused."""
    if case.credentials is None:
        body = {
            "provider_config_key": case.key,
            "credentials": {"type": case.auth_mode.value, **dict.fromkeys(case.fields, "x")},
        }
        answer = await stage.ask("POST", "/connections", body)
        assert (answer.status, answer.code) == (400, "invalid_body")
        return
    connection_id = f"imported-{account.name}"
    answer = await stage.imported(case, account, connection_id)
    assert answer.status == 201, answer.body
    assert await stage.whose(case, connection_id) == account.organization_id
    answer = await stage.imported(case, new_account(stage), connection_id)
    assert (answer.status, answer.code) == (400, "connection_validation_failed")


async def test_refresh(stage: Stage, case: ModeCase, account: Account) -> None:
    """Asked for by force, the mode gets itself working credentials; others stay as they are."""
    made = await stage.connected(case, account)
    before = (await stage.read(case, made.connection_id)).json["credentials"]
    if case.renewed is not None:
        stage.provider.expire(account)
    answer = await stage.read(case, made.connection_id, "&force_refresh=true")
    assert answer.status == 200, answer.body
    after = answer.json["credentials"]
    if case.renewed is None:
        assert after == before
    else:
        assert after[case.renewed] != before[case.renewed]
    assert await stage.whose(case, made.connection_id) == account.organization_id


async def test_deletion(stage: Stage, case: ModeCase, account: Account) -> None:
    """Nothing is revoked by itself: the provider hears of it from a cleanup or not at all."""
    made = await stage.connected(case, account)
    before = len(stage.provider.calls)
    target = f"/connections/{made.connection_id}?provider_config_key={case.key}"
    assert (await stage.ask("DELETE", target)).json == {"success": True, "cleanup": "done"}
    assert stage.provider.calls[before:] == []
    assert (await stage.read(case, made.connection_id)).status == 404
