"""What goes wrong on the wire, told in our own errors: the one place that reads aiohttp's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from carrick.errors import (
    EgressDenied,
    ProviderAnswerInvalid,
    ProviderTimeout,
    ProviderUnreachable,
)


@contextmanager
def translated(host: str) -> Iterator[None]:
    """Raise our errors for aiohttp's; messages name the host, never the path or query.

    Raises:
        EgressDenied: The address cannot be called at all.
        ProviderUnreachable: No connection (`sent=False`), or it broke (`sent=True`).
        ProviderTimeout: The time was up before a connection stood, or after.
        ProviderAnswerInvalid: What came back is not HTTP.
    """
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise ProviderTimeout(f"{host} did not accept a connection in time.", sent=False) from error
    except aiohttp.ClientConnectorDNSError as error:
        raise ProviderUnreachable(f"{host} could not be found.", sent=False) from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise ProviderUnreachable(
            f"{host} has no certificate that this server trusts.", sent=False
        ) from error
    except (aiohttp.ClientConnectorError, aiohttp.ClientConnectorSSLError) as error:
        raise ProviderUnreachable(
            f"{host} could not be reached: {_reason(error)}.", sent=False
        ) from error
    except aiohttp.InvalidURL as error:
        raise EgressDenied("This is not a valid address.") from error
    except TimeoutError as error:
        raise ProviderTimeout(f"{host} did not answer in time.", sent=True) from error
    except aiohttp.ClientResponseError as error:
        raise ProviderAnswerInvalid(f"{host} sent an answer that is not valid HTTP.") from error
    except aiohttp.ClientError as error:
        raise ProviderUnreachable(
            f"{host} closed the connection before its answer was complete.", sent=True
        ) from error


def _reason(error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorSSLError) -> str:
    reason = getattr(error, "os_error", None) or error
    return str(getattr(reason, "strerror", None) or type(reason).__name__)
