"""Deploying is atomic, numbered and by content, on both databases."""

from __future__ import annotations

import asyncio
import os
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text, update

from carrick.deployments import Bundle, Deployments, Scope, pack
from carrick.deployments.project import make_project
from carrick.environments import IntegrationChanges, Integrations
from carrick.errors import (
    DeploymentRejected,
    InvalidBody,
    NotFound,
    ProjectInvalid,
    RemovalNotConfirmed,
    UnknownFunction,
)
from carrick.model.auth import AuthMode
from carrick.model.event import Event
from carrick.model.faults import Point
from carrick.model.provider import Provider
from carrick.store.deployments import get_bundle
from carrick.store.integrations import insert_integration
from carrick.store.tables import environments, integrations
from carrick.store.unit import Store, Tx
from carrick.testing.clock import FakeChance, FakeClock
from carrick.vault import Vault

VALIDATE, CLEANUP = Event.VALIDATE_CONNECTION, Event.PRE_CONNECTION_DELETION

FUNCTION = """from carrick import EventContext, create_on_event
@create_on_event(event="{event}", description="{description}")
async def function(ctx: EventContext) -> None:
    await ctx.get("/me")
"""


def bundle(event: Event = VALIDATE, **functions: str) -> Bundle:
    """Make a bundle: `integration__name="description"`."""
    files = {}
    for label, description in functions.items():
        integration_id, name = label.split("__")
        text = FUNCTION.format(event=event.value, description=description)
        files[f"{integration_id}/on_events/{name}.py"] = text.encode()
    return pack(make_project(files))


@pytest.fixture
async def environment_id(store: Store) -> int:
    return await add_environment(store, "dev")


async def add_environment(store: Store, name: str) -> int:
    async def unit(tx: Tx) -> int:
        row = insert(environments).values(
            uuid=name,
            name=name,
            settings={},
            webhook_signing_key=b"",
            public_key=name,
            created_at=tx.now,
        )
        row_id = int(await tx.scalar(row.returning(environments.c.id)))
        for integration_id in ("a", "b"):
            await insert_integration(
                tx,
                {
                    "environment_id": row_id,
                    "integration_id": integration_id,
                    "provider": "acme",
                    "credential_set": "",
                    "settings": {},
                    "forward_webhooks": True,
                },
            )
        return row_id

    return await store.write(unit)


@pytest.fixture
def make(store: Store, tmp_path: Path, clock: FakeClock) -> Callable[..., Deployments]:
    def build(node: str = "node") -> Deployments:
        return Deployments(store, tmp_path / node, clock)

    return build


@pytest.fixture
def deployments(make: Callable[..., Deployments]) -> Deployments:
    return make()


async def active(deployments: Deployments, environment_id: int) -> dict[str, str]:
    """Return the active functions and their descriptions."""
    found = await deployments.functions(environment_id)
    return {f"{one.integration_id}/{one.name}": one.declaration.description for one in found}


async def test_a_first_deploy_is_number_one(deployments: Deployments, environment_id: int) -> None:
    """Everything is added and active at once."""
    deployed = await deployments.deploy(environment_id, bundle(a__one="1", b__two="1"))

    assert deployed.number == 1
    assert deployed.is_new
    assert [change.label for change in deployed.preview.added] == ["a/one", "b/two"]
    assert await active(deployments, environment_id) == {"a/one": "1", "b/two": "1"}


async def test_a_preview_changes_nothing(deployments: Deployments, environment_id: int) -> None:
    """It says what a deploy would do, and does not do it."""
    preview = await deployments.preview(environment_id, bundle(a__one="1"), None)

    assert [change.label for change in preview.added] == ["a/one"]
    assert await deployments.list_deployments(environment_id) == []
    assert await active(deployments, environment_id) == {}


async def test_the_next_deploy_says_what_changed(
    deployments: Deployments, environment_id: int
) -> None:
    """Content decides, and the number goes up."""
    await deployments.deploy(environment_id, bundle(a__one="1", a__two="1", b__gone="1"))

    deployed = await deployments.deploy(
        environment_id, bundle(a__one="1", a__two="2", a__new="1"), allow_removals=True
    )

    preview = deployed.preview
    assert deployed.number == 2
    assert [change.label for change in preview.unchanged] == ["a/one"]
    assert [change.label for change in preview.changed] == ["a/two"]
    assert [change.label for change in preview.added] == ["a/new"]
    assert [change.label for change in preview.removed] == ["b/gone"]
    assert await active(deployments, environment_id) == {"a/new": "1", "a/one": "1", "a/two": "2"}


async def test_a_deploy_that_changes_nothing_makes_no_deployment(
    deployments: Deployments, environment_id: int
) -> None:
    """Deploying twice in a row reports the active number."""
    await deployments.deploy(environment_id, bundle(a__one="1"))

    again = await deployments.deploy(environment_id, bundle(a__one="1"))

    assert (again.number, again.is_new) == (1, False)
    assert [row.number for row in await deployments.list_deployments(environment_id)] == [1]


async def test_a_removal_must_be_allowed(deployments: Deployments, environment_id: int) -> None:
    """Refused, it leaves everything as it was and names what would go."""
    await deployments.deploy(environment_id, bundle(a__one="1", a__two="1"))

    with pytest.raises(RemovalNotConfirmed) as caught:
        await deployments.deploy(environment_id, bundle(a__one="2"))

    assert caught.value.payload is not None
    assert [change["name"] for change in caught.value.payload["removed"]] == ["two"]
    assert await active(deployments, environment_id) == {"a/one": "1", "a/two": "1"}


async def test_a_scoped_deploy_touches_only_what_it_names(
    deployments: Deployments, environment_id: int
) -> None:
    """Other functions stay active with the code they had."""
    first = bundle(a__one="1", a__two="1", b__three="1")
    await deployments.deploy(environment_id, first)
    second = bundle(a__one="2", a__two="2", b__three="2", b__four="2")

    deployed = await deployments.deploy(environment_id, second, Scope(functions=("a/two",)))

    assert [change.label for change in deployed.preview.changed] == ["a/two"]
    assert await active(deployments, environment_id) == {
        "a/one": "1",
        "a/two": "2",
        "b/three": "1",
    }
    bundles = {one.name: one.bundle_id for one in await deployments.functions(environment_id)}
    assert bundles == {"one": first.id, "two": second.id, "three": first.id}


async def test_a_deploy_scoped_to_an_integration_may_remove_in_it(
    deployments: Deployments, environment_id: int
) -> None:
    """Its missing functions are removals, others' are not."""
    await deployments.deploy(environment_id, bundle(a__one="1", a__two="1", b__three="1"))

    deployed = await deployments.deploy(
        environment_id, bundle(a__one="1"), Scope(integration_ids=("a",)), allow_removals=True
    )

    assert [change.label for change in deployed.preview.removed] == ["a/two"]
    assert await active(deployments, environment_id) == {"a/one": "1", "b/three": "1"}


async def test_a_scope_that_names_nothing_known_is_refused(
    deployments: Deployments, environment_id: int
) -> None:
    """A misspelt name is not a deploy of nothing."""
    with pytest.raises(DeploymentRejected, match="a/oen"):
        await deployments.deploy(environment_id, bundle(a__one="1"), Scope(functions=("a/oen",)))


async def test_functions_of_an_unknown_integration_are_refused(
    deployments: Deployments, environment_id: int
) -> None:
    """The refusal says which one, and how to make it."""
    with pytest.raises(DeploymentRejected, match="carrick integrations create ghost") as caught:
        await deployments.deploy(environment_id, bundle(a__one="1", ghost__two="1"))

    assert caught.value.payload == {"unknown_integrations": ["ghost"]}
    assert await active(deployments, environment_id) == {}


async def test_a_project_that_does_not_compile_is_refused_with_its_problems(
    deployments: Deployments, environment_id: int
) -> None:
    """The server imports what it is sent in a child and believes nothing else."""
    broken = pack(make_project({"a/on_events/one.py": b"import no_such_package"}))

    with pytest.raises(ProjectInvalid) as caught:
        await deployments.deploy(environment_id, broken)

    assert caught.value.payload is not None
    assert caught.value.payload["problems"][0]["file"] == "a/on_events/one.py"


async def test_environments_are_apart(
    deployments: Deployments, environment_id: int, store: Store
) -> None:
    """Each environment has numbers and an active deployment of its own."""
    other = await add_environment(store, "prod")
    await deployments.deploy(environment_id, bundle(a__one="1"))
    await deployments.deploy(environment_id, bundle(a__one="2"))

    assert (await deployments.deploy(other, bundle(a__one="3"))).number == 1
    assert await active(deployments, environment_id) == {"a/one": "2"}
    assert await active(deployments, other) == {"a/one": "3"}


async def test_an_unknown_environment_is_refused(deployments: Deployments) -> None:
    """Nothing can be deployed to nowhere."""
    with pytest.raises(NotFound):
        await deployments.deploy(4711, bundle(a__one="1"))


async def test_concurrent_deploys_follow_one_another(
    make: Callable[..., Deployments], environment_id: int, store: Store
) -> None:
    """Every deploy gets a number of its own, and exactly one of them is active."""
    nodes = [make(f"node-{number}") for number in range(4)]
    bundles = [bundle(a__one=str(number)) for number in range(4)]

    deployed = await asyncio.gather(
        *(node.deploy(environment_id, one) for node, one in zip(nodes, bundles, strict=True))
    )

    assert sorted(one.number for one in deployed) == [1, 2, 3, 4]
    rows = await nodes[0].list_deployments(environment_id)
    assert [row.number for row in rows if row.state == "active"] == [4]


async def test_every_node_sees_a_deploy_at_once(
    make: Callable[..., Deployments], environment_id: int
) -> None:
    """What is remembered about deployments is never stale."""
    here, there = make("here"), make("there")
    await here.deploy(environment_id, bundle(a__one="1"))
    assert await active(there, environment_id) == {"a/one": "1"}

    await here.deploy(environment_id, bundle(a__one="2"))

    assert await active(there, environment_id) == {"a/one": "2"}


async def test_active_functions_come_in_declared_order(
    deployments: Deployments, environment_id: int
) -> None:
    """An index.py decides; each event and integration has its own list."""
    files = {
        f"a/on_events/{name}.py": FUNCTION.format(event=event, description=name).encode()
        for name, event in (
            ("alpha", "validate-connection"),
            ("beta", "validate-connection"),
            ("gamma", "post-connection-creation"),
        )
    }
    files["index.py"] = b"from .a.on_events import beta, gamma, alpha"
    await deployments.deploy(environment_id, pack(make_project(files)))

    found = await deployments.active(environment_id, "a", VALIDATE)

    assert [one.name for one in found] == ["beta", "alpha"]
    assert await deployments.active(environment_id, "b", VALIDATE) == []


async def test_another_order_is_deployed(deployments: Deployments, environment_id: int) -> None:
    """Only the index changed, and the new order is active."""
    files = {
        f"a/on_events/{name}.py": FUNCTION.format(event=VALIDATE.value, description="x").encode()
        for name in ("one", "two")
    }
    await deployments.deploy(environment_id, pack(make_project(files)))
    files["index.py"] = b"from .a.on_events import two, one"

    deployed = await deployments.deploy(environment_id, pack(make_project(files)))

    assert deployed.number == 2
    found = await deployments.active(environment_id, "a", VALIDATE)
    assert [one.name for one in found] == ["two", "one"]


async def test_a_rollback_activates_an_earlier_deployment(
    deployments: Deployments, environment_id: int
) -> None:
    """Its functions are active again, under its old number; the next deploy gets a new one."""
    await deployments.deploy(environment_id, bundle(a__one="1"))
    await deployments.deploy(environment_id, bundle(a__one="2"))

    row = await deployments.rollback(environment_id, 1)

    assert (row.number, row.state) == (1, "active")
    assert await active(deployments, environment_id) == {"a/one": "1"}
    assert (await deployments.deploy(environment_id, bundle(a__one="3"))).number == 3


async def test_there_is_no_rollback_to_what_never_was(
    deployments: Deployments, environment_id: int, store: Store
) -> None:
    """A number of another environment is as unknown as any."""
    other = await add_environment(store, "prod")
    await deployments.deploy(environment_id, bundle(a__one="1"))

    with pytest.raises(NotFound, match="no deployment 1"):
        await deployments.rollback(other, 1)


async def test_a_function_that_was_removed_is_still_found(
    deployments: Deployments, environment_id: int
) -> None:
    """An event that waits for it runs it as the last deployment that had it, had it."""
    await deployments.deploy(environment_id, bundle(a__one="1", a__two="1"))
    await deployments.deploy(environment_id, bundle(a__one="1", a__two="2"))
    await deployments.deploy(environment_id, bundle(a__one="3"), allow_removals=True)

    one = await deployments.resolve(environment_id, "a", "one", VALIDATE)
    two = await deployments.resolve(environment_id, "a", "two", VALIDATE)

    assert one is not None
    assert one.declaration.description == "3"
    assert two is not None
    assert two.declaration.description == "2"
    assert await deployments.resolve(environment_id, "a", "never", VALIDATE) is None


async def test_after_a_rollback_the_active_code_wins(
    deployments: Deployments, environment_id: int
) -> None:
    """The newest deployment does not count while an older one is active."""
    await deployments.deploy(environment_id, bundle(a__one="1"))
    await deployments.deploy(environment_id, bundle(a__one="2"))
    await deployments.rollback(environment_id, 1)

    found = await deployments.resolve(environment_id, "a", "one", VALIDATE)

    assert found is not None
    assert found.declaration.description == "1"


async def test_a_removed_function_is_what_ran_last(
    deployments: Deployments, environment_id: int, clock: FakeClock
) -> None:
    """A deployment that was rolled back did not have it last, though its number is higher."""
    await deployments.deploy(environment_id, bundle(a__one="good"))
    clock.move(1)
    await deployments.deploy(environment_id, bundle(a__one="bad"))
    clock.move(1)
    await deployments.rollback(environment_id, 1)
    clock.move(1)
    await deployments.deploy(environment_id, bundle(a__two="1"), allow_removals=True)

    found = await deployments.resolve(environment_id, "a", "one", VALIDATE)

    assert found is not None
    assert found.declaration.description == "good"


async def test_a_name_that_went_to_another_event_is_another_function(
    deployments: Deployments, environment_id: int
) -> None:
    """What waits to run as a cleanup is never run by the check that has its name now."""
    await deployments.deploy(environment_id, bundle(CLEANUP, a__one="cleans up"))
    await deployments.deploy(environment_id, bundle(a__one="validates"), allow_removals=True)

    cleanup = await deployments.resolve(environment_id, "a", "one", CLEANUP)
    check = await deployments.resolve(environment_id, "a", "one", VALIDATE)

    assert cleanup is not None
    assert check is not None
    assert cleanup.declaration.description == "cleans up"
    assert check.declaration.description == "validates"


async def test_another_node_puts_a_bundle_on_its_own_disk(
    make: Callable[..., Deployments], environment_id: int
) -> None:
    """Bundles travel through the store."""
    sent = bundle(a__one="1")
    await make("here").deploy(environment_id, sent)

    found = await make("there").bundles.materialise(sent.id)

    assert (found.path / "a" / "on_events" / "one.py").is_file()
    assert found.dependencies is None
    assert "there" in found.path.parts


async def test_an_unpacked_bundle_that_was_damaged_is_unpacked_again(
    make: Callable[..., Deployments], environment_id: int
) -> None:
    """A half-written file from before a power failure is not run."""
    sent = bundle(a__one="1")
    await make().deploy(environment_id, sent)
    file = (await make().bundles.materialise(sent.id)).path / "a" / "on_events" / "one.py"
    good = file.read_text()
    file.write_text("")

    await make().bundles.materialise(sent.id)

    assert file.read_text() == good


async def test_a_bundle_that_is_not_stored_cannot_be_run(deployments: Deployments) -> None:
    """An id alone is not enough."""
    with pytest.raises(UnknownFunction):
        await deployments.bundles.materialise("0" * 64)


async def test_a_dry_run_bundle_is_usable_and_forgotten_after_a_day(
    deployments: Deployments, environment_id: int, clock: FakeClock, store: Store
) -> None:
    """What no deployment uses goes away, what is deployed stays."""
    kept, tried = bundle(a__one="1"), bundle(a__one="2")
    await deployments.deploy(environment_id, kept)
    functions = await deployments.bundles.functions(environment_id, tried)
    await deployments.bundles.keep(tried)
    place = (await deployments.bundles.materialise(tried.id)).path
    assert [one.name for one in functions] == ["one"]

    old = clock.now().timestamp()
    os.utime(place, (old, old))
    await clock.advance(timedelta(days=1, seconds=1).total_seconds())
    await deployments.bundles.prune()

    async def left(tx: Tx) -> list[bool]:
        return [await get_bundle(tx, one.id) is not None for one in (kept, tried)]

    assert await store.read(left) == [True, False]
    assert not place.exists()


# --- dependencies ---------------------------------------------------------------------------

IMPORTING = """import tiny_greeting
from carrick import EventContext, create_on_event
@create_on_event(event="validate-connection", description=tiny_greeting.TEXT)
async def function(ctx: EventContext) -> None:
    await ctx.get("/me")
"""


@pytest.fixture
def package_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index with one package, so that nothing is downloaded."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny_greeting-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_greeting.py", "TEXT = 'hello'\n")
        info = "tiny_greeting-1.0.dist-info"
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-greeting\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def depending(dependency: str) -> Bundle:
    text = f'[project]\ndependencies = ["carrick", "{dependency}"]'
    return pack(
        make_project({"a/on_events/one.py": IMPORTING.encode(), "pyproject.toml": text.encode()})
    )


@pytest.mark.usefixtures("package_index")
async def test_what_a_project_depends_on_is_installed(
    deployments: Deployments, environment_id: int
) -> None:
    """Functions import the packages of the project's own pyproject.toml."""
    sent = depending("tiny-greeting>=1")

    await deployments.deploy(environment_id, sent)

    assert await active(deployments, environment_id) == {"a/one": "hello"}
    found = await deployments.bundles.materialise(sent.id)
    assert found.dependencies is not None
    assert (found.dependencies / "tiny_greeting.py").is_file()


@pytest.mark.usefixtures("package_index")
async def test_a_dependency_that_cannot_be_installed_refuses_the_deploy(
    deployments: Deployments, environment_id: int, tmp_path: Path
) -> None:
    """The refusal carries what the installer said, and nothing half-made stays."""
    with pytest.raises(DeploymentRejected, match="cannot be installed") as caught:
        await deployments.deploy(environment_id, depending("no-such-package"))

    assert caught.value.payload is not None
    assert "no-such-package" in "\n".join(caught.value.payload["output"])
    assert list((tmp_path / "node" / "dependencies").iterdir()) == []
    assert await active(deployments, environment_id) == {}


class Held:
    """Holds a deploy up before it commits."""

    def __init__(self) -> None:
        self.arrived, self.opened = asyncio.Event(), asyncio.Event()

    async def reached(self, point: Point) -> None:
        """Wait where functions are written and nobody else sees them."""
        if point is Point.DEPLOYMENT_WRITTEN:
            self.arrived.set()
            await self.opened.wait()


async def test_an_integration_is_not_renamed_beside_a_deploy_for_it(
    store: Store, tmp_path: Path, clock: FakeClock, environment_id: int
) -> None:
    """Its functions would be nobody's, and its connections be checked by none."""
    held = Held()
    deployments = Deployments(store, tmp_path, clock, faults=held)
    rooms = Integrations(store, Vault({"k": bytes(32)}, "k"), AnyProvider(), FakeChance(1))
    deploying = asyncio.create_task(deployments.deploy(environment_id, bundle(a__one="1")))
    await held.arrived.wait()
    changes = IntegrationChanges(integration_id="c")
    renaming = asyncio.create_task(rooms.update(environment_id, "a", changes))
    while store.is_postgres and not renaming.done() and not await store.read(somebody_waits):
        pass
    held.opened.set()
    await deploying
    with pytest.raises(InvalidBody, match="functions are deployed for"):
        await renaming


async def test_what_is_deployed_is_for_integrations_that_are_there_then(
    make: Callable[..., Deployments], store: Store, environment_id: int
) -> None:
    """One that was renamed while the project was looked at is not there any more."""
    deployments = make()
    inspected = deployments.bundles.functions

    async def and_then_renamed(*given: Any) -> Any:
        found = await inspected(*given)

        async def unit(tx: Tx) -> None:
            await tx.execute(update(integrations).values(integration_id="c").where(INTEGRATION_A))

        await store.write(unit)
        return found

    deployments.bundles.functions = and_then_renamed  # type: ignore[method-assign]
    with pytest.raises(DeploymentRejected, match="functions for a"):
        await deployments.deploy(environment_id, bundle(a__one="1"))
    assert await active(deployments, environment_id) == {}


INTEGRATION_A = integrations.c.integration_id == "a"


class AnyProvider:
    """A catalogue in which everything is there."""

    def find(self, name: str) -> Provider:
        """Return a provider by name."""
        return Provider(name, name, AuthMode.API_KEY, {})


async def somebody_waits(tx: Tx) -> bool:
    """Whether a transaction waits for another one's lock."""
    return bool(await tx.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))
