"""Client certificates for the TLS handshake: one context each, so that connections are reused."""

from __future__ import annotations

import hashlib
import os
import ssl
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from carrick.errors import ClientCertificateInvalid
from carrick.model.http import ClientCertificate

#: How many are kept; each holds a copy of the trusted certificates.
_MOST = 64


class ClientContexts:
    """TLS contexts by certificate. A connection made with one is never used for another."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, ssl.SSLContext] = OrderedDict()

    def of(self, own: ClientCertificate) -> ssl.SSLContext:
        """Return the context that shows a certificate.

        Raises:
            ClientCertificateInvalid: Certificate and key are not PEM, or do not belong together.
        """
        text = _pem(own.certificate) + _pem(own.private_key)
        digest = hashlib.sha256(text).digest()
        context = self._known.get(digest)
        if context is None:
            context = _context(text)
            self._known[digest] = context
            if len(self._known) > _MOST:
                self._known.popitem(last=False)
        self._known.move_to_end(digest)
        return context


def _context(text: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        with _as_file(text) as path:
            # Without an answer of ours OpenSSL would ask the terminal for a pass phrase.
            context.load_cert_chain(path, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ClientCertificateInvalid from error
    return context


@contextmanager
def _as_file(text: bytes) -> Iterator[str]:
    """Offer text as the file that OpenSSL insists on: in memory where the system has that."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").exists():
        with os.fdopen(os.memfd_create("client-certificate", os.MFD_CLOEXEC), "wb") as file:
            file.write(text)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.NamedTemporaryFile("wb") as file:  # readable by this user alone
        file.write(text)
        file.flush()
        yield file.name


def _pem(text: str) -> bytes:
    """Undo what copying through forms and variables does to line ends."""
    return text.strip().replace("\\n", "\n").replace("\r\n", "\n").encode() + b"\n"
