"""Which servers may receive a connection's credentials: the provider's own, and those the
developer named on the integration (`override_hosts`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from carrick.errors import BaseUrlOverrideNotAllowed, InvalidConnectionConfig
from carrick.providers.address import fault_of_url

_PORTS = {"http": 80, "https": 443}
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port of a URL."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Read the origin of an absolute URL.

        Raises:
            BaseUrlOverrideNotAllowed: It is none a call can be sent to.
        """
        bare = url.split("?", 1)[0].split("#", 1)[0]
        fault = fault_of_url(_without_spaces(bare))
        if fault:
            raise BaseUrlOverrideNotAllowed(f"The address of the call {fault}.")
        parts = urlsplit(bare)
        return cls(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme])


def _without_spaces(url: str) -> str:
    """Keep a path readable: spaces and non-ASCII text there are encoded later, `@` is harmless."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    safe = "".join("x" if char in " @\\" or not char.isascii() else char for char in path)
    return f"{scheme}{separator}{authority}{slash}{safe}"


@dataclass(frozen=True)
class Allowed:
    """Servers that may receive the credentials."""

    own: frozenset[Origin]
    named: tuple[str, ...]

    @classmethod
    def of(cls, base_urls: Iterable[str], hosts: Iterable[str], named: Iterable[str]) -> Allowed:
        """Build it.

        Args:
            base_urls: The provider's filled base URLs.
            hosts: Further hosts of the provider, https only; `*.example.com` for all below.
            named: The integration's `override_hosts`.
        """
        origins = set()
        for url in base_urls:
            try:
                origins.add(Origin.of(url))
            except (BaseUrlOverrideNotAllowed, InvalidConnectionConfig):
                continue  # not filled in for this connection, so nobody's server
        return cls(frozenset(origins), (*(f"https://{host}" for host in hosts), *named))

    def permits(self, origin: Origin) -> bool:
        """Whether a server may receive the credentials."""
        return origin in self.own or any(_matches(entry, origin) for entry in self.named)

    def demand(self, origin: Origin) -> None:
        """Refuse a server that may not receive the credentials.

        Raises:
            BaseUrlOverrideNotAllowed: The message names the server and how to allow it.
        """
        if not self.permits(origin):
            entry = f"{origin.host}:{origin.port}"
            raise BaseUrlOverrideNotAllowed(
                f"{origin.scheme}://{entry} is not an address of this provider, so the "
                f"connection's credentials are not sent there. To allow it, add {entry} to "
                "override_hosts of the integration."
            )


def _matches(entry: str, origin: Origin) -> bool:
    """Compare with `[scheme://]host[:port]`.

    Without a scheme: https, or http on this machine or where a port is named. Without a port:
    the scheme's own.
    """
    scheme, separator, rest = entry.strip().lower().rpartition("://")
    try:
        parts = urlsplit(f"//{rest.rstrip('/')}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not _host_matches(host, origin.host):
        return False
    if separator:
        is_scheme = origin.scheme == scheme
    else:
        is_scheme = origin.scheme == "https" or port is not None or host in _LOOPBACK
    return is_scheme and origin.port == (port or _PORTS[origin.scheme])


def _host_matches(wanted: str, host: str) -> bool:
    if wanted.startswith("*."):
        return host.endswith(wanted[1:]) and len(host) > len(wanted) - 1
    return bool(wanted) and wanted == host
