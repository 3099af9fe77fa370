"""Names to addresses, once, with every address judged before a socket may go there."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult

from carrick.egress.policy import EgressPolicy, denied

#: Lookups wait in threads of their own: a name server that hangs must not hold up the store's.
_THREADS = 16


class CheckedResolver(AbstractResolver):
    """Resolves by the system's rules and keeps only the addresses that the policy permits.

    The connection is then made to one of those, never to the name, so an answer that changes
    between check and use changes nothing.
    """

    def __init__(self, policy: EgressPolicy) -> None:
        self._policy = policy
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the permitted addresses of a host.

        Raises:
            EgressDenied: It has addresses, and none is permitted.
            OSError: It has none.
        """
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, _look_up, host, port, socket.AddressFamily(family)
        )
        permitted = [one for one in found if self._policy.permits(one["host"])]
        if found and not permitted:
            raise denied(host)
        return permitted

    async def close(self) -> None:
        """Let go of the threads; a lookup that hangs ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    try:
        answers = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is empty or too long to be looked up
        raise OSError("not a valid host name") from error
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return [
        ResolveResult(
            hostname=host,
            host=_scoped(address),
            port=port,
            family=found_family,
            proto=proto,
            flags=numeric,
        )
        for found_family, _, proto, _, address in answers
    ]


def _scoped(address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> str:
    host = str(address[0])
    if len(address) == 4 and address[3] and "%" not in host:
        return f"{host}%{address[3]}"
    return host
