"""The catalogue's own check of new credentials: does the provider accept them?

"No" and "could not tell" are different answers here: a provider that is down refuses nobody.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from carrick.errors import ConnectionTestFailed, ProviderUnavailable, ProviderUnreachable
from carrick.model.provider import Provider
from carrick.providers.definition import texts
from carrick.proxy.call import ProxyCall, Streamed
from carrick.proxy.retry import wait_of_answer

#: Makes one call of a provider's own definition; the answer's body is not read.
Ask = Callable[[ProxyCall], Awaitable[Streamed]]

_UNDECIDED = frozenset({408, 425, 429})


def verification_calls(provider: Provider) -> list[ProxyCall]:
    """Return the provider's check requests in order; empty for none."""
    rule = provider.proxy.get("verification")
    if not isinstance(rule, Mapping):
        return []
    return [definition_call(rule, endpoint) for endpoint in texts(rule.get("endpoints"))]


def definition_call(rule: Mapping[str, Any], endpoint: str) -> ProxyCall:
    """Return a call as a definition describes it: `method`, `headers`, `data`, `base_url_override`.

    Templates are not filled yet, and a body is still JSON whatever its content type says.
    """
    headers = {str(name).lower(): str(text) for name, text in (rule.get("headers") or {}).items()}
    body = None
    if rule.get("data"):
        body = json.dumps(rule["data"]).encode()
        headers.setdefault("content-type", "application/json")
    base = rule.get("base_url_override")
    return ProxyCall(
        method=str(rule.get("method") or "GET"),
        endpoint=endpoint,
        headers=headers,
        body=body,
        base_url_override=str(base) if base else None,
    )


async def verify(ask: Ask, provider: Provider, now: datetime) -> None:
    """Ask the provider whether it accepts the credentials; the first 2xx is a yes.

    A provider without a check accepts everything.

    Args:
        ask: Makes one call with the credentials in question.
        provider: Whose checks are made, in order.
        now: The present moment.

    Raises:
        ConnectionTestFailed: It said no.
        ProviderUnreachable: It could not be asked; as `ProviderUnavailable`, it could not say
            (408, 425, 429, 5xx).
    """
    refusal: Streamed | None = None
    silence: ProviderUnreachable | None = None
    for call in verification_calls(provider):
        try:
            answer = await ask(call)
        except ProviderUnreachable as error:
            silence = error
            continue
        if 200 <= answer.status < 300:
            return
        if is_undecided(answer.status):
            silence = could_not_say(provider, answer.status, answer.headers, now)
        else:
            refusal = answer
    if silence is not None:
        raise silence
    if refusal is not None:
        raise ConnectionTestFailed(
            f"{provider.display_name} did not accept these credentials "
            f"(it answered {refusal.status})",
            payload={"status": refusal.status},
        )


def paginate_config(provider: Provider) -> dict[str, Any] | None:
    """Return how the provider pages (`proxy.paginate`), or `None` when it does not say."""
    rule = provider.proxy.get("paginate")
    return dict(rule) if isinstance(rule, Mapping) else None


def is_undecided(status: int) -> bool:
    """Whether an answer says neither yes nor no."""
    return status in _UNDECIDED or status >= 500


def could_not_say(
    provider: Provider, status: int, headers: Mapping[str, str], now: datetime
) -> ProviderUnavailable:
    """Return the error of a provider that says neither yes nor no."""
    error = ProviderUnavailable(
        f"{provider.display_name} could not check the credentials right now (it answered {status})"
    )
    error.retry_after_s = wait_of_answer(headers, {}, None, now)
    return error
