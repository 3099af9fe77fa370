"""The socket a browser opens before its popup: it gets a name at once and an outcome in the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, cast

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from carrick.api.popups import Popups, TooManyWaiting, Waiting
from carrick.api.services import Services

_TRY_AGAIN_LATER = 1013


async def wait_for_outcome(socket: WebSocket) -> None:
    """Keep a socket until its outcome is there, or it goes away."""
    popups: Popups = cast(Services, socket.app.state.services).popups
    await socket.accept()
    try:
        with popups.waiting() as waiting:
            acknowledgement = {"message_type": "connection_ack", "ws_client_id": waiting.id}
            # It may be gone before it is told its own name, and at any time after.
            with contextlib.suppress(WebSocketDisconnect):
                await socket.send_text(json.dumps(acknowledgement))
                await _tell(socket, waiting, popups.longest_wait_s)
    except TooManyWaiting:
        await socket.close(_TRY_AGAIN_LATER)


async def _tell(socket: WebSocket, waiting: Waiting, longest_wait_s: float) -> None:
    gone = asyncio.create_task(_gone(socket))
    try:
        first: set[asyncio.Future[Any]] = {gone, waiting.frame}
        left, _ = await asyncio.wait(
            first, timeout=longest_wait_s, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        gone.cancel()
    if waiting.frame.done():
        await socket.send_text(waiting.frame.result())
    if waiting.frame.done() or not left:
        await socket.close()


async def _gone(socket: WebSocket) -> None:
    """Come back when the other side has left. What it says meanwhile means nothing."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


route = WebSocketRoute("/", wait_for_outcome, name="popups")
