"""A server on each database, and the provider it talks to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.lifecycle.house import House

from carrick.app import running
from carrick.environments import NewIntegration
from carrick.lifecycle.rooms import Timing
from carrick.settings import Settings
from carrick.testing.fake_provider import FakeProvider
from carrick.testing.faults import PlannedFaults


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    """A provider on loopback."""
    async with FakeProvider() as running_provider:
        yield running_provider


@pytest.fixture
def timing() -> Timing:
    """How long journeys wait; tests that need less override it."""
    return Timing(stop_s=0.5)


@pytest.fixture
def faults() -> PlannedFaults:
    """What happens at fault points: nothing, until a test plans something."""
    return PlannedFaults()


@pytest.fixture
async def house(
    store_url: str, tmp_path: Path, provider: FakeProvider, timing: Timing, faults: PlannedFaults
) -> AsyncIterator[House]:
    """A running server on each database, with one integration that talks to the provider."""
    settings = settings_for(store_url, tmp_path, provider)
    async with running(settings, timing=timing, migrate_first=True, faults=faults) as app:
        environment = await app.rooms.environments.by_name("dev")
        assert environment is not None
        await app.rooms.integrations.create(
            environment.row_id, NewIntegration(integration_id="acme", provider="api-key")
        )
        yield House(app, provider, environment)


def settings_for(store_url: str, tmp_path: Path, provider: FakeProvider, **more: Any) -> Settings:
    """Return the settings of a server on a test's own database."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    postgres = store_url.startswith("postgres")
    if not postgres:
        Path(store_url.removeprefix("sqlite:///")).rename(data_dir / "carrick.db")
    return Settings(
        data_dir=data_dir,
        database_url=store_url if postgres else None,
        encryption_key="AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        egress_allow=("127.0.0.0/8",),
        webhook_urls={"dev": provider.notification_url},
        **more,
    )
