"""The provider that is measured against, in a process of its own.

The lifecycle talks to `FakeProvider`. Proxied calls go to a server that does next to nothing, so
that it is not the provider's speed that is measured.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import cast

import uvloop

from carrick.testing.fake_provider import FakeProvider

_BODY = json.dumps({"id": "acc_1", "name": "Org A", "email": "owner@org-a.example"}).encode()
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"Content-Length: " + str(len(_BODY)).encode() + b"\r\n\r\n" + _BODY
)


class _Plain(asyncio.Protocol):
    """Answers every request the same; requests have no body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._pending = b""

    def data_received(self, data: bytes) -> None:
        self._pending += data
        asked = self._pending.count(b"\r\n\r\n")
        if asked:
            self._pending = self._pending.rpartition(b"\r\n\r\n")[2]
            self._transport.write(_ANSWER * asked)


async def _serve() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    plain = await loop.create_server(_Plain, "127.0.0.1", 0)
    async with FakeProvider() as provider, plain:
        facts = {
            "url": provider.url,
            "plain_url": f"http://127.0.0.1:{plain.sockets[0].getsockname()[1]}",
            "api_key": provider.add_account("org-a").api_key,
        }
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    uvloop.run(_serve())
