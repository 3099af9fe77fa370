"""Integrations and connect sessions behave the same on both databases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from carrick.environments import (
    ConnectSessions,
    Environments,
    IntegrationChanges,
    Integrations,
    NewIntegration,
    NewSession,
)
from carrick.errors import (
    CiphertextInvalid,
    InvalidBody,
    InvalidSessionTokenFormat,
    NotFound,
    UnknownSessionToken,
)
from carrick.model.auth import AuthMode
from carrick.model.connection import EndUser
from carrick.model.environment import Environment
from carrick.model.provider import FieldSpec, Provider
from carrick.store.tables import connect_sessions, connections
from carrick.store.tables import integrations as table
from carrick.store.unit import Store, Tx
from carrick.testing.clock import FakeChance, FakeClock
from carrick.vault import Vault

VAULT = Vault({"k": bytes(32)}, "k")
APP = {"type": "OAUTH2", "client_id": "cid", "client_secret": "hush-hush"}


class Catalogue:
    """Three providers, one of each kind that matters here."""

    def __init__(self) -> None:
        self._providers = {
            one.name: one
            for one in (
                Provider("github", "GitHub", AuthMode.OAUTH2, {"default_scopes": ["repo", "user"]}),
                Provider("acme", "Acme", AuthMode.API_KEY, {}),
                Provider(
                    "cloud",
                    "Cloud",
                    AuthMode.API_KEY,
                    {"integration_config": {"region": {}}},
                    integration_config={"region": FieldSpec("region", enum=("eu", "us"))},
                ),
            )
        }

    def find(self, name: str) -> Provider | None:
        """Return a provider by name."""
        return self._providers.get(name)


@pytest.fixture
async def dev(store: Store, clock: FakeClock) -> Environment:
    """An environment to work in."""
    rooms = Environments(store, VAULT, clock, FakeChance(1))
    return (await rooms.create("dev")).environment


@pytest.fixture
def integrations(store: Store, chance: FakeChance) -> Integrations:
    """The room under test."""
    return Integrations(store, VAULT, Catalogue(), chance)


@pytest.fixture
def sessions(store: Store, clock: FakeClock, chance: FakeChance) -> ConnectSessions:
    """Connect sessions."""
    return ConnectSessions(store, clock, chance)


def _issues(error: InvalidBody) -> list[tuple[str, list[str]]]:
    return [(issue["message"], issue["path"]) for issue in error.issues or ()]


async def _connect(store: Store, integration_row_id: int, state: str = "active") -> None:
    async def unit(tx: Tx) -> None:
        owner = await tx.row(select(table).where(table.c.id == integration_row_id))
        assert owner is not None
        await tx.execute(
            insert(connections).values(
                environment_id=owner.environment_id,
                integration_row_id=owner.id,
                integration_id=owner.integration_id,
                provider=owner.provider,
                connection_id="c1",
                state=state,
                generation=1,
                credential_set="x",
                auth_mode="OAUTH2",
                connection_config={},
                tags={},
                setup="done",
                created_at=tx.now,
                updated_at=tx.now,
            )
        )

    await store.write(unit)


# --- integrations ---------------------------------------------------------------------------


async def test_an_integration_is_found_as_it_was_made(
    integrations: Integrations, dev: Environment
) -> None:
    """Everything given comes back, by id and by row, and its secrets are in no repr."""
    made = await integrations.create(
        dev.row_id,
        NewIntegration(
            "gh",
            "github",
            display_name="Hub",
            credentials={**APP, "scopes": "gist", "webhook_secret": None},
            custom={"a": "b"},
            forward_webhooks=False,
            override_hosts=["ghe.example"],
            on_refused_reconnect="keep",
        ),
    )

    assert made.credentials == {**APP, "scopes": "gist"}
    assert (made.custom, made.display_name, made.forward_webhooks) == ({"a": "b"}, "Hub", False)
    assert (made.override_hosts, made.on_refused_reconnect) == (("ghe.example",), "keep")
    assert await integrations.get(dev.row_id, "gh") == made
    assert await integrations.by_row(made.row_id) == made
    assert await integrations.get(dev.row_id, "GH") is None
    assert await integrations.by_row(made.row_id + 1) is None
    assert "hush-hush" not in repr(made)


async def test_secrets_of_an_integration_are_sealed_to_it(
    store: Store, integrations: Integrations, dev: Environment
) -> None:
    """Credentials lie encrypted, and copied to another integration they do not open."""
    one = await integrations.create(dev.row_id, NewIntegration("one", "github", credentials=APP))
    two = await integrations.create(dev.row_id, NewIntegration("two", "github", credentials=APP))

    async def copy(tx: Tx) -> None:
        sealed = await tx.scalar(select(table.c.credentials).where(table.c.id == one.row_id))
        assert b"hush-hush" not in sealed
        await tx.execute(update(table).where(table.c.id == two.row_id).values(credentials=sealed))

    await store.write(copy)
    with pytest.raises(CiphertextInvalid):
        await integrations.get(dev.row_id, "two")


async def test_default_scopes_stand_in_when_none_are_given(
    integrations: Integrations, dev: Environment
) -> None:
    """The provider's default scopes are stored, separated by commas."""
    none = await integrations.create(dev.row_id, NewIntegration("a", "github", credentials=APP))
    empty = await integrations.create(
        dev.row_id, NewIntegration("b", "github", credentials={**APP, "scopes": ""})
    )

    assert none.credentials is not None
    assert empty.credentials is not None
    assert none.credentials["scopes"] == empty.credentials["scopes"] == "repo,user"


@pytest.mark.parametrize(
    ("new", "message", "issues"),
    [
        (
            NewIntegration("x", "nope"),
            "Invalid provider",
            [("Invalid provider", ["provider"])],
        ),
        (
            NewIntegration("taken", "acme"),
            "Unique key already exists",
            [("Unique key already exists", ["uniqueKey"])],
        ),
        (
            NewIntegration("x", "github", credentials={**APP, "type": "OAUTH1"}),
            "incompatible credentials auth type and provider auth",
            [],
        ),
        (
            NewIntegration("x", "acme", credentials=APP),
            "incompatible credentials auth type and provider auth",
            [],
        ),
        (NewIntegration("x", "github"), "Missing credentials", []),
        (
            NewIntegration("x", "cloud", integration_config={"region": "eu"}, custom={"a": "b"}),
            "Cloud takes integration_config instead of custom",
            [],
        ),
        (
            NewIntegration("x", "cloud", integration_config={"region": "mars"}),
            "region must be one of: eu, us",
            [("region must be one of: eu, us", ["integration_config", "region"])],
        ),
    ],
)
async def test_what_does_not_fit_the_provider_is_refused(
    integrations: Integrations,
    dev: Environment,
    new: NewIntegration,
    message: str,
    issues: list[tuple[str, list[str]]],
) -> None:
    """Each fault has the contract's message and path, and nothing is stored."""
    await integrations.create(dev.row_id, NewIntegration("taken", "acme"))

    with pytest.raises(InvalidBody) as caught:
        await integrations.create(dev.row_id, new)

    assert caught.value.message == message
    assert _issues(caught.value) == issues
    assert await integrations.get(dev.row_id, "x") is None


async def test_ids_are_unique_within_an_environment_only(
    store: Store, integrations: Integrations, dev: Environment, clock: FakeClock
) -> None:
    """Another environment may have an integration of the same id."""
    other = await Environments(store, VAULT, clock, FakeChance(2)).create("other")
    await integrations.create(dev.row_id, NewIntegration("same", "acme"))
    await integrations.create(other.environment.row_id, NewIntegration("same", "acme"))

    assert len(await integrations.list(dev.row_id)) == 1


async def test_integrations_are_listed_by_provider_then_age(
    integrations: Integrations, dev: Environment, clock: FakeClock
) -> None:
    """The list is ordered by provider, then by when each was made."""
    for name, provider in (("z", "github"), ("y", "github"), ("x", "acme")):
        given = APP if provider == "github" else None
        await integrations.create(dev.row_id, NewIntegration(name, provider, credentials=given))
        clock.move(1)

    listed = await integrations.list(dev.row_id)

    assert [one.integration_id for one in listed] == ["x", "z", "y"]


async def test_one_that_is_being_deleted_is_found_by_row_only(
    store: Store, integrations: Integrations, dev: Environment
) -> None:
    """Cleanup still finds it; everybody else does not, and its id is free again."""
    made = await integrations.create(dev.row_id, NewIntegration("a", "acme"))

    async def delete(tx: Tx) -> None:
        await tx.execute(update(table).where(table.c.id == made.row_id).values(state="deleting"))

    await store.write(delete)

    assert await integrations.get(dev.row_id, "a") is None
    assert await integrations.list(dev.row_id) == []
    found = await integrations.by_row(made.row_id)
    assert found is not None
    assert found.state == "deleting"
    assert (await integrations.create(dev.row_id, NewIntegration("a", "acme"))).row_id != (
        made.row_id
    )


async def test_a_change_keeps_what_it_does_not_mention(
    integrations: Integrations, dev: Environment, clock: FakeClock
) -> None:
    """Only what is given changes, single credentials included."""
    before = await integrations.create(
        dev.row_id,
        NewIntegration(
            "gh",
            "github",
            display_name="Hub",
            credentials={**APP, "webhook_secret": "ws"},
            override_hosts=["h"],
        ),
    )
    clock.move(10)

    after = await integrations.update(
        dev.row_id,
        "gh",
        IntegrationChanges(
            credentials={"type": "OAUTH2", "client_secret": "new"}, on_refused_reconnect="keep"
        ),
    )

    assert before.credentials is not None
    assert after.credentials == {**before.credentials, "client_secret": "new"}
    assert (after.display_name, after.override_hosts) == ("Hub", ("h",))
    assert after.on_refused_reconnect == "keep"
    assert before.updated_at is not None
    assert after.updated_at is not None
    assert (after.updated_at - before.updated_at).seconds == 10
    assert await integrations.get(dev.row_id, "gh") == after


async def test_an_empty_webhook_secret_is_taken_away(
    integrations: Integrations, dev: Environment
) -> None:
    """An empty text clears the webhook secret and nothing else."""
    given = {**APP, "webhook_secret": "ws"}
    await integrations.create(dev.row_id, NewIntegration("gh", "github", credentials=given))

    after = await integrations.update(
        dev.row_id,
        "gh",
        IntegrationChanges(credentials={"type": "OAUTH2", "webhook_secret": ""}),
    )

    assert after.credentials == {**APP, "scopes": "repo,user"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"integration_id": "taken"}, "Unique key already exists"),
        ({"credentials": APP}, "incompatible credentials auth type and provider auth"),
        ({"integration_config": {"region": "mars"}}, "region must be one of: eu, us"),
        ({"custom": {"a": "b"}}, "Cloud takes integration_config instead of custom"),
    ],
)
async def test_a_change_that_does_not_fit_changes_nothing(
    integrations: Integrations, dev: Environment, changes: Mapping[str, Any], message: str
) -> None:
    """A refused change leaves the integration as it was."""
    await integrations.create(dev.row_id, NewIntegration("taken", "acme"))
    made = await integrations.create(
        dev.row_id, NewIntegration("c", "cloud", integration_config={"region": "eu"})
    )

    with pytest.raises(InvalidBody) as caught:
        await integrations.update(dev.row_id, "c", IntegrationChanges(**changes))

    assert caught.value.message == message
    assert await integrations.get(dev.row_id, "c") == made


@pytest.mark.parametrize(("state", "may"), [("active", False), ("deleting", False), ("gone", True)])
async def test_an_integration_in_use_keeps_its_id(
    store: Store, integrations: Integrations, dev: Environment, state: str, may: bool
) -> None:
    """It can be renamed once no connection, not even one being cleaned up, needs the old id."""
    made = await integrations.create(dev.row_id, NewIntegration("old", "acme"))
    await _connect(store, made.row_id, state)
    changes = IntegrationChanges(integration_id="new", display_name="New")

    if may:
        renamed = await integrations.update(dev.row_id, "old", changes)
        assert (renamed.row_id, renamed.integration_id) == (made.row_id, "new")
    else:
        with pytest.raises(InvalidBody, match="Cannot rename"):
            await integrations.update(dev.row_id, "old", changes)
    same = IntegrationChanges(integration_id="new" if may else "old", display_name="X")
    assert (
        await integrations.update(dev.row_id, "new" if may else "old", same)
    ).display_name == "X"


async def test_an_unknown_integration_cannot_be_changed(
    integrations: Integrations, dev: Environment
) -> None:
    """Changing what is not there is an error of its own."""
    with pytest.raises(NotFound, match='"nope"'):
        await integrations.update(dev.row_id, "nope", IntegrationChanges())


# --- connect sessions -----------------------------------------------------------------------


async def test_a_session_is_found_by_its_token_until_it_expires(
    sessions: ConnectSessions, integrations: Integrations, dev: Environment, clock: FakeClock
) -> None:
    """A session comes back as it was made for thirty minutes."""
    await integrations.create(dev.row_id, NewIntegration("a", "acme"))
    end_user = EndUser("u1", email="a@b.co", tags={"t": "1"}, organization_id="o")
    made, token = await sessions.create(
        dev.row_id,
        NewSession(
            end_user=end_user,
            allowed_integrations=["a"],
            integrations_config_defaults={"a": {"connection_config": {"x": "y"}}},
            overrides={"a": {"docs_connect": "https://d"}},
            tags={"end_user_id": "u1"},
            webhook_url_override="https://o",
            operation_id="op",
        ),
    )

    assert token.startswith("nango_connect_session_")
    assert len(token) == len("nango_connect_session_") + 64
    assert made.end_user == end_user
    assert made.allowed_integrations == ("a",)
    assert (made.expires_at - clock.now()).seconds == 1800
    clock.move(1799)
    assert await sessions.by_token(token) == made
    clock.move(1)
    with pytest.raises(UnknownSessionToken):
        await sessions.by_token(token)


async def test_no_allowed_integrations_means_all(
    sessions: ConnectSessions, dev: Environment
) -> None:
    """An empty list restricts nothing, like none at all."""
    empty, _ = await sessions.create(dev.row_id, NewSession(allowed_integrations=[]))
    none, _ = await sessions.create(dev.row_id, NewSession())

    assert empty.allowed_integrations is None
    assert none.allowed_integrations is None
    assert none.end_user is None


async def test_a_session_names_existing_integrations_only(
    sessions: ConnectSessions, integrations: Integrations, dev: Environment
) -> None:
    """Every unknown integration is reported where it stands."""
    await integrations.create(dev.row_id, NewIntegration("a", "acme"))

    with pytest.raises(InvalidBody) as caught:
        await sessions.create(
            dev.row_id,
            NewSession(
                allowed_integrations=["a", "b"],
                integrations_config_defaults={"c": {}, "a": {}},
                overrides={"d": {}},
            ),
        )

    message = "Integration does not exist"
    assert _issues(caught.value) == [
        (message, ["allowed_integrations", "1"]),
        (message, ["integrations_config_defaults", "c"]),
        (message, ["overrides", "d"]),
    ]


async def test_the_token_is_not_stored(
    store: Store, sessions: ConnectSessions, dev: Environment
) -> None:
    """The store has the hash of a token and nothing it could be made from."""
    _, token = await sessions.create(dev.row_id, NewSession())

    async def unit(tx: Tx) -> str:
        return str(await tx.row(select(connect_sessions)))

    assert token.removeprefix("nango_connect_session_") not in await store.read(unit)


async def test_tokens_of_another_shape_are_told_apart(sessions: ConnectSessions) -> None:
    """What is no session token is refused as such; a token nobody has is unknown."""
    for text in ("", "0b8f6f0e-5e0e-4c0b-9d3e-1a2b3c4d5e6f", "nango_connect_session_12"):
        with pytest.raises(InvalidSessionTokenFormat):
            await sessions.by_token(text)
    with pytest.raises(UnknownSessionToken):
        await sessions.by_token("nango_connect_session_" + "0" * 64)


async def test_a_deleted_session_opens_nothing(sessions: ConnectSessions, dev: Environment) -> None:
    """Deleting ends a session at once, and may be repeated."""
    made, token = await sessions.create(dev.row_id, NewSession())

    await sessions.delete(made)
    await sessions.delete(made)

    with pytest.raises(UnknownSessionToken):
        await sessions.by_token(token)


async def test_expired_sessions_are_deleted_after_a_month(
    sessions: ConnectSessions, dev: Environment, clock: FakeClock
) -> None:
    """Sessions stay for 31 days after they expired."""
    await sessions.create(dev.row_id, NewSession())
    clock.move(31 * 86400 + 1800)
    assert await sessions.delete_expired() == 0
    clock.move(1)
    assert await sessions.delete_expired() == 1
