"""Which addresses outbound calls may reach: the public internet, and what the settings allow.

Names are not judged, addresses are: a name is only as harmless as what it resolves to.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from functools import lru_cache

from carrick.errors import EgressDenied, SettingsInvalid

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Not public, though some Python versions call them global.
_REFUSED: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "100.64.0.0/10",  # carrier-grade NAT (RFC 6598), one cloud's metadata
        "192.0.0.0/24",  # protocol assignments (RFC 6890), another cloud's metadata
        "192.88.99.0/24",  # retired 6to4 relays (RFC 7526)
        "168.63.129.16/32",  # a cloud's host agent behind a public address
        "64:ff9b:1::/48",  # NAT64 into a network's own addresses (RFC 8215)
        "100::/64",  # discard-only (RFC 6666)
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation (RFC 9637)
        "5f00::/16",  # segment routing inside a network (RFC 9602)
        "fec0::/10",  # site-local, deprecated and still routed by some
        "::/96",  # loopback, unspecified, and IPv4-compatible addresses, long deprecated
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class EgressPolicy:
    """The rule for one address, with the networks that are allowed although they are private."""

    def __init__(self, allow: Sequence[str] = ()) -> None:
        """Take networks as the settings write them.

        Raises:
            SettingsInvalid: One of them is not a network.
        """
        try:
            self._allowed: tuple[Network, ...] = tuple(
                ipaddress.ip_network(text, strict=False) for text in allow
            )
        except ValueError as error:
            raise SettingsInvalid(
                f"CARRICK_EGRESS_ALLOW: {error}; write networks such as 10.0.0.0/8 or fd00::/8"
            ) from error

        self._judged = lru_cache(maxsize=4096)(self._judge)

    def permits(self, address: str) -> bool:
        """Whether a socket may be connected to an address; what is not an address may not."""
        return self._judged(address)

    def demand(self, address: str, host: str) -> None:
        """Refuse an address.

        Raises:
            EgressDenied: It is not one this server may call.
        """
        if not self.permits(address):
            raise denied(host)

    def _judge(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        meant = (parsed, *_embedded(parsed))
        if any(one in network for one in meant for network in self._allowed):
            return True
        return all(_is_public(one) for one in meant)


def denied(host: str) -> EgressDenied:
    """Say that a host may not be called, without telling what it resolves to."""
    return EgressDenied(
        f"{host} is not a public address. If this server may call it, "
        "add its network to CARRICK_EGRESS_ALLOW."
    )


def _is_public(address: Address) -> bool:
    if any(address in network for network in _REFUSED):
        return False
    if next(_embedded(address), None) is not None:
        return True  # only a road to the IPv4 address inside, which is judged beside it
    return address.is_global and not address.is_multicast


def _embedded(address: Address) -> Iterator[Address]:
    """Yield the IPv4 address that a gateway or the kernel would really connect to."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address in _NAT64:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
