"""Read what a token endpoint answers: a token, a refusal, or neither (RFC 6749 §5).

Real endpoints answer JSON or a form, refuse with 200, wrap errors in objects and show HTML when
they break. Whatever they say about an error is bounded and freed of secrets before it is passed on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus

from carrick.errors import ProviderAnswerInvalid, ProviderRefused, ProviderUnavailable
from carrick.model.http import OutboundAnswer

#: Reads the fields in a body; `None` when there are none.
Parse = Callable[[OutboundAnswer], dict[str, Any] | None]

#: Longest text of a provider that is passed on.
LONGEST_TEXT = 500
_TRY_AGAIN = frozenset({408, 425, 429})
#: One of them is in every form that answers, whichever OAuth it is of.
_OF_A_FORM = frozenset({"access_token", "error", "oauth_token", "oauth_problem"})
_TRANSIENT = frozenset({"server_error", "slow_down", "temporarily_unavailable"})


def read_token_answer(
    answer: OutboundAnswer, secrets: Iterable[str], *, parse: Parse | None = None
) -> dict[str, Any]:
    """Return the fields of a token answer.

    Args:
        answer: What the endpoint said.
        secrets: What was sent and must not appear in an error.
        parse: Reads its body; JSON or a form by default.

    Raises:
        ProviderRefused: It said no.
        ProviderUnavailable: It cannot say right now.
        ProviderAnswerInvalid: It said something else.
    """
    fields = (parse or _parse)(answer)
    said = _error(fields or {}, answer.status, tuple(secrets))
    if is_undecided(answer.status) or said["error"] in _TRANSIENT:
        unavailable = ProviderUnavailable(_sentence("could not serve the request", said))
        unavailable.payload = said
        unavailable.retry_after_s = _retry_after(answer)
        raise unavailable
    if answer.status >= 400 or _is_refusal(fields):
        raise ProviderRefused(_sentence("refused", said), payload=said)
    if not answer.ok:
        raise ProviderAnswerInvalid(
            f"The provider's token endpoint answered {answer.status} instead of a token."
        )
    if fields is None:
        kind = (answer.header("content-type") or "no content type").split(";")[0][:100]
        raise ProviderAnswerInvalid(
            f"The provider's token endpoint answered with something else than a token ({kind})."
        )
    return fields


def is_undecided(status: int) -> bool:
    """Whether a status says neither yes nor no, but that the provider cannot serve right now."""
    return status >= 500 or status in _TRY_AGAIN


def token_part(fields: Mapping[str, Any], alternative: Any) -> Mapping[str, Any]:
    """Return the part of an answer that holds the access token: the top, or where it may also be.

    Args:
        fields: The answer.
        alternative: The dotted path the provider definition names, if any.

    Raises:
        ProviderAnswerInvalid: There is no access token in either.
    """
    part: Any = fields
    if not fields.get("access_token") and isinstance(alternative, str):
        part = at_path(fields, alternative)
    token = part.get("access_token") if isinstance(part, Mapping) else None
    if not isinstance(token, str) or not token:
        raise ProviderAnswerInvalid("The provider's token endpoint sent no access_token.")
    found: Mapping[str, Any] = part
    return found


def at_path(fields: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path, or `None`; a key that holds dots itself is found too."""
    if path in fields:
        return fields[path]
    value: Any = fields
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """Return text without secrets and control characters, bounded."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) < 4:
            continue
        for written in (secret, quote(secret, safe=""), quote_plus(secret)):
            text = text.replace(written, "[secret]")
    return "".join(one if one.isprintable() else " " for one in text)[:LONGEST_TEXT].strip()


def _parse(answer: OutboundAnswer) -> dict[str, Any] | None:
    try:
        parsed = answer.json()
    except (ValueError, RecursionError):
        return _parse_form(answer)
    return parsed if isinstance(parsed, dict) else None


def _parse_form(answer: OutboundAnswer) -> dict[str, Any] | None:
    text = answer.text().strip()
    if not text or text.startswith("<") or len(text) > 100_000:
        return None
    try:
        fields: dict[str, Any] = dict(parse_qsl(text, max_num_fields=100))
    except ValueError:
        return None
    return fields if fields.keys() & _OF_A_FORM else None


def _is_refusal(fields: Mapping[str, Any] | None) -> bool:
    if fields is None:
        return False
    refused = fields.get("error") or fields.get("oauth_problem")
    return fields.get("ok") is False or bool(refused and not fields.get("access_token"))


def _error(fields: Mapping[str, Any], status: int, secrets: tuple[str, ...]) -> dict[str, Any]:
    """Find what the provider says about the error, whichever of the usual shapes it has."""
    error = fields.get("error") or fields.get("oauth_problem")
    description = fields.get("error_description") or fields.get("message") or fields.get("detail")
    if isinstance(error, Mapping):
        description = error.get("message") or error.get("description") or description
        error = error.get("code") or error.get("type") or error.get("status")
    said: dict[str, Any] = {"status": status}
    for name, value in (("error", error), ("error_description", description)):
        text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
        said[name] = without_secrets(text, secrets) or None
    return said


def _sentence(what: str, said: Mapping[str, Any]) -> str:
    sentence = f"The provider {what} ({said['status']}"
    sentence += f" {said['error']})" if said["error"] else ")"
    return f"{sentence}: {said['error_description']}" if said["error_description"] else sentence


def _retry_after(answer: OutboundAnswer) -> float | None:
    try:
        seconds = float(answer.header("retry-after") or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86_400 else None
