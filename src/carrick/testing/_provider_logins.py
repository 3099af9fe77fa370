"""Logins of the fake provider that are no OAuth: two steps with a cookie, XML, BILL's sessions."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from aiohttp import web

from carrick.testing._provider_accounts import Account, TokenRefused, same_text
from carrick.testing._provider_state import ProviderState

_REFUSED = {"success": False, "message": "wrong user name or password"}


def login_routes(state: ProviderState) -> list[web.RouteDef]:
    """Return the routes of every login."""
    logins = _Logins(state)
    return [
        web.post("/two-step/login", logins.first),
        web.post("/two-step/token", logins.second),
        web.post("/two-step/refresh", logins.refresh),
        web.post("/two-step/xml", logins.xml),
        web.post("/two-step/assertion", logins.assertion),
        web.post("/bill/login", logins.bill),
        web.post("/sts", state.aws.sts),
    ]


class _Logins:
    def __init__(self, state: ProviderState) -> None:
        self._state = state

    async def first(self, request: web.Request) -> web.StreamResponse:
        """Take user name and password, answer with a ticket and a cookie."""
        account = self._by_password(await _json(request))
        if account is None:
            return web.json_response(_REFUSED, status=401)
        ticket = self._state.accounts.issue_code(account)
        answer = web.json_response({"data": {"ticket": ticket}})
        answer.set_cookie("stage", account.user_id, expires="Wed, 21 Oct 2099 07:28:00 GMT")
        answer.set_cookie("lang", "en")
        return answer

    async def second(self, request: web.Request) -> web.StreamResponse:
        """Take the ticket with the cookie of the first step, once, and answer with tokens."""
        accounts = self._state.accounts
        try:
            account = accounts.redeem_code(request.headers.get("X-Ticket", ""), None, None)
        except TokenRefused as refusal:
            return web.json_response({"error": refusal.description}, status=403)
        if request.cookies.get("stage") != account.user_id:
            return web.json_response({"error": "the cookie is missing"}, status=403)
        return self._tokens(account)

    async def refresh(self, request: web.Request) -> web.StreamResponse:
        """Take a refresh token."""
        token = str((await _json(request)).get("refresh_token"))
        try:
            account = self._state.accounts.redeem_refresh_token(token)
        except TokenRefused as refusal:
            return web.json_response({"error": refusal.description}, status=401)
        return self._tokens(account)

    async def xml(self, request: web.Request) -> web.StreamResponse:
        """Take user name and password as a document."""
        document = ElementTree.fromstring(await request.read())  # noqa: S314 - from the test
        fields = {one.tag: one.text or "" for one in document.iter()}
        account = self._by_password(fields)
        if account is None:
            text = "<fault><error>denied</error></fault>"
            return web.Response(text=text, status=401, content_type="application/xml")
        self._state.accounts.issue(account, refresh=False)
        seconds = int(self._state.accounts.token_lifetime_s)
        text = (
            f'<?xml version="1.0"?><s:reply xmlns:s="urn:s"><s:session lifetime="{seconds}">'
            f"<s:id>{escape(account.access_token)}</s:id></s:session></s:reply>"
        )
        return web.Response(text=text, content_type="application/xml")

    async def assertion(self, request: web.Request) -> web.StreamResponse:
        """Take a signed assertion (RFC 7523 §2.1), as a parameter or as a bearer token."""
        fields = await request.post()
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        account = self._state.proofs.signer_of(str(fields.get("assertion", bearer)))
        if account is None:
            return web.json_response({"error": "invalid_grant"}, status=400)
        return self._tokens(account)

    async def bill(self, request: web.Request) -> web.StreamResponse:
        """Open a session."""
        body = await _json(request)
        account = self._by_password(body)
        is_whole = account is not None and (
            body.get("organizationId") == account.organization_id
            and same_text(str(body.get("devKey")), account.api_key)
        )
        if account is None or not is_whole:
            fault = {"code": "BDC_1103", "message": "Username or password is incorrect."}
            return web.json_response([fault], status=401)
        self._state.accounts.issue(account, refresh=False)
        session = {"sessionId": account.access_token, "userId": account.user_id}
        return web.json_response({**session, "organizationId": account.organization_id})

    def _tokens(self, account: Account) -> web.StreamResponse:
        self._state.accounts.issue(account, refresh=True)
        return web.json_response(
            {
                "result": {
                    "token": account.access_token,
                    "refresh": account.refresh_token,
                    "lifetime": int(self._state.accounts.token_lifetime_s),
                },
                "region": "eu",
            }
        )

    def _by_password(self, fields: dict[str, Any]) -> Account | None:
        name, password = str(fields.get("username")), str(fields.get("password"))
        account = next((one for one in self._state.accounts if one.username == name), None)
        return account if account is not None and same_text(account.password, password) else None


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
