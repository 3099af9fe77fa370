"""A real HTTP server on loopback that behaves like a provider, or misbehaves when told to.

    async with FakeProvider() as provider:
        account = provider.add_account("org-a")
        provider.fail("status", path="/webhooks", status=503, times=2)
        ...
        assert provider.calls[-1].path == "/webhooks"

`python -m carrick.testing.fake_provider --port 9000 --account org-a` runs one by itself; its
switches are then under `/__control__/`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import ssl
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from carrick.model.clock import Chance, Clock, SystemChance, SystemClock
from carrick.testing._provider_accounts import Account, Accounts
from carrick.testing._provider_api import api_routes
from carrick.testing._provider_apps import Apps, RegisteredApp
from carrick.testing._provider_aws import Aws
from carrick.testing._provider_control import PREFIX, control_routes
from carrick.testing._provider_faults import Fault, FaultKind
from carrick.testing._provider_logins import login_routes
from carrick.testing._provider_mcp import Mcp
from carrick.testing._provider_oauth1 import OAuth1
from carrick.testing._provider_proofs import KeyKind, Proofs
from carrick.testing._provider_reception import reception
from carrick.testing._provider_state import Call, Notification, ProviderState, Webhook

__all__ = ["Account", "Call", "FakeProvider", "Fault", "FaultKind", "Notification", "Webhook"]


class FakeProvider:
    """A provider with accounts, tokens, an identity, webhooks, and faults at the press of a key."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        client_id: str = "fake-client-id",
        client_secret: str = "fake-client-secret",  # noqa: S107 - it protects nothing
        token_lifetime_s: float = 3600.0,
        rotate_refresh_tokens: bool = False,
        refresh_grace_s: float = 0.0,
        honour_idempotency_keys: bool = False,
        clock: Clock | None = None,
        chance: Chance | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare a provider; it listens from `start` (or `async with`) on.

        Args:
            port: 0 takes a free one; `url` tells which.
            rotate_refresh_tokens: Each refresh ends the refresh token that was used.
            refresh_grace_s: Seconds for which such a refresh token still works.
            tls: Speak https with it. Callers whose certificate it verified are the account of
                that common name.
            honour_idempotency_keys: A repeated `Idempotency-Key` gets the first answer again.
        """
        clock, chance = clock or SystemClock(), chance or SystemChance()
        self._host, self._port, self._tls = host, port, tls
        self._runner: web.AppRunner | None = None
        accounts = Accounts(clock, chance, token_lifetime_s, rotate_refresh_tokens, refresh_grace_s)
        self._state = ProviderState(
            clock=clock,
            chance=chance,
            accounts=accounts,
            oauth1=OAuth1(clock, chance, accounts, client_id, client_secret),
            apps=Apps(clock, chance, accounts),
            proofs=Proofs(clock, chance, accounts),
            aws=Aws(clock, chance, accounts),
            mcp=Mcp(chance, accounts),
            client_id=client_id,
            client_secret=client_secret,
            honour_idempotency_keys=honour_idempotency_keys,
        )

    @property
    def url(self) -> str:
        """The provider's address, without a trailing slash."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}"

    @property
    def notification_url(self) -> str:
        """The address of the sink that stands in for the app's own server."""
        return f"{self.url}/app/webhooks"

    @property
    def client_id(self) -> str:
        """The OAuth client the token endpoint knows."""
        return self._state.client_id

    @property
    def client_secret(self) -> str:
        """The secret of that client."""
        return self._state.client_secret

    @property
    def mcp(self) -> Mcp:
        """The MCP server at `/mcp` and its authorization server."""
        return self._state.mcp

    @property
    def calls(self) -> list[Call]:
        """Every call received so far, in order, control calls left out."""
        return self._state.calls

    @property
    def webhooks(self) -> list[Webhook]:
        """The webhooks that are registered now, of every account."""
        return list(self._state.webhooks.values())

    @property
    def notifications(self) -> list[Notification]:
        """What was posted to `notification_url`, in order."""
        return self._state.notifications

    @property
    def account_count(self) -> int:
        """How many accounts are open."""
        return len(self._state.accounts.by_name)

    def calls_to(self, method: str, path: str) -> list[Call]:
        """Return the calls with that method and exactly that path."""
        return [one for one in self.calls if one.method == method and one.path == path]

    def webhooks_of(self, account: Account) -> list[Webhook]:
        """Return the webhooks registered for an account."""
        return [one for one in self.webhooks if one.account == account.name]

    def add_account(
        self, name: str, *, organization_id: str | None = None, api_key: str | None = None
    ) -> Account:
        """Open an account with tokens, an API key and a password that work at once."""
        return self._state.accounts.add(name, organization_id=organization_id, api_key=api_key)

    def issue_tokens(self, account: Account) -> Account:
        """Give an account a new pair of tokens, as when its owner consents once more."""
        self._state.accounts.issue(account, refresh=True)
        return account

    def issue_code(self, account: Account) -> str:
        """Return an authorization code of an account."""
        return self._state.accounts.issue_code(account)

    def issue_signing_token(self, account: Account, *, realm: str | None = None) -> tuple[str, str]:
        """Return a token that signs requests (OAuth 1.0a), and its secret.

        With a realm it is one of token-based authentication: signatures have to name the realm
        and to be made with HMAC-SHA256.
        """
        return self._state.oauth1.issue(account, realm=realm)

    def register_app(
        self, app_id: str, public_key: str, setup_url: str, *, signs_in: bool = False
    ) -> str:
        """Register an app that accounts can install, and return where they do.

        Args:
            app_id: By which its JWTs name it.
            public_key: Which verifies them, in PEM form.
            setup_url: Where the browser goes after an installation.
            signs_in: Whether that address is brought a code as well.
        """
        slug = f"app-{app_id}"
        app = RegisteredApp(app_id, slug, public_key, setup_url, signs_in)
        self._state.apps.apps[slug] = app
        return f"{self.url}/apps/{slug}/installations/new"

    def install_app(self, app_id: str, account: Account) -> str:
        """Install an app for an account and return the installation's id."""
        return self._state.apps.install(self._state.apps.apps[f"app-{app_id}"], account)

    def verify_with(self, public_key: str) -> None:
        """Verify `RSA-SHA1` signatures with a public key in PEM form."""
        self._state.oauth1.public_key = public_key

    def signing_key(self, account: Account, kind: KeyKind = "EC") -> str:
        """Return the private key an account signs with: PEM, or for `HMAC` hexadecimal digits.

        Its id (`kid`) is the account's name, a slash, and the kind.
        """
        return self._state.proofs.key_of(account, kind)

    @property
    def aws_keys(self) -> tuple[str, str]:
        """Id and secret of the AWS keys that may assume the accounts' roles."""
        return self._state.aws.key_id, self._state.aws.secret

    @property
    def aws_session_secrets(self) -> list[str]:
        """Secrets and tokens of the roles that are assumed now."""
        return self._state.aws.session_secrets()

    def role_of(self, account: Account) -> str:
        """Return the AWS role that opens an account, for whoever assumes it first."""
        return self._state.aws.role_of(account)

    def expire(self, account: Account) -> None:
        """End what an account's calls carry now; refreshing still works."""
        self._state.accounts.expire(account)
        self._state.proofs.end(account)
        self._state.aws.end(account)

    def revoke(self, account: Account) -> None:
        """End every token of an account, refresh tokens included."""
        self._state.accounts.revoke(account)
        self._state.oauth1.revoke(account)

    def fail(self, kind: FaultKind, **options: Any) -> Fault:
        """Switch a fault on; options are the fields of `Fault`."""
        fault = Fault(kind, **options)
        self._state.faults.add(fault)
        return fault

    def recover(self) -> None:
        """Switch every fault off."""
        self._state.faults.clear()

    async def until(self, condition: Callable[[], bool], *, timeout_s: float = 10.0) -> None:
        """Wait until something the provider records makes `condition` true.

        Raises:
            TimeoutError: It did not become true in time.
        """
        async with asyncio.timeout(timeout_s), self._state.changed:
            await self._state.changed.wait_for(condition)

    async def start(self) -> None:
        """Begin to listen."""
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.middlewares.append(reception(self._state))
        application.add_routes(api_routes(self._state))
        application.add_routes(login_routes(self._state))
        application.add_routes(control_routes(self._state))
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, self._host, self._port, ssl_context=self._tls).start()
        self._port = runner.addresses[0][1]
        self._runner = runner

    async def stop(self) -> None:
        """Stop listening; calls that hang are let go."""
        self._state.stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()


def main(argv: list[str] | None = None) -> int:
    """Run a fake provider until it is interrupted; the first line printed is its JSON facts."""
    parser = argparse.ArgumentParser(prog="python -m carrick.testing.fake_provider")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--account", action="append", default=[], help="open an account; may be repeated"
    )
    parser.add_argument("--rotate-refresh-tokens", action="store_true")
    parser.add_argument("--honour-idempotency-keys", action="store_true")
    options = parser.parse_args(argv)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(options))
    return 0


async def _serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with FakeProvider(
        host=options.host,
        port=options.port,
        rotate_refresh_tokens=options.rotate_refresh_tokens,
        honour_idempotency_keys=options.honour_idempotency_keys,
    ) as provider:
        names = options.account or ["org-a", "org-b"]
        # Keys that can be guessed, so that a person can type them.
        accounts = [provider.add_account(name, api_key=f"{name}-key") for name in names]
        facts = {
            "url": provider.url,
            "control": f"{provider.url}{PREFIX}",
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
            "accounts": [account.to_json() for account in accounts],
        }
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main())
