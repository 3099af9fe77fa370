"""The page a popup ends at: says how it went, to the person and to the window that opened it."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from carrick.api.outcomes import UNKNOWN_PREFIX
from carrick.connect_page import page_texts
from carrick.providers import choose_language

#: Characters that could end the script, or a line of it, from inside a text.
_ESCAPES = {ord(one): f"\\u{ord(one):04x}" for one in "<>&\u2028\u2029"}
#: What the page says, by language: the connect page has the same ones.
_TEXTS = page_texts()

_PAGE = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style nonce="{nonce}">
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }}
body {{ margin: 12vh auto 2rem; max-width: 28rem; padding: 0 1.5rem }}
h1 {{ font-size: 1.25rem; margin: 0 0 1rem; padding-top: 1rem; border-top: 4px solid #2e8b57 }}
[role=alert] h1 {{ border-color: #d9483b }}
p {{ margin: 0 0 1rem; overflow-wrap: anywhere; white-space: pre-line }}
p + p {{ opacity: .75 }}
</style>
</head>
<body>
<main role="{role}">
<h1>{title}</h1>
{paragraphs}
</main>
<script nonce="{nonce}">
(() => {{
  const message = {message};
  const close = {closes};
  const channel = new BroadcastChannel("nango-oauth-callback");
  const done = (event) => {{
    if (event.data && event.data.type === "nango_oauth_callback_ack") window.close();
  }};
  channel.addEventListener("message", done);
  window.addEventListener("message", done);
  try {{ if (window.opener) window.opener.postMessage(message, "*"); }} catch (error) {{
    console.warn(error);
  }}
  channel.postMessage(message);
  if (close) setTimeout(() => window.close(), 500);
}})();
</script>
</body>
</html>
"""


@dataclass(frozen=True)
class Words:
    """The page's texts in one language."""

    language: str
    texts: Mapping[str, str]

    def of_error(self, error_type: str, said: str) -> str:
        """Return what went wrong in this language, where it is nothing but its type.

        What authors and providers say is in words of their own.
        """
        keys = (f"window.{error_type}", f"error.{error_type}.message")
        known = next((self.texts[key] for key in keys if key in self.texts), "{")
        # Some texts of the connect page name the provider, which is not always known here.
        return said if self.language == "en" or "{" in known else known


def page_words(request: Request) -> Words:
    """Return the texts in the language that a person's browser likes best."""
    language = choose_language(request.headers.get("accept-language"), _TEXTS)
    return Words(language, _TEXTS[language])


def success_page(nonce: str, words: Words, frame: Mapping[str, Any]) -> Response:
    """Return the page that says it worked; it closes itself.

    Args:
        nonce: An unpredictable text, by which the browser knows our script.
        words: In the person's language.
        frame: What its socket is told, for the window that opened it: that socket may be lost.
    """
    return _page(
        nonce,
        words,
        "done",
        [words.texts["window.close"]],
        {"type": "nango_oauth_callback_success", "payload": dict(frame)},
    )


def pending_page(nonce: str, words: Words, frame: Mapping[str, Any]) -> Response:
    """Return the page that says that somebody else has to agree; it closes itself, too."""
    return _page(
        nonce,
        words,
        "awaited",
        [words.texts["window.awaited"], words.texts["window.close"]],
        {"type": "nango_oauth_callback_success", "payload": dict(frame)},
    )


def error_page(
    nonce: str,
    words: Words,
    text: str,
    error_type: str,
    details: Mapping[str, Any] | None = None,
) -> Response:
    """Return the page that says why it did not work; it stays open to be read.

    Args:
        nonce: An unpredictable text, by which the browser knows our script.
        words: In the person's language.
        text: For the person.
        error_type: For the window that opened it.
        details: What the provider itself said, which that window gets instead of the text.
    """
    told = json.dumps(dict(details)) if details else text
    payload = {"message": told, "errorType": error_type}
    message = {"type": "nango_oauth_callback_error", "payload": payload}
    shown = words.of_error(error_type, text.removeprefix(UNKNOWN_PREFIX).lstrip())
    paragraphs = [shown, words.texts["window.failed_next"]]
    return _page(nonce, words, "failed", paragraphs, message)


def _page(
    nonce: str,
    words: Words,
    outcome: str,
    paragraphs: Sequence[str],
    message: Mapping[str, Any],
) -> Response:
    went_well = outcome != "failed"
    status = HTTPStatus.OK if went_well else HTTPStatus.BAD_REQUEST
    content = _PAGE.format(
        language=words.language,
        title=html.escape(words.texts[f"window.{outcome}_title"]),
        paragraphs="\n".join(f"<p>{html.escape(text)}</p>" for text in paragraphs),
        role="status" if went_well else "alert",
        message=json.dumps(message).translate(_ESCAPES),
        closes=json.dumps(went_well),
        nonce=nonce,
    )
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Language": words.language,
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",  # the address holds a code and a state
    }
    return Response(content, int(status), headers, media_type="text/html")
