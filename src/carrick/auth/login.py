"""Log in by the recipe of a provider definition: one request or several, and where the token is.

Used by every mode whose token is bought with the fields of a form: `token_url`, `token_params`,
`token_headers`, `additional_steps`, `token_response` and the like.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from carrick.auth.expiry import expiry_of, read_moment
from carrick.auth.mode import ModeContext
from carrick.auth.signed_token import random_id
from carrick.auth.templates import filled
from carrick.auth.token_answer import at_path, read_token_answer
from carrick.auth.token_request import rendered_url, with_body
from carrick.auth.xml import from_xml
from carrick.errors import InvalidAuthMode, ProviderAnswerInvalid
from carrick.model.http import OutboundAnswer, OutboundRequest

#: Where one cookie ends and the next begins in a joined header; dates have commas, too.
_NEXT_COOKIE = re.compile(r",\s*(?=[^;,=\s]+=)")
COOKIES = "_cookies"

Exchange = Generator[OutboundRequest, OutboundAnswer, dict[str, Any]]


@dataclass(frozen=True)
class Token:
    """What a login yields."""

    token: str
    refresh_token: str | None
    expires_at: datetime | None


def login_values(ctx: ModeContext, credentials: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the templates of a login may name."""
    developer = {**ctx.integration.custom, **ctx.integration.integration_config}
    preset = {name: developer[name] for name in ctx.provider.credentials if developer.get(name)}
    own = {**preset, **credentials}
    return {
        **developer,
        **own,
        "credentials": own,
        "connectionConfig": ctx.connection_config,
        "integrationConfig": developer,
        "now": ctx.now,
        "random": random_id(ctx),
    }


def log_in(
    ctx: ModeContext,
    values: Mapping[str, Any],
    secrets: Iterable[str],
    *,
    defaults: Mapping[str, Any] | None = None,
    body_format: str = "json",
    bearer: str | None = None,
) -> Exchange:
    """Make the requests of a definition in order and return the last answer.

    Args:
        ctx: The mode's surroundings.
        values: What its templates may name; answers are added as `step1`, `step2` and so on.
        secrets: What must not come back in an error.
        defaults: Parameters of the first request where the definition has none.
        body_format: How the first request is written where the definition does not say.
        bearer: Sent as a bearer token with the first request unless it has another.
    """
    definition = ctx.provider.definition
    first = {
        **definition,
        "token_params": definition.get("token_params") or defaults or {},
        "body_format": definition.get("body_format") or body_format,
    }
    extra = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    known, secrets = dict(values), tuple(secrets)
    answered = yield from ask(ctx, first, known, secrets, extra)
    known["step1"] = answered
    for number, step in enumerate(definition.get("additional_steps") or (), start=2):
        answered = yield from ask(ctx, step, known, secrets, {})
        known[f"step{number}"] = answered
    return answered


def ask(
    ctx: ModeContext,
    step: Mapping[str, Any],
    values: Mapping[str, Any],
    secrets: Iterable[str],
    extra: Mapping[str, str],
) -> Exchange:
    """Make one request of a login and return its answer with the headers that are wanted."""
    template = step.get("token_url")
    if not isinstance(template, str):
        raise InvalidAuthMode(f"{ctx.provider.display_name} has no address to log in at.")
    skipped = ctx.provider.definition.get("token_url_skip_encode") or ()
    url = rendered_url(ctx, template, values, encode="base_url" not in skipped)
    given = filled(ctx, step.get("token_headers") or {}, values)
    headers = {name: str(text) for name, text in given.items()}
    body_format = str(step.get("body_format") or "json")
    method = str(step.get("token_request_method") or "POST").upper()
    params = filled(ctx, step.get("token_params") or {}, values)
    if not params and body_format == "xml":
        body_format = "query"
    accepts = "application/xml" if body_format == "xml" else "application/json"
    request = with_body(method, url, {"Accept": accepts, **extra}, params, body_format)
    answer = yield request.with_headers(headers)
    fields = read_token_answer(answer, secrets, parse=_parse)
    return fields | _wanted_headers(ctx, answer)


def token_of(ctx: ModeContext, answer: Mapping[str, Any]) -> Token:
    """Find the token in an answer.

    Raises:
        ProviderAnswerInvalid: It is not where the definition says.
    """
    paths = ctx.provider.definition.get("token_response") or {}
    path = str(paths.get("token") or "access_token")
    token = at_path(answer, path)
    if isinstance(token, int | float) and not isinstance(token, bool):
        token = str(token)
    if not isinstance(token, str) or not token:
        raise ProviderAnswerInvalid(
            f"{ctx.provider.display_name} answered without a token (no {path} in it)."
        )
    refresh = at_path(answer, str(paths.get("refresh_token") or "refresh_token"))
    refresh_token = refresh if isinstance(refresh, str) and refresh else None
    return Token(token, refresh_token, _ends(ctx, answer, token))


def _ends(ctx: ModeContext, answer: Mapping[str, Any], token: str) -> datetime | None:
    """Return when a token ends: as told, by the definition's own measure, or as it says itself."""
    definition = ctx.provider.definition
    paths = definition.get("token_response") or {}
    stated = at_path(answer, str(paths.get("token_expiration") or ""))
    if stated is not None:
        if paths.get("token_expiration_strategy") == "expireAt":
            return read_moment(stated)
        in_ms = definition.get("expires_in_unit") == "milliseconds"
        return expiry_of({"expires_in": stated}, ctx.now, milliseconds=in_ms)
    lifetime = definition.get("token_expires_in_ms")
    if lifetime is not None:
        return ctx.now + timedelta(milliseconds=lifetime) if lifetime > 0 else None
    return _own_end(token)


def _own_end(token: str) -> datetime | None:
    """Return the end a signed token states, which nobody has to verify to heed it."""
    pieces = token.split(".")
    if len(pieces) != 3:
        return None
    try:
        padded = pieces[1] + "=" * (-len(pieces[1]) % 4)
        claims = json.loads(base64.urlsafe_b64decode(padded))
    except (ValueError, RecursionError):
        return None
    return read_moment(claims.get("exp")) if isinstance(claims, dict) else None


def _parse(answer: OutboundAnswer) -> dict[str, Any] | None:
    try:
        if answer.body.lstrip()[:1] == b"<":
            document = from_xml(answer.body)
            return None if "html" in {name.lower() for name in document} else document
        parsed = answer.json()
    except (ValueError, RecursionError):
        return None
    if isinstance(parsed, list):
        parsed = parsed[0] if len(parsed) == 1 else None
    return parsed if isinstance(parsed, dict) else None


def _wanted_headers(ctx: ModeContext, answer: OutboundAnswer) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in ctx.provider.definition.get("token_response_headers") or ():
        value = answer.header(name)
        if value is None:
            continue
        if name.lower() == "set-cookie":
            pairs = (cookie.partition(";")[0].strip() for cookie in _NEXT_COOKIE.split(value))
            found[COOKIES] = "; ".join(pairs)
        else:
            found[name] = value
    return found
