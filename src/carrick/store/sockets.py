"""What makes a connection to Postgres notice that the other end has fallen silent.

A network that drops packets tells nobody. Without more ado TCP sends again for a quarter of an
hour, and who only waits for an answer never finds out at all.
"""

from __future__ import annotations

import socket
from typing import Any

#: Seconds after which a peer that acknowledges nothing counts as gone: less than leases live.
SILENCE_S = 5
#: Seconds a connection is idle before it is probed, and between probes.
_PROBED_AFTER_S = 2
_PROBED_EVERY_S = 1

_OPTIONS = (
    ("TCP_USER_TIMEOUT", SILENCE_S * 1000),  # of what was sent, probes included
    ("TCP_KEEPIDLE", _PROBED_AFTER_S),
    ("TCP_KEEPALIVE", _PROBED_AFTER_S),  # what macOS calls it
    ("TCP_KEEPINTVL", _PROBED_EVERY_S),
    ("TCP_KEEPCNT", SILENCE_S - _PROBED_AFTER_S),
)


def notice_silence(driver: Any) -> None:
    """Have a driver's connection break when its peer falls silent, as far as this system can.

    Args:
        driver: An asyncpg connection.
    """
    transport = getattr(driver, "_transport", None)  # asyncpg shows it to nobody
    end = transport.get_extra_info("socket") if transport is not None else None
    if end is None or end.family not in (socket.AF_INET, socket.AF_INET6):
        return
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS:
        option = getattr(socket, name, None)
        if option is not None:
            end.setsockopt(socket.IPPROTO_TCP, option, value)
