"""The fake provider's API: tokens, identity, webhooks, an echo, a sink for notifications."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from html import escape
from typing import Any
from urllib.parse import unquote_plus, urlencode

from aiohttp import web

from carrick.testing._provider_accounts import Account, TokenRefused, decode_basic, same_text
from carrick.testing._provider_state import Notification, ProviderState, Webhook

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Plain REST, and the Apex REST class that the Salesforce example talks to.
WEBHOOK_PATHS = ("/webhooks", "/services/apexrest/webhooks")


_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

#: Under which a request keeps the account that its credentials open.
ACCOUNT = web.RequestKey("account", Account)


class NotSignedIn(Exception):
    """The call's credentials open nothing."""


def api_routes(state: ProviderState) -> list[web.RouteDef]:
    """Return every route of the provider's own API."""
    tokens = _Tokens(state)
    webhooks = _Webhooks(state)
    identity = _Identity(state)
    routes = [
        web.get("/oauth/authorize", tokens.authorize),
        web.get("/services/oauth2/authorize", tokens.authorize),
        web.post("/oauth/token", tokens.exchange),
        web.post("/services/oauth2/token", tokens.exchange),
        web.post("/oauth/revoke", tokens.revoke),
        web.post("/services/oauth2/revoke", tokens.revoke),
        web.get("/services/oauth2/userinfo", identity.salesforce),
        web.get("/user", identity.github),
        web.get("/api/me", identity.generic),
        web.get("/open/{open_account}/user", identity.github),
        web.get("/open/{open_account}/api/me", identity.generic),
        web.route("*", "/api/echo", identity.echo),
        web.post("/app/webhooks", _sink(state)),
        *state.oauth1.routes(),
        *state.apps.routes(),
        *state.mcp.routes(),
    ]
    for path in WEBHOOK_PATHS:
        routes += [
            web.post(path, webhooks.create),
            web.get(path, webhooks.list),
            web.get(f"{path}/{{id}}", webhooks.get),
            web.delete(f"{path}/{{id}}", webhooks.delete),
        ]
    return routes


async def caller(state: ProviderState, request: web.Request, body: bytes) -> Account | None:
    """Return the account whose credentials a request carries, or whose open page it reads."""
    headers = request.headers
    if "open_account" in request.match_info:
        return state.accounts.by_name.get(request.match_info["open_account"])
    if "X-WSSE" in headers:
        return state.proofs.username_token_of(headers["X-WSSE"])
    authorization = headers.get("Authorization", "")
    if authorization.startswith("OAuth "):
        return await state.oauth1.signed_by(request)
    if authorization.startswith("AWS4-"):
        return state.aws.signer_of(request, body)
    if "sessionId" in headers:
        account = state.accounts.identify(f"Bearer {headers['sessionId']}", None)
        is_ours = account is not None and headers.get("devKey") == account.api_key
        return account if is_ours else None
    signer = state.proofs.signer_of(authorization.removeprefix("Bearer "))
    account = signer or state.accounts.identify(authorization, headers.get("X-Api-Key"))
    shown = _certified(state, request)
    # Tokens are bound to the certificate they were bought with (RFC 8705 §3).
    return account if shown is None or shown is account else None


def _require_caller(state: ProviderState, request: web.Request) -> Account:
    account: Account | None = request.get(ACCOUNT)
    if account is None:
        raise NotSignedIn
    return account


def _certified(state: ProviderState, request: web.Request) -> Account | None:
    """Return the account named by the certificate that the caller showed in the handshake."""
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport is not None else None
    if not certificate:
        return None
    names = dict(pair for part in certificate["subject"] for pair in part)
    return state.accounts.by_name.get(names.get("commonName", ""))


class _Tokens:
    """The OAuth 2.0 endpoints."""

    def __init__(self, state: ProviderState) -> None:
        self._state = state

    async def authorize(self, request: web.Request) -> web.StreamResponse:
        """Consent at once, as the account named by `login_hint` or else the first one.

        The answer goes by a redirect, or with `response_mode=form_post` by a form.
        """
        query = request.query
        accounts = self._state.accounts
        account = accounts.by_name.get(query.get("login_hint", "")) or next(iter(accounts), None)
        if query.get("client_id") != self._state.client_id or "redirect_uri" not in query:
            return web.json_response({"error": "invalid_request"}, status=400)
        answer = {"state": query.get("state", "")}
        if account is None or query.get("deny"):
            answer["error"] = "access_denied"
        else:
            answer["code"] = accounts.issue_code(
                account,
                redirect_uri=query["redirect_uri"],
                code_challenge=query.get("code_challenge"),
                scope=query.get("scope"),
            )
        if query.get("response_mode") == "form_post":
            return _form_page(query["redirect_uri"], answer)
        location = f"{query['redirect_uri']}?{urlencode(answer)}"
        return web.Response(status=302, headers={"Location": location})

    async def exchange(self, request: web.Request) -> web.StreamResponse:
        """Answer the token endpoint."""
        body = await _fields(request)
        scope = self._state.accounts.scope_of_code(body.get("code", ""))
        try:
            account, with_refresh = self._redeem(request, body)
        except TokenRefused as refusal:
            return web.json_response(
                {"error": refusal.error, "error_description": refusal.description},
                status=refusal.status,
            )
        answer = {
            "access_token": account.access_token,
            "token_type": "Bearer",
            "expires_in": int(self._state.accounts.token_lifetime_s),
            "scope": scope or body.get("scope", "api refresh_token"),
            "instance_url": f"{request.scheme}://{request.host}",
            "id": f"{request.scheme}://{request.host}/id/{account.organization_id}",
        }
        if with_refresh:
            answer["refresh_token"] = account.refresh_token
        return web.json_response(answer, headers={"Cache-Control": "no-store"})

    async def revoke(self, request: web.Request) -> web.StreamResponse:
        """End a token; an unknown one is fine, as RFC 7009 asks."""
        body = await _fields(request)
        self._state.accounts.revoke_token(body.get("token", ""))
        return web.json_response({})

    def _redeem(self, request: web.Request, body: Mapping[str, str]) -> tuple[Account, bool]:
        accounts = self._state.accounts
        client_id, client_secret = _client(request, body)
        grant = body.get("grant_type")
        if grant == "client_credentials" and not client_secret:
            return self._known_without_secret(request, body, client_id), False
        if grant == "client_credentials":
            account = next((one for one in accounts if one.username == client_id), None)
            if account is None or not same_text(account.password, client_secret):
                raise TokenRefused("invalid_client", "unknown client id or secret", 401)
            accounts.issue(account, refresh=False)
            return account, False
        if client_id != self._state.client_id or not same_text(
            client_secret, self._state.client_secret
        ):
            raise TokenRefused("invalid_client", "unknown client id or secret", 401)
        if grant == "authorization_code":
            code = body.get("code", "")
            redirect_uri, verifier = body.get("redirect_uri"), body.get("code_verifier")
            return accounts.redeem_code(code, redirect_uri, verifier), True
        if grant == "refresh_token":
            account = accounts.redeem_refresh_token(body.get("refresh_token", ""))
            return account, accounts.rotate_refresh_tokens
        raise TokenRefused("unsupported_grant_type", f"grant_type {grant!r} is not offered")

    def _known_without_secret(
        self, request: web.Request, body: Mapping[str, str], client_id: str
    ) -> Account:
        """Know a client by its signed assertion (RFC 7523 §3) or certificate (RFC 8705 §2)."""
        account = _certified(self._state, request)
        if body.get("client_assertion_type") == _ASSERTION_TYPE:
            audience = f"{request.scheme}://{request.host}{request.path}"
            assertion = body.get("client_assertion", "")
            account = self._state.proofs.client_of(assertion, audience)
        if account is None or account.username != client_id:
            raise TokenRefused("invalid_client", "nothing proves who the client is", 401)
        self._state.accounts.issue(account, refresh=False)
        return account


class _Identity:
    """Who the credentials belong to."""

    def __init__(self, state: ProviderState) -> None:
        self._state = state

    async def salesforce(self, request: web.Request) -> web.StreamResponse:
        """Answer as Salesforce's OpenID Connect user info endpoint does."""
        account = _require_caller(self._state, request)
        return web.json_response(
            {
                "sub": f"{request.scheme}://{request.host}/id/{account.organization_id}",
                "user_id": account.user_id,
                "organization_id": account.organization_id,
                "preferred_username": account.email,
                "name": account.name,
                "email": account.email,
                "active": True,
            }
        )

    async def github(self, request: web.Request) -> web.StreamResponse:
        """Answer as GitHub's endpoint for the authenticated user does: with a number."""
        account = _require_caller(self._state, request)
        number = int.from_bytes(account.user_id.encode()[-4:], "big")
        return web.json_response({"id": number, "login": account.name, "email": account.email})

    async def generic(self, request: web.Request) -> web.StreamResponse:
        """Answer with the account in the plainest shape."""
        account = _require_caller(self._state, request)
        return web.json_response(
            {
                "id": account.user_id,
                "name": account.name,
                "email": account.email,
                "organization_id": account.organization_id,
            }
        )

    async def echo(self, request: web.Request) -> web.StreamResponse:
        """Answer with what was sent, for whoever wants to see what the caller made of it."""
        account = _require_caller(self._state, request)
        return web.json_response(
            {
                "method": request.method,
                "account": account.name,
                "query": [[name, value] for name, value in request.query.items()],
                "headers": {name.lower(): value for name, value in request.headers.items()},
                "body": await request.text(),
            }
        )


class _Webhooks:
    """Webhook subscriptions; each account sees its own."""

    def __init__(self, state: ProviderState) -> None:
        self._state = state

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Register an address."""
        account = _require_caller(self._state, request)
        try:
            body = await request.json()
        except ValueError:
            body = None
        if not isinstance(body, dict) or not isinstance(body.get("url"), str):
            return web.json_response({"error": "a JSON object with a url is needed"}, status=400)
        webhook = Webhook(
            id=f"wh_{self._state.chance.token_hex(8)}",
            account=account.name,
            url=body["url"],
            events=tuple(str(event) for event in body.get("events") or ()),
            created_at=self._state.clock.now(),
        )
        self._state.webhooks[webhook.id] = webhook
        return web.json_response(webhook.to_json(), status=201)

    async def list(self, request: web.Request) -> web.StreamResponse:
        """List the account's own."""
        account = _require_caller(self._state, request)
        own = [one for one in self._state.webhooks.values() if one.account == account.name]
        return web.json_response({"webhooks": [webhook.to_json() for webhook in own]})

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Show one."""
        webhook = self._own(request)
        if webhook is None:
            return web.json_response({"error": "not_found"}, status=404)
        return web.json_response(webhook.to_json())

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Remove one."""
        webhook = self._own(request)
        if webhook is None:
            return web.json_response({"error": "not_found"}, status=404)
        del self._state.webhooks[webhook.id]
        return web.Response(status=204)

    def _own(self, request: web.Request) -> Webhook | None:
        account = _require_caller(self._state, request)
        webhook = self._state.webhooks.get(request.match_info["id"])
        return webhook if webhook is not None and webhook.account == account.name else None


def _sink(state: ProviderState) -> Handler:
    async def receive(request: web.Request) -> web.StreamResponse:
        state.notifications.append(
            Notification(state.clock.now(), dict(request.headers), await request.read())
        )
        return web.json_response({"received": True})

    return receive


def _client(request: web.Request, body: Mapping[str, str]) -> tuple[str, str]:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        client_id, secret = decode_basic(value)
        return unquote_plus(client_id), unquote_plus(secret)  # RFC 6749 §2.3.1
    return body.get("client_id", ""), body.get("client_secret", "")


def _form_page(address: str, answer: Mapping[str, str]) -> web.Response:
    """Return a page that sends an answer on as a form, by itself."""
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(text)}">'
        for name, text in answer.items()
    )
    form = f'<form method="post" action="{escape(address)}">{fields}</form>'
    script = "<script>document.forms[0].submit()</script>"
    return web.Response(text=form + script, content_type="text/html")


async def _fields(request: web.Request) -> dict[str, str]:
    """Read the fields of a token request, sent as a form or as JSON."""
    if request.content_type == "application/json":
        try:
            body: Any = await request.json()
        except ValueError:
            return {}
        return {str(k): str(v) for k, v in body.items()} if isinstance(body, dict) else {}
    return {name: str(value) for name, value in (await request.post()).items()}
