"""A `carrick serve` process of a test's own, which can be killed and started on the same data."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
from tests.lifecycle.house import packed

from carrick.runtime.limits import descendants
from carrick.testing.fake_provider import Account, FakeProvider

#: Seconds within which whatever a test waits for has to come about.
PATIENCE_S = 30.0
INTEGRATION = "acme"
#: A project that does nothing: one without any function is refused.
IDLE = {
    "idle": """
    @create_on_event(event="pre-connection-deletion", description="Nothing to do")
    async def function(ctx: EventContext) -> None:
        await ctx.log("gone")
    """
}


def deployment(functions: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return what deploys a project: the sources of functions by name, by integration."""
    bundle = base64.b64encode(packed(functions).content).decode()
    return {"bundle": bundle, "allow_removals": True}


@dataclass(frozen=True)
class Answer:
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The parsed body."""
        return json.loads(self.text)

    @property
    def code(self) -> str:
        """The error's code."""
        return str(self.json["error"]["code"])

    @property
    def message(self) -> str:
        """The error's sentence."""
        return str(self.json["error"]["message"])


@dataclass
class ServerProcess:
    """A server, where its data lies, and everything it ever answered or logged."""

    directory: Path
    provider: FakeProvider
    settings: Mapping[str, str] = field(default_factory=dict)
    secret_key: str = field(default_factory=lambda: str(uuid.uuid4()))
    encryption_key: str = field(default_factory=lambda: base64.b64encode(os.urandom(32)).decode())
    answers: list[tuple[str, Answer]] = field(default_factory=list)
    _port: int = 0
    _process: asyncio.subprocess.Process | None = None
    _http: aiohttp.ClientSession | None = None

    # --- the process ------------------------------------------------------------------------

    @property
    def data_dir(self) -> Path:
        """Where everything lies that outlives the process."""
        return self.directory / "data"

    @property
    def log(self) -> bytes:
        """What all the processes so far wrote to stdout and stderr."""
        return (self.directory / "server.log").read_bytes()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    def environ(self) -> dict[str, str]:
        """Return the whole environment of the process; nothing of the tester's own is in it."""
        return {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            "CARRICK_DATA_DIR": str(self.data_dir),
            "CARRICK_ENCRYPTION_KEY": self.encryption_key,
            "CARRICK_SECRET_KEY_DEV": self.secret_key,
            "CARRICK_EGRESS_ALLOW": "127.0.0.0/8",
            "CARRICK_WEBHOOK_URL_DEV": self.provider.notification_url,
            **self.settings,
        }

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        self._port = free_port()
        self._process = await self.spawn()
        async with asyncio.timeout(PATIENCE_S):
            while not await self._is_ready():
                assert self._process.returncode is None, self.log.decode(errors="replace")
                await asyncio.sleep(0.02)

    def command(self) -> tuple[str, ...]:
        """Return what is run."""
        return (sys.executable, "-m", "carrick", "serve", "--migrate")

    async def spawn(self, port: int | None = None) -> asyncio.subprocess.Process:
        """Start a server process on the data directory, whether or not there is one already."""
        environ = {**self.environ(), "CARRICK_PORT": str(self._port if port is None else port)}
        with (self.directory / "server.log").open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *self.command(),
                cwd=self.directory,
                env=environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    async def kill(self) -> None:
        """Kill it as a power cut would: at once, and nothing of it gets to clean up."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def restart(self) -> None:
        """Kill it and start it again on the same data."""
        await self.kill()
        await self.start()

    async def terminate(self) -> int:
        """Ask it to stop and return its exit code."""
        assert self._process is not None
        self._process.terminate()
        async with asyncio.timeout(PATIENCE_S):
            return await self._process.wait()

    async def close(self) -> None:
        """End whatever is left."""
        if self._http is not None:
            await self._http.close()
        if self._process is not None:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
            await self._process.wait()

    def runners(self) -> list[int]:
        """Return the processes under the server that run functions."""
        return [pid for pid in descendants(self.pid) if b"carrick.runner" in _command_line(pid)]

    async def _is_ready(self) -> bool:
        with contextlib.suppress(aiohttp.ClientError):
            async with self.http.get(f"{self.url}/health") as answer:
                return answer.status == 200
        return False

    # --- asking it --------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def http(self) -> aiohttp.ClientSession:
        """The session it is asked with."""
        if self._http is None:
            timeout = aiohttp.ClientTimeout(total=90)
            self._http = aiohttp.ClientSession(timeout=timeout)
        return self._http

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        signed: bool = True,
    ) -> Answer:
        """Send a request and return the answer.

        Args:
            method: Its method.
            path: Its path and query string.
            body: Sent as JSON.
            headers: Sent as well.
            data: Sent as it is, instead of a JSON body.
            signed: Carry the environment's API key.
        """
        key = {"Authorization": f"Bearer {self.secret_key}"} if signed else {}
        given: dict[str, Any] = {"data": data} if data is not None else {"json": body}
        async with self.http.request(
            method, self.url + path, headers={**key, **(headers or {})}, **given
        ) as got:
            text = (await got.read()).decode(errors="replace")
            answer = Answer(got.status, dict(got.headers), text)
        self.answers.append((f"{method} {path}", answer))
        return answer

    async def integrate(self, integration_id: str = INTEGRATION, **values: Any) -> None:
        """Make an integration; one with API keys unless told otherwise."""
        body = {"provider": "api-key", "unique_key": integration_id, **values}
        answer = await self.call("POST", "/integrations", body)
        assert answer.status == 200, answer.text

    async def deploy(
        self, functions: Mapping[str, str], *, integration_id: str = INTEGRATION
    ) -> Answer:
        """Deploy functions by name; what is not named is removed."""
        return await self.call("POST", "/deployments", deployment({integration_id: functions}))

    def import_body(
        self, account: Account, connection_id: str = "one", **changes: Any
    ) -> dict[str, Any]:
        """Return what imports an account by its API key."""
        body = {
            "provider_config_key": INTEGRATION,
            "connection_id": connection_id,
            "connection_config": {"base_url": self.provider.url},
            "credentials": {"type": "API_KEY", "apiKey": account.api_key},
        }
        return {**body, **changes}

    async def connect(self, account: Account, connection_id: str = "one", **changes: Any) -> Answer:
        """Connect or reconnect an account by its API key."""
        body = self.import_body(account, connection_id, **changes)
        return await self.call("POST", "/connections", body)

    async def get(self, connection_id: str = "one", integration_id: str = INTEGRATION) -> Answer:
        """Return a connection as an API caller sees it."""
        path = f"/connections/{connection_id}?provider_config_key={integration_id}"
        return await self.call("GET", path)

    async def delete(self, connection_id: str = "one", integration_id: str = INTEGRATION) -> Answer:
        """Delete a connection."""
        path = f"/connections/{connection_id}?provider_config_key={integration_id}"
        return await self.call("DELETE", path)

    async def set_up(self, connection_id: str = "one", state: str = "done") -> dict[str, Any]:
        """Wait until a connection's setup has come to an end, and return the connection."""
        found = await self.until(
            lambda: self.get(connection_id), lambda one: one.json.get("setup") != "pending"
        )
        assert found.json["setup"] == state, found.text
        return dict(found.json)

    async def operations(self, **wanted: str) -> list[dict[str, Any]]:
        """Return operations with their messages, the newest first."""
        query = "&".join(f"{name}={value}" for name, value in wanted.items())
        listed = (await self.call("GET", f"/operations?limit=100&{query}")).json["data"]
        return [
            (await self.call("GET", f"/operations/{one['id']}?limit=1000")).json["data"]
            for one in listed
        ]

    async def cleanups(self) -> list[dict[str, Any]]:
        """Return what is left to clean up."""
        return list((await self.call("GET", "/cleanups")).json["data"])

    async def until(
        self, ask: Callable[[], Awaitable[Answer]], holds: Callable[[Answer], bool]
    ) -> Answer:
        """Ask until the answer is as wanted, and return it."""
        answer = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    answer = await ask()
                    if holds(answer):
                        return answer
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"it did not come to that: {answer}") from None

    async def __aenter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


@contextlib.asynccontextmanager
async def served(
    directory: Path, provider: FakeProvider | None = None, **settings: str
) -> AsyncIterator[ServerProcess]:
    """Run a server and a provider, with an integration between them.

    Args:
        directory: Where everything of the server goes.
        provider: One that runs already.
        settings: `CARRICK_<NAME>` variables by the rest of their names.
    """
    environ = {f"CARRICK_{name.upper()}": value for name, value in settings.items()}
    async with contextlib.AsyncExitStack() as stack:
        if provider is None:
            provider = await stack.enter_async_context(FakeProvider(honour_idempotency_keys=True))
        server = ServerProcess(directory, provider, environ)
        stack.push_async_callback(server.close)
        await stack.enter_async_context(server)
        await server.integrate()
        yield server


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it is more than a record of its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(pids: list[int]) -> None:
    """Kill processes that may be gone already."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
