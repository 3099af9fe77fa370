"""Undo Content-Encoding a piece at a time, so that a small answer cannot become a huge one."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from carrick.errors import ProviderAnswerInvalid

#: What this room can undo, and so the only encodings it asks for.
ACCEPTED = "gzip, deflate"
_PIECE = 64 * 1024
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_RAW_WINDOW = -zlib.MAX_WBITS


class Decoder:
    """Decodes a body that arrives in pieces; yields at most 64 KiB at a time."""

    def __init__(self, encoding: str | None) -> None:
        """Take the answer's Content-Encoding.

        Raises:
            ProviderAnswerInvalid: It is none that was asked for.
        """
        name = (encoding or "identity").strip().lower()
        if name not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise ProviderAnswerInvalid(f"The answer has an unknown encoding: {name[:50]}")
        self.changes = name not in ("", "identity")
        self._is_gzip = name in ("gzip", "x-gzip")
        self._stream: zlib._Decompress | None = None

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield what a piece of the body decodes to.

        Raises:
            ProviderAnswerInvalid: It is not encoded the way the answer says.
        """
        if not self.changes:
            yield data
            return
        while data:
            stream = self._stream or self._start(data)
            try:
                decoded = stream.decompress(data, _PIECE)
            except zlib.error as error:
                raise ProviderAnswerInvalid("The answer's encoding is damaged.") from error
            data = stream.unconsumed_tail
            if stream.eof:
                # A gzip body may be several members one after another; after the last one of a
                # deflate body nothing may follow that matters.
                data = stream.unused_data.lstrip(b"\0") if self._is_gzip else b""
                self._stream = None
            if decoded:
                yield decoded

    def finish(self) -> None:
        """Check that the body ended where its encoding does.

        Raises:
            ProviderAnswerInvalid: It was cut off.
        """
        if self._stream is not None:
            raise ProviderAnswerInvalid("The answer was cut off.")

    def _start(self, data: bytes) -> zlib._Decompress:
        window = _GZIP_WINDOW
        if not self._is_gzip:
            # "deflate" means zlib (RFC 9110 §8.4.1.2), and some servers send it bare.
            window = zlib.MAX_WBITS if data[0] & 0x0F == 8 else _RAW_WINDOW
        self._stream = zlib.decompressobj(window)
        return self._stream
