"""`/__control__/`: the fake provider's switches and records for whoever is in another process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import Any

from aiohttp import web

from carrick.testing._provider_accounts import Account
from carrick.testing._provider_faults import Fault
from carrick.testing._provider_state import ProviderState

PREFIX = "/__control__"

_FAULT_FIELDS = {one.name for one in fields(Fault)}


def control_routes(state: ProviderState) -> list[web.RouteDef]:
    """Return the control routes; calls to them are neither recorded nor disturbed by faults."""
    control = _Control(state)
    return [
        web.get(f"{PREFIX}/calls", control.list_calls),
        web.delete(f"{PREFIX}/calls", control.forget_calls),
        web.get(f"{PREFIX}/faults", control.list_faults),
        web.post(f"{PREFIX}/faults", control.add_fault),
        web.delete(f"{PREFIX}/faults", control.clear_faults),
        web.get(f"{PREFIX}/accounts", control.list_accounts),
        web.post(f"{PREFIX}/accounts", control.add_account),
        web.post(f"{PREFIX}/accounts/{{name}}/expire", control.of_account(state.accounts.expire)),
        web.post(f"{PREFIX}/accounts/{{name}}/revoke", control.of_account(state.accounts.revoke)),
        web.post(f"{PREFIX}/accounts/{{name}}/codes", control.issue_code),
        web.get(f"{PREFIX}/webhooks", control.list_webhooks),
        web.get(f"{PREFIX}/notifications", control.list_notifications),
        web.delete(f"{PREFIX}/notifications", control.forget_notifications),
        web.patch(f"{PREFIX}/settings", control.change_settings),
    ]


class _Control:
    def __init__(self, state: ProviderState) -> None:
        self._state = state

    async def list_calls(self, request: web.Request) -> web.Response:
        return web.json_response({"calls": [call.to_json() for call in self._state.calls]})

    async def forget_calls(self, request: web.Request) -> web.Response:
        self._state.calls.clear()
        return web.Response(status=204)

    async def list_faults(self, request: web.Request) -> web.Response:
        return web.json_response({"faults": self._state.faults.to_json()})

    async def add_fault(self, request: web.Request) -> web.Response:
        body = await _object(request)
        unknown = sorted(body.keys() - _FAULT_FIELDS)
        if unknown:
            return _refuse(f"a fault has no {', '.join(unknown)}")
        try:
            fault = Fault(**body)
        except (TypeError, ValueError) as error:
            return _refuse(str(error))
        self._state.faults.add(fault)
        return web.json_response(fault.to_json(), status=201)

    async def clear_faults(self, request: web.Request) -> web.Response:
        self._state.faults.clear()
        return web.Response(status=204)

    async def list_accounts(self, request: web.Request) -> web.Response:
        return web.json_response({"accounts": [one.to_json() for one in self._state.accounts]})

    async def add_account(self, request: web.Request) -> web.Response:
        body = await _object(request)
        name = body.get("name")
        if not isinstance(name, str) or not name:
            return _refuse("an account needs a name")
        account = self._state.accounts.add(name, organization_id=body.get("organization_id"))
        return web.json_response(account.to_json(), status=201)

    def of_account(
        self, change: Callable[[Account], None]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def apply(request: web.Request) -> web.Response:
            account = self._state.accounts.by_name.get(request.match_info["name"])
            if account is None:
                return _refuse("there is no such account", status=404)
            change(account)
            return web.Response(status=204)

        return apply

    async def issue_code(self, request: web.Request) -> web.Response:
        account = self._state.accounts.by_name.get(request.match_info["name"])
        if account is None:
            return _refuse("there is no such account", status=404)
        return web.json_response({"code": self._state.accounts.issue_code(account)}, status=201)

    async def list_webhooks(self, request: web.Request) -> web.Response:
        held = self._state.webhooks.values()
        return web.json_response(
            {"webhooks": [{**one.to_json(), "account": one.account} for one in held]}
        )

    async def list_notifications(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"notifications": [one.to_json() for one in self._state.notifications]}
        )

    async def forget_notifications(self, request: web.Request) -> web.Response:
        self._state.notifications.clear()
        return web.Response(status=204)

    async def change_settings(self, request: web.Request) -> web.Response:
        body = await _object(request)
        accounts = self._state.accounts
        if "honour_idempotency_keys" in body:
            self._state.honour_idempotency_keys = bool(body["honour_idempotency_keys"])
        if "rotate_refresh_tokens" in body:
            accounts.rotate_refresh_tokens = bool(body["rotate_refresh_tokens"])
        if "token_lifetime_s" in body:
            accounts.token_lifetime_s = float(body["token_lifetime_s"])
        return web.json_response(
            {
                "honour_idempotency_keys": self._state.honour_idempotency_keys,
                "rotate_refresh_tokens": accounts.rotate_refresh_tokens,
                "token_lifetime_s": accounts.token_lifetime_s,
            }
        )


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {}


def _refuse(message: str, *, status: int = 400) -> web.Response:
    return web.json_response({"error": message}, status=status)
