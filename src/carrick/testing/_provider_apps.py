"""The fake provider's apps: installed by an account, proven by a JWT, as GitHub has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlencode

from aiohttp import web

from carrick.model.clock import Chance, Clock
from carrick.testing._provider_accounts import Account, Accounts

#: The longest a JWT of an app may last.
_LONGEST_S = 600
_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class RegisteredApp:
    """An app as its developer registered it."""

    app_id: str
    slug: str
    public_key: str
    #: Where the browser goes after an installation.
    setup_url: str
    #: Whether the user signs in on the way, so that the callback has a code.
    signs_in: bool = False


@dataclass
class Apps:
    """Apps and their installations at one fake provider."""

    clock: Clock
    chance: Chance
    accounts: Accounts
    apps: dict[str, RegisteredApp] = field(default_factory=dict)
    installations: dict[str, tuple[RegisteredApp, Account]] = field(default_factory=dict)

    def install(self, app: RegisteredApp, account: Account) -> str:
        """Install an app and return the number of the installation."""
        number = str(1000 + len(self.installations))
        self.installations[number] = (app, account)
        return number

    def routes(self) -> list[web.RouteDef]:
        """Return what browsers, apps and users ask."""
        return [
            web.get("/apps/{slug}/installations/new", self.ask_to_install),
            web.post("/app/installations/{number}/access_tokens", self.access_token),
            web.get("/user/installations/{number}/repositories", self.repositories),
            web.get("/plugins/new", self.install_plugin),
        ]

    async def ask_to_install(self, request: web.Request) -> web.StreamResponse:
        """Install at once, for the account named by `login_hint`; `ask` waits for an approval."""
        app = self.apps.get(request.match_info["slug"])
        account = self._whose(request)
        if app is None or account is None:
            return web.json_response({"message": "Not Found"}, status=404)
        query = {"state": request.query.get("state", "")}
        if app.signs_in:
            query["code"] = self.accounts.issue_code(account)
        if request.query.get("ask"):
            query["setup_action"] = "request"
        else:
            query["installation_id"] = self.install(app, account)
            query["setup_action"] = "install"
        location = f"{app.setup_url}?{urlencode(query)}"
        return web.Response(status=302, headers={"Location": location})

    async def access_token(self, request: web.Request) -> web.StreamResponse:
        """Give an app that proves itself a token of its installation."""
        app, account = self.installations.get(request.match_info["number"], (None, None))
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        issuer = self._issuer(token)
        if issuer is None:
            return web.json_response({"message": "A JWT could not be decoded"}, status=401)
        if app is None or account is None or app is not issuer:
            return web.json_response({"message": "Not Found"}, status=404)
        self.accounts.issue(account, refresh=False)
        ends_at = self.clock.now() + _HOUR
        answer = {
            "token": account.access_token,
            "expires_at": ends_at.isoformat(timespec="seconds"),
            "permissions": {"contents": "read"},
        }
        return web.json_response(answer, status=201)

    async def repositories(self, request: web.Request) -> web.StreamResponse:
        """Show an installation to users of the account that has it, and to nobody else."""
        user = self.accounts.identify(request.headers.get("Authorization"), None)
        _, owner = self.installations.get(request.match_info["number"], (None, None))
        if user is None or owner is not user:
            return web.json_response({"message": "Not Found"}, status=404)
        return web.json_response({"repositories": []})

    async def install_plugin(self, request: web.Request) -> web.StreamResponse:
        """Install a plugin, whose callback names the account."""
        account = self._whose(request)
        if account is None or request.query.get("deny"):
            query = {"error": "access_denied"}
        else:
            query = {"username": account.username, "password": account.password}
            query["site"] = account.organization_id
        query["payload"] = request.query.get("payload", "")
        location = f"{request.query['back']}?{urlencode(query)}"
        return web.Response(status=302, headers={"Location": location})

    def _whose(self, request: web.Request) -> Account | None:
        hint = request.query.get("login_hint", "")
        return self.accounts.by_name.get(hint) or next(iter(self.accounts), None)

    def _issuer(self, token: str) -> RegisteredApp | None:
        """Return the app that signed a JWT with its own key, not too long ago."""
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import RSAKey

        now = self.clock.now().timestamp()
        for app in self.apps.values():
            try:
                claims = jwt.decode(token, RSAKey.import_key(app.public_key), ["RS256"]).claims
            except (JoseError, ValueError):
                continue
            issued, ends = claims.get("iat", now + 1), claims.get("exp", 0)
            is_fresh = issued <= now < ends and ends - issued <= _LONGEST_S
            if is_fresh and claims.get("iss") == app.app_id:
                return app
        return None
