"""The outward calls of a context: to the provider with its credentials, and to others without."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Unpack

from carrick.sdk.errors import (
    CarrickUsageError,
    HostError,
    IncompleteDryRun,
    ProviderError,
    WriteOutcomeUnknown,
)
from carrick.sdk.host import Host
from carrick.sdk.pages import Pagination, walk
from carrick.sdk.placeholder import OPENING
from carrick.sdk.request import CallOptions, ReadOptions, build_request
from carrick.sdk.response import Response

#: What these host errors mean to an author: the provider did not answer, or in no way that could
#: be taken in. None of it says anything about what was asked.
_SILENCE = frozenset(
    {
        "provider_unreachable",
        "provider_timeout",
        "provider_answer_invalid",
        "provider_answer_too_large",
    }
)
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_QUOTED_OPENING = re.compile("%C2%AB", re.IGNORECASE)


class Calls:
    """The calls that leave through the host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._withheld: list[str] = []

    async def get(self, endpoint: str, **options: Unpack[ReadOptions]) -> Response:
        """Read from the provider.

        Raises:
            ProviderError: The answer is not 2xx, or there is none.
        """
        return await self._send("provider", "GET", endpoint, options)

    async def post(self, endpoint: str, **options: Unpack[CallOptions]) -> Response:
        """Write to the provider, once however often the run is tried.

        Raises:
            ProviderError: The answer is not 2xx, or there is none.
        """
        return await self._send("provider", "POST", endpoint, options)

    async def put(self, endpoint: str, **options: Unpack[CallOptions]) -> Response:
        """Write to the provider, once however often the run is tried.

        Raises:
            ProviderError: The answer is not 2xx, or there is none.
        """
        return await self._send("provider", "PUT", endpoint, options)

    async def patch(self, endpoint: str, **options: Unpack[CallOptions]) -> Response:
        """Write to the provider, once however often the run is tried.

        Raises:
            ProviderError: The answer is not 2xx, or there is none.
        """
        return await self._send("provider", "PATCH", endpoint, options)

    async def delete(self, endpoint: str, **options: Unpack[CallOptions]) -> Response:
        """Delete at the provider, once however often the run is tried.

        Raises:
            ProviderError: The answer is not 2xx, or there is none.
        """
        return await self._send("provider", "DELETE", endpoint, options)

    async def proxy(self, method: str, endpoint: str, **options: Unpack[CallOptions]) -> Response:
        """Call the provider with a method that is known only at run time.

        Raises:
            ProviderError: The answer is not 2xx, or there is none.
        """
        return await self._send("provider", method, endpoint, options)

    async def fetch(
        self, url: str, method: str = "GET", **options: Unpack[CallOptions]
    ) -> Response:
        """Call any public address, without the connection's credentials.

        Raises:
            ProviderError: The answer is not 2xx, or there is none.
        """
        return await self._send("fetch", method, url, options)

    async def paginate(
        self,
        endpoint: str,
        *,
        method: str = "GET",
        paginate: Pagination | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncIterator[list[Any]]:
        """Yield a list's items page by page: `async for contacts in ctx.paginate("/contacts")`.

        Args:
            endpoint: The address of the first page.
            method: How pages are asked for.
            paginate: What differs from the provider's definition, or all of it.
            options: As for the other calls.

        Raises:
            ProviderError: The answer is not 2xx, or there is none.
            CarrickUsageError: Nobody said how this provider hands out pages.
        """
        config = await self._call("paginate_config", {})
        merged: dict[str, Any] = {**(config or {}), **(paginate or {})}

        async def send(method: str, endpoint: str, options: dict[str, Any]) -> Response:
            return await self._send("provider", method, endpoint, options)

        async for items in walk(send, method, endpoint, options, merged):
            yield items

    async def _send(
        self, kind: str, method: str, endpoint: str, options: Mapping[str, Any]
    ) -> Response:
        request = build_request(kind, method, endpoint, options)
        self._demand_real(request)
        answer = await self._call("request", request)
        withheld = answer.get("withheld")
        if withheld is not None:
            self._withheld.append(withheld)
        response = Response(
            answer["status"],
            answer["headers"],
            answer["body"],
            response_type=options.get("response_type"),
            method=request["method"],
            endpoint=request["endpoint"],
            withheld=withheld,
        )
        if not response.ok:
            raise ProviderError(response)
        return response

    def _demand_real(self, request: dict[str, Any]) -> None:
        """Stop a dry run that would read at an address only a real write would have given."""
        if not self._withheld or request["method"] not in _READS:
            return
        text = f"{request['endpoint']} {request['params']} {request['headers']}"
        if OPENING in text or _QUOTED_OPENING.search(text):
            raise IncompleteDryRun(
                f"{request['method']} {request['endpoint']} needs an answer of a withheld write"
            )

    async def _call(self, method: str, params: dict[str, Any]) -> Any:
        try:
            return await self._host.call(method, params)
        except HostError as error:
            if error.code in _SILENCE:
                raise ProviderError(None, error.message) from error
            if error.code == "not_declared":
                raise CarrickUsageError(error.message) from error
            if error.code == "unknown_write":
                where = str(params.get("method", method)), str(params.get("endpoint", ""))
                raise WriteOutcomeUnknown(*where) from error
            if error.code == "incomplete":
                raise IncompleteDryRun(error.message) from error
            raise
