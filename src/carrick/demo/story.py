"""The story the demo tells: connect, reconnect, be refused, come back, leave."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from carrick.demo.server import Server, command
from carrick.demo.timeline import Step
from carrick.model.clock import Clock
from carrick.testing.fake_provider import Account, FakeProvider

INTEGRATION = "salesforce"
CONNECTION = "customer-1"
_APP_URL = "https://app.example/salesforce-events"
_SETUP_WITHIN_S = 15.0
_NEWS_WITHIN_S = 5.0


class StoryBroken(Exception):
    """A step went so wrong that the next one makes no sense."""


@dataclass
class Story:
    """The demo's actors and what happened to them so far."""

    server: Server
    provider: FakeProvider
    http: aiohttp.ClientSession
    project: Path
    clock: Clock
    began_s: float
    steps: list[Step] = field(default_factory=list)
    _news_read: int = 0

    async def tell(self) -> None:
        """Go through the whole life of one connection.

        Raises:
            StoryBroken: A step failed; the steps after it were not tried.
        """
        org_a, org_b = self.provider.add_account("org-a"), self.provider.add_account("org-b")
        chapters: list[Callable[[], Awaitable[None]]] = [
            self._prepare,
            self._deploy,
            lambda: self._connect(org_a),
            lambda: self._reconnect_same(org_a, "Reconnect as org-a: accepted"),
            lambda: self._reconnect_other(org_b),
            lambda: self._reconnect_same(org_a, "Reconnect as org-a: accepted, and healed"),
            self._delete,
        ]
        for chapter in chapters:
            await chapter()
            if not self.steps[-1].ok:
                raise StoryBroken(self.steps[-1].title)

    # --- chapters ---------------------------------------------------------------------------

    async def _prepare(self) -> None:
        async with self._step("Create the integration", "POST /integrations") as step:
            status, _ = await self._call(
                "POST",
                "/integrations",
                {
                    "provider": "salesforce",
                    "unique_key": INTEGRATION,
                    "credentials": {
                        "type": "OAUTH2",
                        "client_id": self.provider.client_id,
                        "client_secret": self.provider.client_secret,
                    },
                },
            )
            step.answer = str(status)
            step.expect("the integration is created", status, 200)
            variables = {"variables": {"APP_WEBHOOK_URL": _APP_URL}}
            status, _ = await self._call("POST", "/environment-variables", variables)
            step.expect("APP_WEBHOOK_URL is set", status, 200)

    async def _deploy(self) -> None:
        async with self._step("Deploy the three functions", "carrick deploy") as step:
            code, output = await command(
                self.server, "deploy", "-e", "dev", "--yes", cwd=self.project
            )
            step.answer = "ok" if code == 0 else f"exit {code}"
            step.expect("the command succeeds", output if code else "", "")
            status, body = await self._call("GET", f"/integrations/{INTEGRATION}/functions")
            names = sorted(one["name"] for one in body["data"]) if status == 200 else body
            step.expect(
                "all three are active",
                names,
                ["post-connection-setup", "pre-connection-cleanup", "validate-connection"],
            )

    async def _connect(self, account: Account) -> None:
        async with self._step(f"Connect {account.name}", "POST /connections") as step:
            status, _ = await self._import(account)
            step.answer = str(status)
            step.expect("the connection is accepted", status, 201)
            if status != 201:
                return
            setup = await self._until_set_up()
            step.expect("setup is done", setup.get("setup"), "done")
            held = self.provider.webhooks_of(account)
            step.expect("one webhook at the provider", len(held), 1)
            step.expect("it points to the app", [one.url for one in held], [_APP_URL])
            step.expect(
                "its id is in the metadata",
                (setup.get("metadata") or {}).get("webhook_id"),
                held[0].id if held else "an id",
            )
            await self._expect_news(step, "creation", success=True)

    async def _reconnect_same(self, account: Account, title: str) -> None:
        async with self._step(title, "POST /connections") as step:
            self.provider.issue_tokens(account)
            status, body = await self._import(account)
            step.answer = str(status)
            step.expect("the reconnect is accepted", status, 201)
            status, body = await self._get_connection()
            step.expect("the connection is usable", status, 200)
            step.expect("without an error", body.get("errors"), [])
            step.expect("on the new token", _token(body), account.access_token)
            step.expect("still one webhook", len(self.provider.webhooks), 1)
            await self._expect_news(step, "override", success=True)

    async def _reconnect_other(self, account: Account) -> None:
        async with self._step(f"Reconnect as {account.name}: refused", "POST /connections") as step:
            status, body = await self._import(account)
            step.answer = str(status)
            refusal = "connection_validation_failed"
            step.expect(f"the answer is {refusal}", [status, _code(body)], [400, refusal])
            status, body = await self._get_connection()
            step.expect("no token is handed out", status, 424)
            step.expect("not even in the error", account.access_token in str(body), False)
            status, body = await self._call("GET", f"/connections?connectionId={CONNECTION}")
            listed = body.get("connections", [{}])[0] if status == 200 else {}
            kinds = [error["type"] for error in listed.get("errors", [])]
            step.expect("the list shows the auth error", kinds, ["auth"])
            step.expect("still one webhook", len(self.provider.webhooks), 1)
            step.expect(
                "none in the other organisation", len(self.provider.webhooks_of(account)), 0
            )
            await self._expect_news(step, "override", success=False)

    async def _delete(self) -> None:
        path = f"/connections/{CONNECTION}?provider_config_key={INTEGRATION}"
        async with self._step("Delete the connection", "DELETE /connections") as step:
            status, body = await self._call("DELETE", path)
            step.answer = str(status)
            step.expect("the deletion is accepted", [status, body.get("success")], [200, True])
            step.expect("no webhook at the provider", len(self.provider.webhooks), 0)
            status, _ = await self._get_connection()
            step.expect("the connection is gone", status, 404)

    async def _expect_news(self, step: Step, operation: str, *, success: bool) -> None:
        """Expect the app's server to be told; that happens beside the answer, so wait for it."""
        expected = [operation, success]
        known, self._news_read = self._news_read, self._news_read + 1
        with contextlib.suppress(TimeoutError):
            await self.provider.until(
                lambda: len(self.provider.notifications) > known, timeout_s=_NEWS_WITHIN_S
            )
        told = [news.json() for news in self.provider.notifications[known:]]
        outcome = "success" if success else "failure"
        step.expect(
            f"your app was told: {operation}, {outcome}",
            [[one.get("operation"), one.get("success")] for one in told],
            [expected],
        )

    # --- means ------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _step(self, title: str, request: str) -> AsyncIterator[Step]:
        step = Step(title, self.clock.monotonic() - self.began_s, request)
        self.steps.append(step)
        seen = len(self.provider.calls)
        try:
            yield step
        finally:
            step.calls = self.provider.calls[seen:]
            step.took_s = self.clock.monotonic() - self.began_s - step.at_s

    async def _import(self, account: Account) -> tuple[int, dict[str, Any]]:
        return await self._call(
            "POST",
            "/connections",
            {
                "provider_config_key": INTEGRATION,
                "connection_id": CONNECTION,
                "connection_config": {"instance_url": self.provider.url},
                "credentials": {
                    "type": "OAUTH2",
                    "access_token": account.access_token,
                    "refresh_token": account.refresh_token,
                },
            },
        )

    async def _get_connection(self) -> tuple[int, dict[str, Any]]:
        return await self._call(
            "GET", f"/connections/{CONNECTION}?provider_config_key={INTEGRATION}"
        )

    async def _until_set_up(self) -> dict[str, Any]:
        deadline = self.clock.monotonic() + _SETUP_WITHIN_S
        while True:
            status, body = await self._get_connection()
            is_settled = status != 200 or body.get("setup") != "pending"
            if is_settled or self.clock.monotonic() > deadline:
                return body
            await self.clock.sleep(0.02)

    async def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self.server.secret_key}"}
        async with self.http.request(
            method, self.server.url + path, json=body, headers=headers
        ) as answer:
            try:
                parsed = await answer.json(content_type=None)
            except ValueError:
                parsed = {"text": await answer.text()}
            return answer.status, parsed if isinstance(parsed, dict) else {"data": parsed}


def _token(body: dict[str, Any]) -> str | None:
    credentials = body.get("credentials")
    return credentials.get("access_token") if isinstance(credentials, dict) else None


def _code(body: dict[str, Any]) -> str | None:
    error = body.get("error")
    return error.get("code") if isinstance(error, dict) else None
