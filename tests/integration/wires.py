"""The wire between a server and its database, which a test can cut, or make silent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Wire:
    """Carries bytes to a Postgres server."""

    def __init__(self, database_url: str) -> None:
        self._parts = urlsplit(database_url)
        self._ends: set[asyncio.StreamWriter] = set()
        self._carries = asyncio.Event()
        self._carries.set()
        self._is_cut = False
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The database's address at this end."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user = self._parts.username or "postgres"
        return f"postgresql://{user}@127.0.0.1:{port}{self._parts.path}"

    def cut(self) -> None:
        """Break every connection, and refuse new ones."""
        self._is_cut = True
        for end in self._ends:
            end.transport.abort()

    def mend(self) -> None:
        """Carry again."""
        self._is_cut = False
        self._carries.set()

    def fall_silent(self) -> None:
        """Keep every connection, and carry nothing."""
        self._carries.clear()

    async def _on_connection(self, *near: asyncio.StreamReader | asyncio.StreamWriter) -> None:
        reader, writer = near
        assert isinstance(reader, asyncio.StreamReader)
        assert isinstance(writer, asyncio.StreamWriter)
        if self._is_cut:
            writer.transport.abort()
            return
        far_reader, far_writer = await self._far()
        self._ends |= {writer, far_writer}
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._ends -= {writer, far_writer}

    async def _far(self) -> _Streams:
        folder = parse_qs(self._parts.query).get("host", [""])[0]
        if folder.startswith("/"):
            path = f"{folder}/.s.PGSQL.{self._parts.port or 5432}"
            return await asyncio.open_unix_connection(path)
        return await asyncio.open_connection(self._parts.hostname, self._parts.port or 5432)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await self._carries.wait()
                sink.write(data)
                await sink.drain()
        sink.close()


@contextlib.asynccontextmanager
async def wire_to(database_url: str) -> AsyncIterator[Wire]:
    """Lay a wire to a database."""
    wire = Wire(database_url)
    wire._server = await asyncio.start_server(wire._on_connection, "127.0.0.1", 0)
    try:
        yield wire
    finally:
        wire.mend()
        wire.cut()
        wire._server.close()
