"""Find out what a connection must know about the account, with the candidate's credentials.

"No" and "could not tell" are different answers here too: a provider that is down refuses nobody.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from carrick.errors import ConnectionTestFailed
from carrick.model.http import OutboundAnswer
from carrick.model.provider import Provider
from carrick.providers.facts import Step, chosen, fact_steps, facts_of, token_values
from carrick.proxy.build import template_values
from carrick.proxy.call import ProxyCall, Target
from carrick.proxy.verify import could_not_say, definition_call, is_undecided

#: Makes one call of a provider's own definition and reads the whole answer.
Ask = Callable[[ProxyCall, Target], Awaitable[OutboundAnswer]]


async def find_facts(
    ask: Ask,
    target: Target,
    *,
    given: Collection[str],
    previous: Mapping[str, Any],
    now: datetime,
) -> dict[str, str]:
    """Return the keys of `connection_config` that the provider's definition has found out.

    Args:
        ask: Makes one call for an account.
        target: The account.
        given: Keys that stand as they are; what only they would need is not asked.
        previous: The `connection_config` of the connection that is connected again.
        now: The present moment.

    Raises:
        ConnectionTestFailed: The provider refused, or its answer lacks a value.
        ProviderUnreachable: It could not be asked; as `ProviderUnavailable`, it could not say.
    """
    found: dict[str, str] = {}
    credentials = await target.credentials()
    for step in fact_steps(target.provider):
        wanted = step.keys.keys() - set(given) - found.keys()
        if step.request is not None:
            wanted -= _typed(target)
        if not wanted:
            continue
        known = replace(target, connection_config={**target.connection_config, **found})
        values = {
            **template_values(known, credentials, now=now, random=""),
            **token_values(credentials.values),
            "previous": dict(previous),
        }
        if step.request is not None:
            answer = await _answer(ask, known, step, now)
            values["answer"] = chosen(step.choice, answer, values)
        new = {name: value for name, value in facts_of(step, values).items() if name in wanted}
        if not step.optional and wanted - new.keys():
            raise _lacking(target.provider, step, sorted(wanted - new.keys()))
        found |= new
    return found


def _typed(target: Target) -> set[str]:
    """Return what somebody typed in: it is verified like all input, and not asked for again."""
    specs = target.provider.connection_config
    return {
        name for name in target.connection_config if name in specs and not specs[name].automated
    }


async def _answer(ask: Ask, target: Target, step: Step, now: datetime) -> Any:
    """Return the parsed answer; `None` when an optional step is refused."""
    assert step.request is not None
    call = definition_call(step.request, str(step.request["endpoint"]))
    answer = await ask(call, target)
    if is_undecided(answer.status):
        raise could_not_say(target.provider, answer.status, answer.headers, now)
    if not answer.ok:
        if step.optional:
            return None
        raise ConnectionTestFailed(
            f"{target.provider.display_name} did not let these credentials read "
            f"{', '.join(sorted(step.keys))} (it answered {answer.status})",
            payload={"status": answer.status},
        )
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def _lacking(provider: Provider, step: Step, names: list[str]) -> ConnectionTestFailed:
    where = step.choice.where if step.choice is not None else {}
    chosen_by = f" that fits {', '.join(sorted(where))}" if where else ""
    return ConnectionTestFailed(
        f"{provider.display_name} did not tell {', '.join(names)}{chosen_by} for these "
        "credentials, and its API cannot be used without",
        payload={"missing": names},
    )
