"""`connection_facts`: what a connection needs to know about the account and nobody types in.

A step asks the provider once, or only looks at what it told with the token, and names the keys of
`connection_config` that follow from it. Nothing here asks anybody.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from carrick.model.provider import Provider
from carrick.providers.interpolate import lookup, resolve

#: Of a token answer, what is no fact about an account.
_TOKENS = frozenset({"access_token", "refresh_token", "id_token", "token"})
_LONGEST_TOKEN = 65_536


@dataclass(frozen=True)
class Value:
    """How one key follows: a template, and a pattern whose first group is taken of it."""

    template: str
    match: str | None = None


@dataclass(frozen=True)
class Choice:
    """Which element of a list is meant.

    `where` must hold as far as it can be filled in; of those, one for which `prefer` holds is
    taken, else the first.
    """

    path: str = ""
    where: Mapping[str, str] = field(default_factory=dict)
    prefer: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One entry of `connection_facts`."""

    keys: Mapping[str, Value]
    #: `None` when nobody is asked.
    request: Mapping[str, Any] | None
    choice: Choice | None
    optional: bool


def fact_steps(provider: Provider) -> list[Step]:
    """Return a provider's steps, in order."""
    entries = provider.definition.get("connection_facts")
    return [_step(entry) for entry in entries or () if isinstance(entry, Mapping)]


def chosen(choice: Choice | None, answer: Any, values: Mapping[str, Any]) -> Any:
    """Return the part of an answer that a step is about; `None` when it is not there."""
    if choice is None:
        return answer
    found = answer
    if choice.path:
        found = lookup(choice.path, answer) if isinstance(answer, Mapping) else None
    if not isinstance(found, list):
        return None
    able = [item for item in found if _fits(item, choice.where, values, unfilled=True)]
    liked = [item for item in able if _fits(item, choice.prefer, values, unfilled=False)]
    return next(iter(liked if choice.prefer and liked else able), None)


def facts_of(step: Step, values: Mapping[str, Any]) -> dict[str, str]:
    """Return the keys a step can fill; what it cannot is absent."""
    found = {}
    for name, value in step.keys.items():
        text = _value(value, values)
        if text:
            found[name] = text
    return found


def token_values(credentials: Mapping[str, Any]) -> dict[str, Any]:
    """Return what templates may read of credentials besides the credentials themselves.

    Tokens come from the provider's own token endpoint and are read here as its word about the
    account, so no signature is checked. A token that is no JWT has no claims.
    """
    raw = credentials.get("raw")
    answer = raw if isinstance(raw, Mapping) else {}
    return {
        "claims": _claims(credentials.get("access_token") or credentials.get("token")),
        "idClaims": _claims(answer.get("id_token")),
        "tokenResponse": {name: value for name, value in answer.items() if name not in _TOKENS},
    }


def _step(entry: Mapping[str, Any]) -> Step:
    keys = entry.get("set")
    choice = entry.get("choose")
    return Step(
        keys={
            str(name): _read_value(value)
            for name, value in (keys.items() if isinstance(keys, Mapping) else ())
        },
        request=entry if entry.get("endpoint") else None,
        choice=_choice(choice) if isinstance(choice, Mapping) else None,
        optional=entry.get("optional") is True,
    )


def _read_value(value: Any) -> Value:
    if not isinstance(value, Mapping):
        return Value(str(value))
    match = value.get("match")
    return Value(str(value.get("value", "")), None if match is None else str(match))


def _choice(entry: Mapping[str, Any]) -> Choice:
    return Choice(
        path=str(entry.get("from") or ""),
        where=_texts(entry.get("where")),
        prefer=_texts(entry.get("prefer")),
    )


def _texts(value: Any) -> dict[str, str]:
    return {str(name): str(text) for name, text in (value or {}).items()}


def _fits(
    item: Any, wanted: Mapping[str, str], values: Mapping[str, Any], *, unfilled: bool
) -> bool:
    if not isinstance(item, Mapping):
        return False
    for name, template in wanted.items():
        want = resolve(template, values)
        if want.missing:
            if unfilled:
                continue
            return False
        if resolve("${item}", {"item": lookup(name, item)}).text != want.text:
            return False
    return True


def _value(value: Value, values: Mapping[str, Any]) -> str | None:
    found = resolve(value.template, values)
    if found.missing:
        return None
    if value.match is None:
        return found.text
    match = re.search(value.match, found.text[:2048])
    if match is None:
        return None
    return match.group(1) if match.re.groups else match.group()


def _claims(token: Any) -> Mapping[str, Any]:
    if not isinstance(token, str) or len(token) > _LONGEST_TOKEN or token.count(".") != 2:
        return {}
    payload = token.split(".")[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return claims if isinstance(claims, Mapping) else {}
