"""The fake provider's MCP server, and the authorization server it names: clients register here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from carrick.model.clock import Chance
from carrick.testing._provider_accounts import Account, Accounts, TokenRefused, decode_basic

#: Below which the authorization server lies: its name has a path, as some have.
_TENANT = "/tenant"


@dataclass
class RegisteredClient:
    """A client that registered itself."""

    redirect_uris: list[str]
    auth_method: str
    secret: str | None


@dataclass
class Mcp:
    """One MCP server and its authorization server."""

    chance: Chance
    accounts: Accounts
    clients: dict[str, RegisteredClient] = field(default_factory=dict)
    #: What is changed in the documents, for a server that says something odd.
    resource_changes: dict[str, Any] = field(default_factory=dict)
    server_changes: dict[str, Any] = field(default_factory=dict)
    #: Whether the server's document is at the well-known place, or only pointed to.
    is_well_known: bool = True

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of both servers."""
        return [
            web.post("/mcp", self.call),
            web.post("/mcp/", self.call),
            web.get("/.well-known/oauth-protected-resource/mcp", self.well_known),
            web.get("/about-mcp", self.about),
            web.get(f"/.well-known/oauth-authorization-server{_TENANT}", self.server),
            web.post(f"{_TENANT}/register", self.register),
            web.get(f"{_TENANT}/authorize", self.authorize),
            web.post(f"{_TENANT}/token", self.token),
        ]

    async def call(self, request: web.Request) -> web.StreamResponse:
        """Answer a ping of somebody who is signed in; tell others where that is done."""
        account = self.accounts.identify(request.headers.get("Authorization"), None)
        if account is None:
            about = f"{_base(request)}/about-mcp"
            challenge = f'Bearer realm="mcp", resource_metadata="{about}"'
            return web.json_response({}, status=401, headers={"WWW-Authenticate": challenge})
        return web.json_response({"jsonrpc": "2.0", "id": 1, "result": {}})

    async def well_known(self, request: web.Request) -> web.StreamResponse:
        """Describe the MCP server, where clients look first."""
        if not self.is_well_known:
            return web.json_response({}, status=404)
        return await self.about(request)

    async def about(self, request: web.Request) -> web.StreamResponse:
        """Describe the MCP server (RFC 9728)."""
        base = _base(request)
        return web.json_response(
            {
                "resource": f"{base}/mcp",
                "authorization_servers": [base + _TENANT],
                "scopes_supported": ["tools"],
                **self.resource_changes,
            }
        )

    async def server(self, request: web.Request) -> web.StreamResponse:
        """Describe the authorization server (RFC 8414)."""
        issuer = _base(request) + _TENANT
        return web.json_response(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token",
                "registration_endpoint": f"{issuer}/register",
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
                **self.server_changes,
            }
        )

    async def register(self, request: web.Request) -> web.StreamResponse:
        """Register a client (RFC 7591)."""
        asked = await request.json()
        uris, method = asked.get("redirect_uris"), asked.get("token_endpoint_auth_method")
        if not uris or not all(isinstance(uri, str) for uri in uris):
            return web.json_response({"error": "invalid_redirect_uri"}, status=400)
        secret = None if method == "none" else self.chance.token_hex(20)
        client_id = f"client-{self.chance.token_hex(8)}"
        self.clients[client_id] = RegisteredClient(uris, method, secret)
        answer = {**asked, "client_id": client_id}
        if secret is not None:
            answer["client_secret"] = secret
        return web.json_response(answer, status=201)

    def know(self, document: Mapping[str, Any]) -> None:
        """Know a client by its document, as a server does that has read it."""
        method = document["token_endpoint_auth_method"]
        uris = list(document["redirect_uris"])
        self.clients[document["client_id"]] = RegisteredClient(uris, method, None)

    async def authorize(self, request: web.Request) -> web.StreamResponse:
        """Consent at once, for a client that is known, with PKCE and for this resource."""
        query, base = request.query, _base(request)
        client = self.clients.get(query.get("client_id", ""))
        if client is None or query.get("redirect_uri") not in client.redirect_uris:
            return web.json_response({"error": "invalid_client"}, status=400)
        if query.get("code_challenge_method") != "S256" or query.get("resource") != f"{base}/mcp":
            return web.json_response({"error": "invalid_target"}, status=400)
        hint = query.get("login_hint", "")
        account = self.accounts.by_name.get(hint) or next(iter(self.accounts))
        code = self.accounts.issue_code(
            account,
            redirect_uri=query["redirect_uri"],
            code_challenge=query["code_challenge"],
            scope=query.get("scope"),
        )
        back = {"code": code, "state": query.get("state", ""), "iss": base + _TENANT}
        location = f"{query['redirect_uri']}?{urlencode(back)}"
        return web.Response(status=302, headers={"Location": location})

    async def token(self, request: web.Request) -> web.StreamResponse:
        """Answer the token endpoint, to the client that the code was given to."""
        body = {name: str(value) for name, value in (await request.post()).items()}
        try:
            account = self._redeem(request, body)
        except TokenRefused as refusal:
            return web.json_response({"error": refusal.error}, status=refusal.status)
        answer = {
            "access_token": account.access_token,
            "refresh_token": account.refresh_token,
            "token_type": "Bearer",
            "expires_in": int(self.accounts.token_lifetime_s),
        }
        return web.json_response(answer)

    def _redeem(self, request: web.Request, body: Mapping[str, str]) -> Account:
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        is_basic = scheme.lower() == "basic"
        client_id, secret = (
            decode_basic(value)
            if is_basic
            else (body.get("client_id", ""), body.get("client_secret"))
        )
        client = self.clients.get(client_id)
        wants_basic = client is not None and client.auth_method == "client_secret_basic"
        if client is None or wants_basic != is_basic or client.secret != secret:
            raise TokenRefused("invalid_client", "", 401)
        if body.get("resource") != f"{_base(request)}/mcp":
            raise TokenRefused("invalid_target", "")
        if body.get("grant_type") == "refresh_token":
            return self.accounts.redeem_refresh_token(body.get("refresh_token", ""))
        return self.accounts.redeem_code(
            body.get("code", ""), body.get("redirect_uri"), body.get("code_verifier")
        )


def _base(request: web.Request) -> str:
    return f"{request.scheme}://{request.host}"
