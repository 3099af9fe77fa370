"""What may be shown of an address and of what it answered: nothing it keeps secret."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import SplitResult, parse_qsl, quote, quote_plus, urlsplit, urlunsplit

#: Longest answer that is kept; enough to recognise an error by.
LONGEST_ANSWER = 1024
_READ = 16 * LONGEST_ANSWER
#: Shorter texts are words.
_SHORTEST_SECRET = 4


def url_shown(url: str) -> str:
    """Return an address without its query and the user in it, where people put keys."""
    parts = _split(url)
    if parts is None:  # no URL at all; sending it has failed for that reason
        return "[not a URL]"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def answer_shown(url: str, text: str) -> str:
    """Return the beginning of an answer, without the secrets of the address it came from."""
    text = text[:_READ]
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    return "".join(one if one.isprintable() or one == "\n" else " " for one in text)[
        :LONGEST_ANSWER
    ]


def _secrets(url: str) -> Iterator[str]:
    parts = _split(url)
    if parts is None:
        return
    values = [value for _, value in parse_qsl(parts.query)]
    for secret in (parts.query, parts.username, parts.password, *values):
        if secret and len(secret) >= _SHORTEST_SECRET:
            yield from (secret, quote(secret, safe=""), quote_plus(secret))


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None
