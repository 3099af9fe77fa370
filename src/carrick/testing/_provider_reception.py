"""What happens to every call before and after its route: recorded, disturbed, replayed."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from carrick.testing._provider_api import ACCOUNT, NotSignedIn, caller
from carrick.testing._provider_control import PREFIX
from carrick.testing._provider_faults import Fault, wrong_answer
from carrick.testing._provider_state import Call, ProviderState, RecordedAnswer

#: Bytes of a received body that are kept with the call.
_KEPT_BODY = 64 * 1024


def reception(state: ProviderState) -> Middleware:
    """Build the middleware that every call passes, control calls untouched."""

    @web.middleware
    async def receive(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(PREFIX):
            return await handler(request)
        call = await _record(state, request)
        fault = state.faults.take(request.method, request.path)
        response = await _respond(state, request, handler, call, fault)
        if fault is None or fault.kind not in ("hang", "close"):
            call.status = response.status
        await state.announce()
        return response

    return receive


async def _record(state: ProviderState, request: web.Request) -> Call:
    body = await request.read()
    account = await caller(state, request, body)
    if account is not None:
        request[ACCOUNT] = account
    call = Call(
        number=len(state.calls) + 1,
        at=state.clock.now(),
        method=request.method,
        path=request.path,
        query=request.query_string,
        account=account.name if account else None,
        idempotency_key=request.headers.get("Idempotency-Key"),
        headers=dict(request.headers),
        body=body[:_KEPT_BODY].decode("utf-8", errors="replace"),
    )
    state.calls.append(call)
    await state.announce()
    return call


async def _respond(
    state: ProviderState, request: web.Request, handler: Handler, call: Call, fault: Fault | None
) -> web.StreamResponse:
    if fault is None:
        return await _answer(state, request, handler, call)
    call.fault = fault.kind
    if fault.kind == "slow":
        await state.clock.sleep(fault.delay_s)
        return await _answer(state, request, handler, call)
    if fault.after:
        await _answer(state, request, handler, call)
    if fault.kind == "hang":
        await state.stopping.wait()
    if fault.kind in ("hang", "close"):
        if request.transport is not None:
            request.transport.abort()
        return web.Response()
    return wrong_answer(fault)


async def _answer(
    state: ProviderState, request: web.Request, handler: Handler, call: Call
) -> web.StreamResponse:
    key = (call.account, call.method, call.path, call.idempotency_key or "")
    recorded = state.answers.get(key)
    if state.honour_idempotency_keys and recorded is not None:
        call.replayed = True
        return web.Response(
            status=recorded.status, body=recorded.body, content_type=recorded.content_type
        )
    try:
        response = await handler(request)
    except NotSignedIn:
        return web.json_response(
            {"error": "invalid_token", "message": "Session expired or invalid"},
            status=401,
            headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
        )
    except web.HTTPException as error:
        return web.json_response({"error": error.reason}, status=error.status)
    is_write = call.method in ("POST", "PUT", "PATCH") and call.idempotency_key is not None
    if is_write and isinstance(response, web.Response) and response.status < 300:
        body = response.body if isinstance(response.body, bytes) else b""
        state.answers[key] = RecordedAnswer(response.status, body, response.content_type)
    return response
