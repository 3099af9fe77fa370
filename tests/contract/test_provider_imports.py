"""Imported provider files behave the same on both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select
from tests.many_providers import many_providers

from carrick.environments import Environments, Integrations, NewIntegration, ProviderImports
from carrick.errors import NotFound, ProviderInUse
from carrick.model.auth import AuthMode
from carrick.model.provider import Provider
from carrick.providers import Catalogue, load_catalogue
from carrick.store.tables import imported_providers
from carrick.store.unit import Store
from carrick.testing.clock import FakeChance, FakeClock
from carrick.vault import Vault

VAULT = Vault({"k": bytes(32)}, "k")
ACME = Provider("acme", "Acme", AuthMode.API_KEY, {"auth_mode": "API_KEY", "display_name": "Acme"})


def provider(name: str, mode: AuthMode = AuthMode.NONE) -> Provider:
    definition = {"auth_mode": mode.value, "display_name": f"The {name}"}
    return Provider(name, definition["display_name"], mode, definition)


@pytest.fixture
def base() -> Catalogue:
    """A catalogue with one built-in provider."""
    return Catalogue([ACME])


async def names(imports: ProviderImports) -> list[str]:
    return sorted(await imports.definitions())


async def test_an_import_is_kept_whole(store: Store, base: Catalogue, clock: FakeClock) -> None:
    """Listed with its size; each definition can be read back."""
    imports = ProviderImports(store)
    await imports.put("mine", [provider("a"), provider("b")], base=base)
    (row,) = await imports.list()
    assert (row.name, row.providers, row.imported_at) == ("mine", 2, clock.now())
    assert await imports.refresh(base)
    assert base.get("a").display_name == "The a"
    assert base.names() == ["a", "acme", "b"]
    assert base.origin("a") == "imported"


async def test_a_later_import_counts_and_leaves_when_it_is_removed(
    store: Store, base: Catalogue
) -> None:
    """What it had replaced, imported or built in, is there again."""
    imports = ProviderImports(store)
    await imports.put("one", [provider("a", AuthMode.BASIC)], base=base)
    await imports.put("two", [provider("a"), provider("acme")], base=base)
    await imports.refresh(base)
    assert (base.get("a").auth_mode, base.get("acme").auth_mode) == ("NONE", "NONE")
    await imports.remove("two", base=base)
    await imports.refresh(base)
    assert (base.get("a").auth_mode, base.get("acme").auth_mode) == ("BASIC", "API_KEY")
    with pytest.raises(NotFound, match="no import named 'two'"):
        await imports.remove("two", base=base)


async def test_importing_again_replaces(store: Store, base: Catalogue) -> None:
    """What is not in the new file is gone, and nothing of the old one is left behind."""
    imports = ProviderImports(store)
    await imports.put("mine", [provider("a"), provider("b")], base=base)
    await imports.put("mine", [provider("b"), provider("c")], base=base)
    assert await names(imports) == ["b", "c"]
    assert [row.name for row in await imports.list()] == ["mine"]
    count = select(func.count()).select_from(imported_providers)
    assert await store.read(lambda tx: tx.scalar(count)) == 2


async def test_other_nodes_notice(store: Store, base: Catalogue) -> None:
    """Once, and only when something has changed."""
    here, there = ProviderImports(store), ProviderImports(store)
    assert not await there.refresh(base)
    await here.put("mine", [provider("a")], base=base)
    assert await there.refresh(base)
    assert not await there.refresh(base)
    await here.put("mine", [provider("a", AuthMode.BASIC)], base=base)
    assert await there.refresh(base)
    assert base.get("a").auth_mode is AuthMode.BASIC
    await here.remove("mine", base=base)
    assert await there.refresh(base)
    assert base.find("a") is None


async def test_a_provider_that_is_used_is_not_taken_away(
    store: Store, base: Catalogue, clock: FakeClock, chance: FakeChance
) -> None:
    """Not by removing, not by importing without it, not by another auth mode; unless forced."""
    await Environments(store, VAULT, clock, chance).ensure_defaults({})
    imports = ProviderImports(store)
    await imports.put("mine", [provider("a"), provider("b")], base=base)
    await imports.refresh(base)
    dev = (await Environments(store, VAULT, clock, chance).by_name("dev")) or pytest.fail("no dev")
    integrations = Integrations(store, VAULT, base, chance)
    await integrations.create(dev.row_id, NewIntegration("used", "a"))
    for attempt in (
        imports.remove("mine", base=base),
        imports.put("mine", [provider("b")], base=base),
        imports.put("mine", [provider("a", AuthMode.BASIC)], base=base),
        imports.put("other", [provider("a", AuthMode.BASIC)], base=base),
    ):
        with pytest.raises(ProviderInUse, match=r"used in dev \(a\)"):
            await attempt
    assert await names(imports) == ["a", "b"]
    assert [row.name for row in await imports.list()] == ["mine"]
    await imports.put("mine", [provider("a")], base=base)
    await imports.remove("mine", base=None)
    assert await names(imports) == []


async def test_a_thousand_entries_over_all_modes(store: Store) -> None:
    """They go in and come out as they were, and the built-in ones stay."""
    base = load_catalogue()
    read, warnings = base.read(many_providers(1000), origin="many.json")
    assert {one.auth_mode for one in read} == set(AuthMode)
    assert len(warnings) == 1000
    imports = ProviderImports(store)
    await imports.put("many", read, base=base)
    catalogue = load_catalogue(imported=await imports.definitions())
    assert len(catalogue) == len(base) + 1000
    for one in read:
        assert catalogue.get(one.name) == one
    assert catalogue.get("github") == base.get("github")
