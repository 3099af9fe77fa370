"""Authenticated calls to a provider on behalf of a connection."""

from carrick.proxy.call import (
    BeforeResend,
    BeforeSend,
    CredentialSource,
    Outbound,
    ProxyCall,
    Streamed,
    Target,
)
from carrick.proxy.proxy import Proxy, end_to_end
from carrick.proxy.verify import paginate_config, verification_calls

__all__ = [
    "BeforeResend",
    "BeforeSend",
    "CredentialSource",
    "Outbound",
    "Proxy",
    "ProxyCall",
    "Streamed",
    "Target",
    "end_to_end",
    "paginate_config",
    "verification_calls",
]
