"""A whole server without a socket, the provider it talks to, and somebody who asks."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.api.asking import Asking

from carrick.app import App, opened_store, running
from carrick.environments import NewIntegration
from carrick.model.clock import Clock, SystemClock
from carrick.model.environment import Environment
from carrick.settings import Settings
from carrick.testing.fake_provider import FakeProvider

KEY = "3c2f8a56-0f3e-4c55-9d0e-2b1f6a7c8d90"
PROD_KEY = "7d1e4b2a-9c8f-4a6b-8e3d-5f0a1b2c3d4e"


@dataclass
class Desk:
    """A running server and the one who asks it."""

    app: App
    ask: Asking
    environment: Environment
    provider: FakeProvider

    async def key(self, *scopes: str) -> str:
        """Return a new API key with these scopes."""
        _, text = await self.app.services.api_keys.create(
            self.environment.row_id, f"key for {' '.join(scopes)}"[:255], scopes
        )
        return text

    async def session(self, **body: Any) -> str:
        """Return the token of a new connect session."""
        answer = await self.ask("POST", "/connect/sessions", {"end_user": {"id": "u1"}, **body})
        assert answer.status == 201, answer.body
        return str(answer.json["data"]["token"])

    async def add(self, integration_id: str, provider: str, **changes: Any) -> None:
        """Configure a provider."""
        await self.app.rooms.integrations.create(
            self.environment.row_id, NewIntegration(integration_id, provider, **changes)
        )

    async def connected(self, connection_id: str = "one", **changes: Any) -> Any:
        """Import a connection of the integration `acme` and return it as it was answered."""
        account = self.provider.add_account(f"account of {connection_id}"[:100])
        body = {
            "provider_config_key": "acme",
            "connection_id": connection_id,
            "credentials": {"type": "API_KEY", "apiKey": account.api_key},
            "connection_config": {"base_url": self.provider.url},
            **changes,
        }
        answer = await self.ask("POST", "/connections", body)
        assert answer.status == 201, answer.body
        return answer.json


Opener = Callable[..., AbstractAsyncContextManager[Desk]]


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    """A provider on loopback."""
    async with FakeProvider() as running_provider:
        yield running_provider


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file that a server has migrated, to be copied."""
    data_dir = tmp_path_factory.mktemp("migrated")

    async def make() -> None:
        async with opened_store(Settings(data_dir=data_dir), SystemClock(), migrated=True):
            pass

    asyncio.run(make())
    return data_dir / "carrick.db"


@pytest.fixture
def open_desk(tmp_path: Path, migrated_file: Path, provider: FakeProvider) -> Opener:
    """Start a server with settings of the test's own."""

    @asynccontextmanager
    async def opened(*, clock: Clock | None = None, **settings: Any) -> AsyncIterator[Desk]:
        (tmp_path / "data").mkdir()
        shutil.copy(migrated_file, tmp_path / "data" / "carrick.db")
        values = {
            "data_dir": tmp_path / "data",
            "egress_allow": ("127.0.0.0/8",),
            "secret_keys": {"dev": KEY, "prod": PROD_KEY},
            "public_url": "https://carrick.example",
            **settings,
        }
        async with running(Settings(**values), clock=clock) as app:
            environment = await app.rooms.environments.by_name("dev")
            assert environment is not None
            desk = Desk(app, Asking(app.api, KEY), environment, provider)
            await desk.add("acme", "api-key")
            yield desk

    return opened


@pytest.fixture
async def desk(open_desk: Opener) -> AsyncIterator[Desk]:
    """A server as it is by default."""
    async with open_desk() as opened:
        yield opened
